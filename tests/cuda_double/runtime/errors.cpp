// The last error of each thread, and what it was about.
#include <unordered_map>
#include <utility>

#include "call.h"

namespace cuda_double {
namespace {

struct LastError {
  cudaError_t code = cudaSuccess;
  // torch asks for the text after it has fetched the code, so texts outlive the codes.
  std::unordered_map<int, std::string> texts;
};

thread_local LastError t_last;

const char* name_of(cudaError_t code) {
  switch (code) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInitializationError:
      return "cudaErrorInitializationError";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorDevicesUnavailable:
      return "cudaErrorDevicesUnavailable";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorHostMemoryAlreadyRegistered:
      return "cudaErrorHostMemoryAlreadyRegistered";
    case cudaErrorHostMemoryNotRegistered:
      return "cudaErrorHostMemoryNotRegistered";
    case cudaErrorNotSupported:
      return "cudaErrorNotSupported";
    default:
      return "cudaErrorUnknown";
  }
}

const char* usual_text(cudaError_t code) {
  switch (code) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorNotReady:
      return "device not ready";
    default:
      return name_of(code);
  }
}

}  // namespace

cudaError_t fail(cudaError_t code, const std::string& text) noexcept {
  t_last.code = code;
  try {
    t_last.texts[code] = text;
  } catch (const std::exception&) {  // the code alone has to do
  }
  return code;
}

cudaError_t refuse(const char* function) noexcept {
  return fail(cudaErrorNotSupported, std::string("the CUDA double has no ") + function);
}

}  // namespace cuda_double

using namespace cuda_double;

CUDA_DOUBLE_API cudaError_t cudaGetLastError() {
  return std::exchange(t_last.code, cudaSuccess);
}

CUDA_DOUBLE_API cudaError_t cudaPeekAtLastError() {
  return t_last.code;
}

CUDA_DOUBLE_API const char* cudaGetErrorName(cudaError_t code) {
  return name_of(code);
}

CUDA_DOUBLE_API const char* cudaGetErrorString(cudaError_t code) {
  if (code == cudaErrorMemoryAllocation) return usual_text(code);
  const auto text = t_last.texts.find(code);
  return text == t_last.texts.end() ? usual_text(code) : text->second.c_str();
}

extern "C" int cuda_double_refuse(const char* function) {
  return refuse(function);
}
