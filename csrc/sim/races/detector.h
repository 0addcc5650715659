// Finds accesses to the same bytes that nothing orders. Every stream and the host are actors with
// vector clocks; what one knows of another comes from events and synchronisation only, never from
// timing, so that a race is found even where this run was lucky.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sim/effects.h"
#include "sim/races/knowledge.h"

namespace storm::sim {

struct RaceSide {
  std::string operation;
  std::string actor;   // "stream 3 of sim:0", "host", "pinned allocator"
  std::string module;  // where it was issued, if known
  std::string tensor;  // "mat2: Float [8, 16]"; empty for plain bytes
};

struct Race {
  std::string kind;  // "read after write", "write after read", "write after write", "reuse"
  RaceSide first;
  RaceSide second;
  std::string missing;  // the edge that would order them
  int64_t bytes = 0;    // the most that were shared
  int64_t count = 0;
};

// Thread-safe. Called in the order in which the host issues; all calls are cheap no-ops while off.
class Detector {
 public:
  static Detector& instance();  // leaked: streams use it to the end

  bool on() const noexcept { return on_.load(std::memory_order_relaxed); }
  void turn(bool on);  // forgets all accesses; knowledge and reports stay

  // A kernel or a copy, pushed to `stream` by the calling thread.
  void issued(StreamName stream, const char* operation, const Effects& effects);

  // Events. A moment is what is known to be over once everything issued on the stream so far is.
  Moment moment_of(StreamName stream);
  void stream_waits(StreamName stream, const Moment& moment);
  void host_learns(const Moment& moment);

  // A CPU operation on pinned memory, by any host thread. All of them share one clock: what one has
  // learnt the others may know.
  void host_touches(const char* operation, const Effects& effects);

  // Device memory: handed out to `owner`, who may write it at once.
  void device_block_taken(StreamName owner, const void* begin, size_t bytes);
  // All that is over at one of these moments no longer concerns the block (record_stream).
  void block_over(const void* begin, size_t bytes, const std::vector<Moment>& moments);
  // Freed by the host: from now on it may be handed out to `owner` again, even if this run is lucky
  // enough not to.
  void device_block_freed(StreamName owner, const void* begin, size_t bytes);
  // Pinned memory: the allocator's own queries, which tell it about its blocks and the host
  // nothing.
  void allocator_learns(const Moment& moment);
  void pinned_block_taken(const void* begin, size_t bytes);
  // The memory went back to the system, after everything that used it.
  void forget(const void* begin, size_t bytes);

  std::vector<Race> races() const;
  void clear_races();

 private:
  struct State;
  Detector();

  std::atomic<bool> on_{false};
  const std::unique_ptr<State> state_;  // guarded by a lock of its own
};

inline Detector& detector() {
  return Detector::instance();
}

}  // namespace storm::sim
