#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/Stream.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/event.h"
#include "engine/label.h"
#include "engine/stats.h"

namespace storm {

// Why something stood still.
enum class StallCause : uint8_t {
  window_full,  // compute waited for a copy out, because window_bytes were under way
  arriving,     // compute waited for a copy back that was started ahead, but not early enough
  late,         // compute waited for a copy back that had not been started when backward asked
  needed,       // compute waited for a copy out, because its memory was asked for
  host_full,    // the host waited for host memory to be free again
  count
};
const char* name_of(StallCause cause);

// A stretch of time between two timed events of one device. It has no length when the end turns out
// to have come first.
struct Stretch {
  EventRef begin, end;
  bool over() const { return begin->done() && end->done(); }
  double seconds() const { return std::max(0.0, end->seconds_since(*begin)); }
};

// A recording in plain numbers. Times are in seconds since it began.
struct Recording {
  struct Entry {
    std::string
        lane;  // "D2H", "H2D", "compute" (with the stream's number where it is not 0), "host"
    std::string name;  // "offload", "fetch", or "stall: " and the cause
    std::string module;
    std::string tensor;  // dtype and shape of the tensor the bytes were saved for; empty if unknown
    uint64_t id;         // of the bytes, the same for each of their copies; 0 for stalls
    size_t bytes;
    double begin, seconds;
  };
  struct Level {  // host memory in offloaded tensors
    double at;
    size_t bytes;
  };
  struct Module {
    std::string name;
    EngineStats stats;
    std::array<double, static_cast<size_t>(StallCause::count)> stall_seconds{};
  };
  double seconds = 0;
  std::vector<Entry> entries;  // by begin
  std::vector<Level> host_bytes;
  std::vector<Module> modules;  // by name; the nameless one holds what no module was known for
};

// Writes down each copy, each wait and each decision, while one is active. Thread-safe. Costs two
// timed events per copy, so nobody is active unless asked for.
class Recorder {
 public:
  // The active one, or null: one relaxed load when nobody records.
  static std::shared_ptr<Recorder> active() {
    return any_.load(std::memory_order_relaxed) ? locked_active() : nullptr;
  }
  static void start();  // throws when one is active already
  // Ends the recording. Blocks until the recorded copies and waits are over.
  static Recording stop();

  // Names bytes for the copies to come.
  void describe(uint64_t id, const at::Tensor& tensor);
  void copied(const c10::Stream& stream, bool to_host, uint64_t id, Label label, size_t bytes,
              Stretch stretch);
  void stalled(const c10::Stream& stream, StallCause cause, Label label, Stretch stretch);
  void host_stalled(Label label, double begin, double end);  // on now()'s clock
  void host_bytes(size_t bytes);
  // The counters of one module.
  StatsCounters& counters(Label label);

  static double now();  // seconds on the host's monotonic clock

 private:
  struct Copy {
    c10::Stream stream;
    bool to_host;
    uint64_t id;
    Label label;
    size_t bytes;
    Stretch stretch;
  };
  struct Stall {
    c10::Stream stream;
    StallCause cause;
    Label label;
    Stretch stretch;
  };
  struct HostStall {
    Label label;
    double begin, end;
  };
  struct Log {
    std::unordered_map<uint64_t, std::string> tensors;
    std::vector<Copy> copies;
    std::vector<Stall> stalls;
    std::vector<HostStall> host_stalls;
    std::vector<Recording::Level> host_bytes;
  };
  static std::shared_ptr<Recorder> locked_active();
  Recording finish();

  static std::atomic<bool> any_;
  const double began_ = now();
  std::mutex mutex_;  // guards what follows; not held while waiting for the device
  Log log_;
  std::unordered_map<Label, std::unique_ptr<StatsCounters>> counters_;
};

}  // namespace storm
