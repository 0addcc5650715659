// csrc/sim/generator.h for CUDA's generators: a kernel's key is made of their seed and offset.
#include "sim/generator.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

#include <mutex>

#include "sim/device.h"
#include "sim/mix.h"

namespace storm::sim {
namespace {

constexpr uint64_t kStep = 4;  // offsets of CUDA's generators are multiples of it

}  // namespace

const at::Generator& default_generator(c10::DeviceIndex index) {
  return at::globalContext().defaultGenerator({kDeviceType, index < 0 ? current_device() : index});
}

at::Generator kernel_generator(const std::optional<at::Generator>& generator) {
  at::Generator source = generator && generator->defined() ? *generator : default_generator(-1);
  TORCH_CHECK(source.device().type() == kDeviceType,
              "expected a generator of a CUDA device, got one of ", source.device());
  std::lock_guard lock(source.mutex());
  const uint64_t offset = source.get_offset();
  source.set_offset(offset + kStep);
  return at::detail::createCPUGenerator(mix(mix(source.current_seed()) ^ offset));
}

}  // namespace storm::sim
