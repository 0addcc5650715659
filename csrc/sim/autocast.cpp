// torch.autocast("sim"): the same lists of operations as on CUDA.
#include <ATen/autocast_mode.h>
#include <torch/library.h>

namespace {

using namespace at::autocast;
using at::Tensor;

TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFallthrough());
}

TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
#define STORM_LOWER_PRECISION(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, lower_precision_fp)
#define STORM_FP32(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, fp32)
#define STORM_PROMOTE(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, promote)
  AT_FORALL_LOWER_PRECISION_FP(STORM_LOWER_PRECISION)
  AT_FORALL_FP32(STORM_FP32)
  AT_FORALL_PROMOTE(STORM_PROMOTE)
#undef STORM_LOWER_PRECISION
#undef STORM_FP32
#undef STORM_PROMOTE
}

}  // namespace
