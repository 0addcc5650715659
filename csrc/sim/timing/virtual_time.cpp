#include "sim/timing/virtual_time.h"

#include <c10/util/Exception.h>
#include <torch/csrc/autograd/engine.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <thread>

#include "sim/clock.h"
#include "sim/timing/cost.h"
#include "sim/timing/lane.h"

namespace storm::sim {
namespace {

int64_t nanoseconds_of(double seconds) {
  return std::llround(seconds * 1e9);
}

thread_local bool t_serves_autograd = false;

}  // namespace

struct VirtualTime::State {
  mutable std::mutex mutex;  // guards all that follows
  Profile profile;
  Lane compute;
  Lane d2h;
  Lane h2d;
  int64_t latest_ns = 0;  // the end of all that was placed
  std::thread::id host;

  Lane& lane(Unit unit) { return unit == Unit::d2h ? d2h : unit == Unit::h2d ? h2d : compute; }
};

VirtualTime::VirtualTime() : state_(std::make_unique<State>()) {}

VirtualTime& VirtualTime::instance() {
  static auto* instance = new VirtualTime;
  return *instance;
}

bool VirtualTime::on() const noexcept {
  return clock_is_virtual();
}

void VirtualTime::turn_on() {
  make_clock_virtual();
}

void VirtualTime::set_profile(const Profile& profile) {
  std::lock_guard lock(state_->mutex);
  state_->profile = profile;
}

Profile VirtualTime::profile() const {
  std::lock_guard lock(state_->mutex);
  return state_->profile;
}

int64_t VirtualTime::host_ns() const noexcept {
  return virtual_ns();
}

void VirtualTime::host_waits_until(int64_t ns) {
  raise_virtual_ns(ns);
}

void VirtualTime::host_works(double seconds) {
  if (on() && seconds > 0) add_virtual_ns(nanoseconds_of(seconds));
}

void VirtualTime::charge_call() {
  if (!on()) return;
  check_thread();
  host_works(profile().api_s);
}

void VirtualTime::charge_pinning(size_t bytes) {
  if (!on()) return;
  check_thread();
  int64_t latest = 0;
  Profile profile;
  {
    std::lock_guard lock(state_->mutex);
    latest = state_->latest_ns;
    profile = state_->profile;
  }
  host_waits_until(latest);
  host_works(profile.pin_s + static_cast<double>(bytes) / profile.pin_bytes_per_s);
}

void VirtualTime::charge_unpinning() {
  if (on()) host_works(profile().unpin_s);
}

void VirtualTime::charge_device_malloc() {
  if (on()) host_works(profile().device_malloc_s);
}

void VirtualTime::charge_device_free() {
  if (on()) host_works(profile().device_free_s);
}

void VirtualTime::check_thread() {
  if (t_serves_autograd) return;
  const auto self = std::this_thread::get_id();
  {
    std::lock_guard lock(state_->mutex);
    if (state_->host == std::thread::id()) state_->host = self;
    if (state_->host == self) return;
  }
  // Remembered: what a worker does when a graph is finished belongs to no graph.
  t_serves_autograd = torch::autograd::get_current_graph_task_id() != -1;
  TORCH_CHECK(t_serves_autograd,
              "sim: clock='virtual' follows one host thread, and a second one uses the device; "
              "threads that run at the same time need clock='threads'");
}

Placement VirtualTime::place(const Work& work, int64_t ready, double slowdown, int64_t delay) {
  std::lock_guard lock(state_->mutex);
  auto& s = *state_;
  add_virtual_ns(nanoseconds_of(s.profile.launch_s));
  const int64_t now = virtual_ns();
  for (auto* lane : {&s.compute, &s.d2h, &s.h2d}) lane->forget_before(now);
  ready = std::max(ready, now) + delay;
  const Placement placed = work.empty            ? Placement{ready, ready}
                           : work.crosses_link() ? place_copy(work, ready, slowdown)
                                                 : place_kernel(work, ready, slowdown);
  s.latest_ns = std::max(s.latest_ns, placed.end_ns);
  return placed;
}

Placement VirtualTime::place_copy(const Work& work, int64_t ready, double slowdown) {
  auto& lane = state_->lane(work.unit);
  const int64_t length = nanoseconds_of(copy_cost(work, state_->profile) * slowdown);
  const int64_t begin = lane.find(ready, length);
  lane.occupy(begin, length);
  return {begin, begin + length};
}

// Copies that go on meanwhile take their share of the memory's bandwidth.
Placement VirtualTime::place_kernel(const Work& work, int64_t ready, double slowdown) {
  auto& s = *state_;
  const auto cost = kernel_cost(work, s.profile);
  const auto length_with = [&](double memory) {
    const double longest = std::max({s.profile.kernel_floor_s, cost.compute, memory});
    return nanoseconds_of(longest * slowdown);
  };
  int64_t length = length_with(cost.memory);
  int64_t begin = s.compute.find(ready, length);
  const double bandwidth = s.profile.memory_bytes_per_s * s.profile.memory_efficiency;
  const double stolen =
      1e-9 *
      (static_cast<double>(s.d2h.busy_within(begin, begin + length)) * s.profile.d2h_bytes_per_s +
       static_cast<double>(s.h2d.busy_within(begin, begin + length)) * s.profile.h2d_bytes_per_s);
  if (stolen > 0) {
    length = length_with(cost.memory + stolen / bandwidth);
    begin = s.compute.find(ready, length);
  }
  s.compute.occupy(begin, length);
  return {begin, begin + length};
}

}  // namespace storm::sim
