// The engine on the simulated accelerator: what runs under the sanitizers.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <thread>

#include "autograd/hook_dispatch.h"
#include "base/process.h"
#include "engine/activation.h"
#include "engine/offload_context.h"
#include "harness.h"
#include "host_memory_double.h"
#include "no_races.h"
#include "sim/sim.h"

using namespace storm;

namespace {

constexpr size_t kKiB = 1024;

c10::Device device() {
  static const c10::Device made = [] {
    at::set_num_threads(1);
    sim::Config config;
    config.memory_bytes = int64_t{256} << 20;
    config.d2h_bytes_per_s = config.h2d_bytes_per_s = 2e9;
    allow_no_races(config);
    sim::enable(config);
    return c10::Device(c10::DeviceType::PrivateUse1, 0);
  }();
  return made;
}

OffloadConfig small_config() {
  OffloadConfig config;
  config.min_bytes = 1 * kKiB;
  config.window_bytes = config.prefetch_bytes = 256 * kKiB;
  config.keep_last_bytes = 64 * kKiB;
  config.slab_bytes = size_t{1} << 20;
  return config;
}

std::shared_ptr<OffloadContext> new_context(OffloadConfig config = small_config()) {
  return std::make_shared<OffloadContext>(std::make_shared<StormSystem>(device(), config),
                                          std::vector<at::Tensor>{});
}

at::Tensor random(at::IntArrayRef sizes) {
  return at::randn(sizes).to(device());
}

struct Network {
  std::vector<at::Tensor> weights;
  at::Tensor input;
  explicit Network(int layers = 4) {
    at::manual_seed(0);
    for (int i = 0; i < layers; ++i) weights.push_back(random({64, 64}).requires_grad_());
    input = random({64, 64});
  }
  // The first weight's gradient, on the CPU.
  at::Tensor step(const std::shared_ptr<OffloadContext>& context) {
    auto h = input * 1.0;
    {
      OffloadScope scope(context);
      for (auto& weight : weights) h = at::tanh(at::mm(h, weight));
      h = h.square().mean();
    }
    for (auto& weight : weights) weight.mutable_grad().reset();
    h.backward();
    return weights[0].grad().cpu();
  }
};

}  // namespace

TEST(gradients_are_the_same_with_and_without_the_engine) {
  Network network;
  const auto expected = network.step(nullptr);
  for (size_t window : {size_t{0}, 16 * kKiB, size_t{1} << 20}) {
    auto config = small_config();
    config.window_bytes = config.prefetch_bytes = window;
    auto context = new_context(config);
    for (int i = 0; i < 10; ++i) EXPECT(at::equal(network.step(context), expected));
    EXPECT(context->system()->engine_stats().offloaded_tensors > 0);
    context->system()->check_invariants();
    EXPECT_EQ(context->system()->pool().stats().live_bytes, size_t{0});
  }
}

TEST(threads_share_one_context) {
  Network network;
  const auto expected = network.step(nullptr);
  auto context = new_context();
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      Network mine = network;
      for (auto& weight : mine.weights) weight = weight.detach().clone().requires_grad_();
      for (int step = 0; step < 10; ++step) EXPECT(at::equal(mine.step(context), expected));
    });
  }
  for (auto& thread : threads) thread.join();
  context->system()->check_invariants();
}

TEST(one_saved_tensor_is_fetched_by_many_threads) {
  auto system = std::make_shared<StormSystem>(device(), small_config());
  auto x = random({128, 128});
  const auto expected = x.cpu();
  auto handle = offload_activation_to_cpu(x, 0, *system);
  x.reset();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 20; ++n)
        EXPECT(at::equal(fetch_activation_from_cpu(*handle).cpu(), expected));
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(pageable_memory_serves_when_pinning_fails) {
  auto memory = std::make_shared<HostMemoryDouble>();
  memory->fail_pinned = true;
  auto system = std::make_shared<StormSystem>(device(), small_config(), memory);
  auto context = std::make_shared<OffloadContext>(system, std::vector<at::Tensor>{});
  Network network;
  const auto expected = network.step(nullptr);
  for (int i = 0; i < 3; ++i) EXPECT(at::equal(network.step(context), expected));
  EXPECT(system->pool().stats().pageable_bytes > 0);
  EXPECT(system->pool().stats().pin_failures > 0);
  EXPECT_EQ(system->pool().stats().pinned_bytes, size_t{0});
}

TEST(without_host_memory_everything_stays_and_trains) {
  auto memory = std::make_shared<HostMemoryDouble>();
  memory->fail_pinned = memory->fail_pageable = true;
  auto system = std::make_shared<StormSystem>(device(), small_config(), memory);
  auto context = std::make_shared<OffloadContext>(system, std::vector<at::Tensor>{});
  Network network;
  const auto expected = network.step(nullptr);
  EXPECT(at::equal(network.step(context), expected));
  const auto stats = system->engine_stats();
  EXPECT_EQ(stats.offloaded_tensors, uint64_t{0});
  EXPECT(stats.kept[static_cast<size_t>(KeepReason::host_full)].tensors > 0);
}

TEST(saved_tensors_outlive_their_system) {
  auto x = random({128, 128});
  const auto expected = x.cpu();
  std::shared_ptr<OffloadedActivation> handle;
  {
    StormSystem system(device(), small_config());
    handle = offload_activation_to_cpu(x, 0, system);
    x.reset();
  }
  EXPECT(at::equal(fetch_activation_from_cpu(*handle).cpu(), expected));
}

TEST(handles_dropped_in_any_state_leave_the_pool_empty) {
  auto context = new_context();
  auto& system = *context->system();
  for (int i = 0; i < 30; ++i) {
    std::vector<SavedTensor> saved;
    for (int n = 0; n < 6; ++n) saved.push_back(context->save(random({64, 64})));
    if (i % 3 == 1) saved[5].fetch();  // the others are fetched ahead, then dropped
    if (i % 3 == 2)
      for (auto& s : saved) s.fetch();
  }
  c10::impl::VirtualGuardImpl guard(device().type());
  guard.synchronizeDevice(device().index());
  EXPECT_EQ(system.pool().stats().live_bytes, size_t{0});
  system.check_invariants();
}

TEST(a_scope_of_no_context_changes_nothing) {
  auto context = new_context();
  OffloadScope outer(context);
  {
    OffloadScope inner(nullptr);
    EXPECT(OffloadScope::current() == context);
  }
  EXPECT(OffloadScope::current() == context);
}
