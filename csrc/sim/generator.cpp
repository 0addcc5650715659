#include "sim/generator.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Utils.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <array>
#include <cstring>
#include <mutex>
#include <vector>

#include "sim/device.h"
#include "sim/mix.h"

namespace storm::sim {
namespace {

using State = std::array<uint64_t, 2>;

}  // namespace

Generator::Generator(c10::DeviceIndex device, uint64_t seed)
    : GeneratorImpl(c10::Device(kDeviceType, device),
                    c10::DispatchKeySet(c10::DispatchKey::PrivateUse1)),
      seed_(seed) {}

void Generator::set_current_seed(uint64_t seed) {
  seed_ = seed;
  offset_ = 0;
}

uint64_t Generator::seed() {
  set_current_seed(c10::detail::getNonDeterministicRandom());
  return seed_;
}

void Generator::set_state(const c10::TensorImpl& state) {
  at::detail::check_rng_state(state);
  State values{};
  TORCH_CHECK_VALUE(state.numel() == sizeof values, "sim: a generator state has ", sizeof values,
                    " bytes, this one has ", state.numel());
  std::memcpy(values.data(), state.data(), sizeof values);
  seed_ = values[0];
  offset_ = values[1];
}

c10::intrusive_ptr<c10::TensorImpl> Generator::get_state() const {
  const State values{seed_, offset_};
  auto state = at::empty({sizeof values}, at::kByte);
  std::memcpy(state.mutable_data_ptr(), values.data(), sizeof values);
  return state.getIntrusivePtr();
}

uint64_t Generator::next_key() {
  return mix(mix(seed_) ^ offset_++);
}

Generator* Generator::clone_impl() const {
  auto* copy = new Generator(device().index(), seed_);
  copy->set_offset(offset_);
  return copy;
}

const at::Generator& default_generator(c10::DeviceIndex index) {
  static auto* all = [] {
    auto* made = new std::vector<at::Generator>;
    for (DeviceIndex i = 0; i < kMaxDevices; ++i) made->push_back(make_generator(i));
    return made;
  }();
  return all->at(static_cast<size_t>(index < 0 ? current_device() : index));
}

at::Generator make_generator(c10::DeviceIndex index) {
  return at::make_generator<Generator>(index < 0 ? current_device() : index);
}

at::Generator kernel_generator(const std::optional<at::Generator>& generator) {
  const auto& source = generator && generator->defined() ? *generator : default_generator(-1);
  TORCH_CHECK(source.device().type() == kDeviceType,
              "sim: expected a generator of the simulated device, got one of ", source.device());
  auto* impl = static_cast<Generator*>(source.unsafeGetGeneratorImpl());
  std::lock_guard lock(impl->mutex_);
  return at::detail::createCPUGenerator(impl->next_key());
}

}  // namespace storm::sim
