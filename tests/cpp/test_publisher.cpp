// Versions of a model between threads, on the CPU and on the simulated accelerator: what runs under
// the sanitizers.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/StreamGuard.h>

#include <atomic>
#include <deque>
#include <mutex>
#include <thread>

#include "harness.h"
#include "no_races.h"
#include "publish/publisher.h"
#include "publish/streams.h"
#include "sim/sim.h"

using namespace storm;

namespace {

c10::Device simulated() {
  static const c10::Device made = [] {
    sim::Config config;
    config.memory_bytes = int64_t{64} << 20;
    config.d2h_bytes_per_s = config.h2d_bytes_per_s = 2e9;
    allow_no_races(config);
    sim::enable(config);
    return c10::Device(c10::DeviceType::PrivateUse1, 0);
  }();
  return made;
}

// What the Python layer does for a publisher, without Python: keeps idle snapshots and collects.
class Model {
 public:
  Model(Publisher::Mode mode, c10::Device device, int tensors = 12) : publisher(mode), mode_(mode) {
    at::set_num_threads(2);
    for (int i = 0; i < tensors; ++i)
      live.push_back(at::zeros({64 + i}, at::TensorOptions().device(device)));
    layout_ = std::make_shared<ModelLayout>(live);
    publisher.start(fresh());
  }

  void fill(double value) {
    for (auto& tensor : live) tensor.fill_(value);
  }

  bool publish() {
    collect();
    std::shared_ptr<Snapshot> next;
    {
      std::lock_guard lock(mutex_);
      for (auto it = idle_.begin(); it != idle_.end() && !next; ++it) {
        if (!(*it)->unused()) continue;
        next = *it;
        idle_.erase(it);
      }
    }
    if (!next) next = fresh();
    auto free = publisher.if_free();
    if (free && !free->first->unreferenced()) free.reset();
    const bool published = publisher.publish(next, free);
    collect();
    return published;
  }

  void collect() {
    for (auto& snapshot : publisher.collect()) {
      if (!snapshot->unreferenced()) {
        publisher.abandon(snapshot);
        continue;
      }
      snapshot->renew();
      if (mode_ == Publisher::Mode::swap) snapshot->release();
      std::lock_guard lock(mutex_);
      idle_.push_back(std::move(snapshot));
    }
  }

  template <typename Body>
  void read(Body&& body) {
    const auto snapshot = publisher.pin();
    body(snapshot->served());
    if (publisher.unpin(snapshot)) collect();
  }

  std::vector<at::Tensor> live;
  Publisher publisher;

 private:
  std::shared_ptr<Snapshot> fresh() {
    auto made = std::make_shared<Snapshot>(layout_, layout_->blanks());
    made->settle();
    return made;
  }

  const Publisher::Mode mode_;
  std::shared_ptr<ModelLayout> layout_;
  std::mutex mutex_;  // guards idle_
  std::deque<std::shared_ptr<Snapshot>> idle_;
};

// The number that all tensors hold; -1 if they hold several.
double only_value(const std::vector<at::Tensor>& tensors) {
  const double first = tensors[0].cpu()[0].item<double>();
  for (const auto& tensor : tensors) {
    if (!(tensor.cpu() == first).all().item<bool>()) return -1;
  }
  return first;
}

constexpr Publisher::Mode kModes[] = {Publisher::Mode::swap, Publisher::Mode::copy};

void race(Publisher::Mode mode, c10::Device device, int versions) {
  Model model(mode, device);
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&, i] {
      std::optional<c10::StreamGuard> on_stream;
      if (!device.is_cpu()) on_stream.emplace(PublishStreams::of(device).inference());
      double newest = 0;
      std::pair<at::Tensor, double> kept;  // a view that outlives its version
      for (int turn = 0; !stop; ++turn) {
        model.read([&](const std::vector<at::Tensor>& served) {
          const double value = only_value(served);
          EXPECT(value >= newest);
          newest = value;
          if (i == 0 && turn % 3 == 0) kept = {served[1].narrow(0, 3, 40), value};
        });
        if (kept.first.defined()) EXPECT_EQ(only_value({kept.first}), kept.second);
      }
    });
  }
  for (int version = 1; version <= versions; ++version) {
    model.fill(version);
    EXPECT(model.publish());
    if (version % 8 == 0) model.publisher.check_invariants();
    EXPECT(model.publisher.bytes() > 0);
  }
  stop = true;
  for (auto& reader : readers) reader.join();
  if (!device.is_cpu())
    c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(device.index());
  EXPECT_EQ(model.publisher.version(), static_cast<uint64_t>(versions));
  model.read([&](const auto& served) { EXPECT_EQ(only_value(served), double(versions)); });
  EXPECT_EQ(only_value(model.live), double(versions));
}

TEST(readers_see_whole_versions_while_memory_changes_hands) {
  for (auto mode : kModes) race(mode, c10::kCPU, 400);
}

TEST(readers_see_whole_versions_on_a_device_that_is_late) {
  for (auto mode : kModes) race(mode, simulated(), 40);
}

TEST(a_held_version_stays_and_its_memory_is_another) {
  for (auto mode : kModes) {
    Model model(mode, c10::kCPU);
    const size_t one = model.publisher.bytes();
    const auto held = model.publisher.pin();
    for (int version = 1; version <= 3; ++version) {
      model.fill(version);
      EXPECT(model.publish());
      EXPECT_EQ(only_value(held->served()), 0.0);
      EXPECT_EQ(model.publisher.bytes(), 2 * one);
    }
    EXPECT(model.publisher.unpin(held));
    model.collect();
    EXPECT_EQ(model.publisher.bytes(), one);
    EXPECT_EQ(only_value(model.live), 3.0);
  }
}

TEST(what_somebody_else_holds_is_copied_and_keeps_its_place) {
  Model model(Publisher::Mode::swap, c10::kCPU);
  const at::Tensor view = model.live[2].narrow(0, 0, 8);
  const void* address = view.data_ptr();
  for (int version = 1; version <= 3; ++version) {
    model.fill(version);
    EXPECT(model.publish());
    EXPECT_EQ(model.live[2].data_ptr(), address);
    EXPECT_EQ(only_value({view}), double(version));
    model.read([&](const auto& served) {
      EXPECT_EQ(only_value(served), double(version));
      EXPECT(served[2].data_ptr() != address);
    });
  }
}

TEST(other_shapes_and_new_ties_are_refused_and_change_nothing) {
  Model model(Publisher::Mode::swap, c10::kCPU);
  model.fill(1);
  EXPECT(model.publish());
  const at::Tensor before = model.live[0].detach();
  model.live[0].unsafeGetTensorImpl()->shallow_copy_from(at::zeros({5}).getIntrusivePtr());
  EXPECT(!model.publish());
  EXPECT_EQ(model.publisher.version(), uint64_t{1});
  model.live[0].unsafeGetTensorImpl()->shallow_copy_from(before.getIntrusivePtr());
  EXPECT(model.publish());
}

}  // namespace
