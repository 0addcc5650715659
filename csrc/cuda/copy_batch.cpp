#include "cuda/copy_batch.h"

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/SmallVector.h>
#include <cuda.h>
#include <cuda_runtime_api.h>

namespace storm::cuda {

// The driver is asked while the program runs: one older than CUDA 13 does not have this form of the
// call, and that is no fault.
#if CUDA_VERSION >= 12080
namespace {

using Batch = CUresult (*)(CUdeviceptr* to, CUdeviceptr* from, size_t* bytes, size_t count,
                           CUmemcpyAttributes* attributes, size_t* first_of_attribute,
                           size_t attribute_count, CUstream stream);
constexpr unsigned int kSince = 13000;

Batch find_batch() {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  const auto error = cudaGetDriverEntryPointByVersion("cuMemcpyBatchAsync", &found, kSince,
                                                      cudaEnableDefault, &result);
  if (error != cudaSuccess) static_cast<void>(cudaGetLastError());
  const bool there = error == cudaSuccess && result == cudaDriverEntryPointSuccess;
  return there ? reinterpret_cast<Batch>(found) : nullptr;
}

}  // namespace

bool copy_batch(c10::ArrayRef<CopySpan> spans, const c10::Stream& stream) {
  static const Batch batch = find_batch();
  const c10::cuda::CUDAStream queue(stream);
  if (batch == nullptr || queue.stream() == nullptr) return false;  // not the legacy stream
  c10::SmallVector<CUdeviceptr, 16> to, from;
  c10::SmallVector<size_t, 16> bytes;
  for (const auto& span : spans) {
    to.push_back(reinterpret_cast<CUdeviceptr>(span.to));
    from.push_back(reinterpret_cast<CUdeviceptr>(span.from));
    bytes.push_back(span.bytes);
  }
  CUmemcpyAttributes attributes{};
  attributes.srcAccessOrder = CU_MEMCPY_SRC_ACCESS_ORDER_STREAM;
  size_t first = 0;
  const c10::cuda::CUDAGuard guard(stream.device());
  const auto error = batch(to.data(), from.data(), bytes.data(), spans.size(), &attributes, &first,
                           /*attribute_count=*/1, queue.stream());
  if (error == CUDA_ERROR_NOT_SUPPORTED) return false;
  TORCH_CHECK(error == CUDA_SUCCESS, "cuMemcpyBatchAsync of ", spans.size(), " copies on ",
              stream.device(), " failed with CUDA driver error ", static_cast<int>(error));
  return true;
}
#else
bool copy_batch(c10::ArrayRef<CopySpan>, const c10::Stream&) {
  return false;
}
#endif

}  // namespace storm::cuda
