#include "engine/recorder.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <sstream>
#include <utility>

#include "base/check.h"

namespace storm {
namespace {

struct Active {
  std::mutex mutex;  // guards recorder
  std::shared_ptr<Recorder> recorder;
};
Active& active_slot() {
  static auto* slot = new Active;
  return *slot;
}

std::string lane_of(const c10::Stream& stream) {
  std::ostringstream lane;
  lane << "compute";
  if (stream.id() != 0) lane << " " << stream.id();
  if (stream.device_index() != 0) lane << " on " << stream.device();
  return lane.str();
}

// When events happened, on the host's clock. A device tells only how far two of its events lie
// apart: one that the host sees happen fixes the rest.
class DeviceClock {
 public:
  explicit DeviceClock(const c10::Stream& stream)
      : seen_(Event::record(stream, Event::Timing::yes)) {
    seen_.synchronize();
    at_ = Recorder::now();
  }
  double when(const Event& event) const { return at_ - seen_.seconds_since(event); }

 private:
  Event seen_;
  double at_;
};

}  // namespace

std::atomic<bool> Recorder::any_{false};

const char* name_of(StallCause cause) {
  static constexpr const char* kNames[] = {"window_full", "arriving", "late", "needed",
                                           "host_full"};
  static_assert(std::size(kNames) == static_cast<size_t>(StallCause::count));
  return kNames[static_cast<size_t>(cause)];
}

double Recorder::now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::shared_ptr<Recorder> Recorder::locked_active() {
  std::lock_guard lock(active_slot().mutex);
  return active_slot().recorder;
}

void Recorder::start() {
  std::lock_guard lock(active_slot().mutex);
  TORCH_CHECK(
      !active_slot().recorder,
      "pamiq_storm is being traced already: end that trace first, one at a time is written");
  active_slot().recorder = std::make_shared<Recorder>();
  any_.store(true, std::memory_order_relaxed);
}

Recording Recorder::stop() {
  std::shared_ptr<Recorder> recorder;
  {
    std::lock_guard lock(active_slot().mutex);
    recorder.swap(active_slot().recorder);
    any_.store(false, std::memory_order_relaxed);
  }
  TORCH_CHECK(recorder, "pamiq_storm is not being traced");
  return recorder->finish();
}

void Recorder::describe(uint64_t id, const at::Tensor& tensor) {
  std::ostringstream text;
  text << tensor.scalar_type() << tensor.sizes();
  std::lock_guard lock(mutex_);
  log_.tensors.emplace(id, text.str());
}

void Recorder::copied(const c10::Stream& stream, bool to_host, uint64_t id, Label label,
                      size_t bytes, Stretch stretch) {
  std::lock_guard lock(mutex_);
  log_.copies.push_back({stream, to_host, id, label, bytes, std::move(stretch)});
}

void Recorder::stalled(const c10::Stream& stream, StallCause cause, Label label, Stretch stretch) {
  std::lock_guard lock(mutex_);
  log_.stalls.push_back({stream, cause, label, std::move(stretch)});
}

void Recorder::host_stalled(Label label, double begin, double end) {
  std::lock_guard lock(mutex_);
  log_.host_stalls.push_back({label, begin, end});
}

void Recorder::host_bytes(size_t bytes) {
  const double at = now() - began_;
  std::lock_guard lock(mutex_);
  log_.host_bytes.push_back({at, bytes});
}

StatsCounters& Recorder::counters(Label label) {
  std::lock_guard lock(mutex_);
  auto& counters = counters_[label];
  if (!counters) counters = std::make_unique<StatsCounters>();
  return *counters;
}

Recording Recorder::finish() {
  Log log;
  Recording result;
  std::map<std::string, Recording::Module> modules;
  {
    // Whoever still runs in another thread adds to what nobody reads any more.
    std::lock_guard lock(mutex_);
    std::swap(log, log_);
    for (const auto& [label, counters] : counters_) {
      modules[name_of(label)].stats = counters->snapshot();
    }
  }
  for (const auto& copy : log.copies) copy.stretch.end->synchronize();
  for (const auto& stall : log.stalls) {
    stall.stretch.begin->synchronize();
    stall.stretch.end->synchronize();
  }

  std::map<c10::DeviceIndex, DeviceClock> clocks;
  const auto clock = [&](const c10::Stream& stream) -> const DeviceClock& {
    return clocks.try_emplace(stream.device_index(), stream).first->second;
  };
  const auto since = [&](const c10::Stream& stream, const Event& event) {
    return std::max(0.0, clock(stream).when(event) - began_);
  };
  const auto stall_of = [&](Label label, StallCause cause, double seconds) {
    auto& module = modules[name_of(label)];
    module.stall_seconds[static_cast<size_t>(cause)] += seconds;
  };

  for (const auto& copy : log.copies) {
    const auto known = log.tensors.find(copy.id);
    result.entries.push_back(
        {copy.to_host ? "D2H" : "H2D", copy.to_host ? "offload" : "fetch", name_of(copy.label),
         known == log.tensors.end() ? std::string() : known->second, copy.id, copy.bytes,
         since(copy.stream, *copy.stretch.begin), copy.stretch.seconds()});
  }
  for (const auto& stall : log.stalls) {
    const double seconds = stall.stretch.seconds();
    stall_of(stall.label, stall.cause, seconds);
    result.entries.push_back({lane_of(stall.stream),
                              std::string("stall: ") + name_of(stall.cause),
                              name_of(stall.label),
                              {},
                              0,
                              0,
                              since(stall.stream, *stall.stretch.begin),
                              seconds});
  }
  for (const auto& stall : log.host_stalls) {
    stall_of(stall.label, StallCause::host_full, stall.end - stall.begin);
    result.entries.push_back({"host",
                              std::string("stall: ") + name_of(StallCause::host_full),
                              name_of(stall.label),
                              {},
                              0,
                              0,
                              stall.begin - began_,
                              stall.end - stall.begin});
  }
  std::sort(result.entries.begin(), result.entries.end(),
            [](const auto& a, const auto& b) { return a.begin < b.begin; });
  for (auto& [name, module] : modules) {
    module.name = name;
    result.modules.push_back(std::move(module));
  }
  result.host_bytes = std::move(log.host_bytes);
  result.seconds = now() - began_;
  return result;
}

}  // namespace storm
