// The engine on the simulated accelerator, as if that had a vendor with something of its own.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <set>
#include <string>

#include "autograd/hook_dispatch.h"
#include "engine/offload_context.h"
#include "harness.h"
#include "host/registered_memory.h"
#include "no_races.h"
#include "publish/streams.h"
#include "sim/pinned_ranges.h"
#include "sim/sim.h"
#include "transfer/device_extras.h"
#include "transfer/streams.h"

using namespace storm;

namespace {

struct Registrar final : HostRegistrar {
  void pin(void* begin, size_t bytes, c10::Device) const override {
    sim::pinned_ranges().add(begin, bytes);
    ++slabs;
  }
  void unpin(void* begin, c10::Device) const noexcept override {
    sim::pinned_ranges().remove(begin);
    --slabs;
  }
  mutable std::atomic<int> slabs{0};
};

struct Vendor final : DeviceExtras {
  std::optional<c10::Stream> new_stream(c10::Device device, int) const override {
    ++streams;
    const c10::impl::VirtualGuardImpl guard(device.type());
    return guard.getStreamFromGlobalPool(device, /*isHighPriority=*/true);
  }
  const HostRegistrar* host_registrar() const override { return &registrar; }
  bool copy_batch(c10::ArrayRef<CopySpan> spans, const c10::Stream& stream) const override {
    if (!batches_there) return false;
    ++batches;
    copies += static_cast<int>(spans.size());
    sim::enqueue(stream, [spans = spans.vec()] {
      for (const auto& span : spans) std::memcpy(span.to, span.from, span.bytes);
    });
    return true;
  }
  void begin_range(const char* name) const noexcept override {
    std::lock_guard lock(mutex);
    names.insert(name);
    ++open;
  }
  void end_range() const noexcept override { --open; }
  void mark(const char* name) const noexcept override {
    std::lock_guard lock(mutex);
    names.insert(name);
  }

  const Registrar registrar;
  bool batches_there = true;
  mutable std::atomic<int> streams{0}, batches{0}, copies{0}, open{0};
  mutable std::mutex mutex;  // guards names
  mutable std::set<std::string> names;
};

struct Machine {
  c10::Device device{c10::DeviceType::PrivateUse1, 0};
  Vendor* vendor;
};

const Machine& machine() {
  static const Machine made = [] {
    at::set_num_threads(1);
    sim::Config config;
    config.memory_bytes = int64_t{256} << 20;
    allow_no_races(config);
    sim::enable(config);
    auto vendor = std::make_unique<Vendor>();
    Machine with{{c10::DeviceType::PrivateUse1, 0}, vendor.get()};
    register_device_extras(c10::DeviceType::PrivateUse1, std::move(vendor));
    return with;
  }();
  return made;
}

// Buffers of several pieces: slabs are small against what is saved.
std::shared_ptr<OffloadContext> new_context() {
  OffloadConfig config;
  config.min_bytes = 1024;
  config.window_bytes = config.prefetch_bytes = 64 << 10;
  config.keep_last_bytes = 0;
  config.slab_bytes = 16 << 10;
  return std::make_shared<OffloadContext>(std::make_shared<StormSystem>(machine().device, config),
                                          std::vector<at::Tensor>{});
}

// The gradient of a small network, on the CPU.
at::Tensor step(const std::shared_ptr<OffloadContext>& context) {
  at::manual_seed(0);
  const auto weight = at::randn({128, 128}).to(machine().device).requires_grad_();
  auto h = at::randn({128, 128}).to(machine().device);
  {
    OffloadScope scope(context);
    for (int i = 0; i < 4; ++i) h = at::tanh(at::mm(h, weight));
    h = h.square().mean();
  }
  h.backward();
  return weight.grad().cpu();
}

}  // namespace

TEST(gradients_are_the_same_with_a_vendors_memory_and_batches) {
  auto& vendor = *machine().vendor;
  const auto expected = step(nullptr);
  const auto pageable = sim::stats().pageable_copies;
  auto context = new_context();
  for (int i = 0; i < 3; ++i) EXPECT(at::equal(step(context), expected));
  EXPECT(vendor.registrar.slabs.load() > 0);
  EXPECT_EQ(sim::stats().pageable_copies - pageable, int64_t{9});  // of step(): two in, one out
  EXPECT(vendor.batches.load() > 0);
  EXPECT(vendor.copies.load() > vendor.batches.load());
  context->system()->check_invariants();
}

TEST(without_batches_pieces_are_copied_one_by_one) {
  auto& vendor = *machine().vendor;
  vendor.batches_there = false;
  const int before = vendor.batches.load();
  EXPECT(at::equal(step(new_context()), step(nullptr)));
  EXPECT_EQ(vendor.batches.load(), before);
  vendor.batches_there = true;
}

TEST(slabs_go_when_the_system_is_closed) {
  auto context = new_context();
  step(context);
  const int before = machine().vendor->registrar.slabs.load();
  EXPECT(before > 0);
  context->system()->pool().wait_for_oldest();
  context->system()->close();
  context.reset();
  EXPECT(machine().vendor->registrar.slabs.load() < before);
}

TEST(ranges_are_named_and_closed) {
  auto& vendor = *machine().vendor;
  step(new_context());
  EXPECT_EQ(vendor.open.load(), 0);
  std::lock_guard lock(vendor.mutex);
  for (const char* name :
       {"storm::offload", "storm::fetch", "storm::prefetch", "storm::forward", "storm::backward"})
    EXPECT(vendor.names.count(name) == 1);
}

TEST(publication_has_streams_of_the_vendors_too) {
  auto& vendor = *machine().vendor;
  TransferStreams::of(machine().device);
  const int before = vendor.streams.load();
  PublishStreams::of(machine().device);
  EXPECT_EQ(vendor.streams.load(), before + 2);
}
