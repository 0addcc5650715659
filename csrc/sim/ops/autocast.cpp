// torch.autocast("sim"): the same lists of operations as on CUDA.
#include <ATen/autocast_mode.h>
#include <torch/library.h>

namespace {

using namespace at::autocast;
using at::IntArrayRef;
using at::Scalar;
using at::ScalarType;
using at::Tensor;

Tensor refuse_binary_cross_entropy(const Tensor&, const Tensor&, const std::optional<Tensor>&,
                                   int64_t) {
  TORCH_CHECK(false,
              "sim: binary_cross_entropy loses its gradients in low precision and is refused under "
              "autocast; use binary_cross_entropy_with_logits, or switch autocast off around it");
}

TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFallthrough());
}

TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
#define STORM_LOWER_PRECISION(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, lower_precision_fp)
#define STORM_FP32(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, fp32)
#define STORM_FP32_RESULT(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, fp32_set_opt_dtype)
#define STORM_PROMOTE(...) KERNEL_PRIVATEUSEONE(__VA_ARGS__, promote)
  AT_FORALL_LOWER_PRECISION_FP(STORM_LOWER_PRECISION)
  AT_FORALL_FP32(STORM_FP32)
  AT_FORALL_FP32_SET_OPT_DTYPE(STORM_FP32_RESULT)
  AT_FORALL_DIFFERENT_REDISPATCH_SIGNATURE(KERNEL_DIFFERENT_REDISPATCH_SIGNATURE_PRIVATEUSEONE)
  AT_FORALL_PROMOTE(STORM_PROMOTE)
#undef STORM_LOWER_PRECISION
#undef STORM_FP32
#undef STORM_FP32_RESULT
#undef STORM_PROMOTE
  m.impl("binary_cross_entropy", refuse_binary_cross_entropy);
}

}  // namespace
