// Who knows what of whom: one clock for each stream, one for all of the host's threads, one for the
// pinned allocator.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/races/vector_clock.h"

namespace storm::sim {

struct StreamName {
  int device = 0;
  int64_t stream = 0;
  bool operator==(const StreamName&) const = default;
};

inline constexpr Actor kHost = 0;
inline constexpr Actor kPinnedAllocator = 1;
inline constexpr Actor kFirstStream = 2;

// Not thread-safe.
class Knowledge {
 public:
  Actor actor_of(StreamName name);
  std::string name_of(Actor actor) const;

  // What a stream's next operation may take to be over: what the stream waited for, and, since it
  // is issued only now, all that the host knows. Valid until the next call.
  const VectorClock& of_stream(Actor actor) { return caught_up(actor).clock; }
  const VectorClock& of_host() const noexcept { return host_; }
  // Its own queries, and what the host knows.
  const VectorClock& of_pinned_allocator();

  uint64_t tick(Actor stream);  // one more operation
  Moment moment_of(Actor stream);
  void stream_learns(Actor stream, const VectorClock& clock);
  void host_learns(const VectorClock& clock);
  void allocator_learns(const VectorClock& clock) { pinned_allocator_.join(clock); }

 private:
  struct Stream {
    StreamName name;
    VectorClock clock;
    uint64_t host_version = 0;  // of the host's knowledge that is in `clock`
    Moment moment;              // `clock` as it is, if somebody asked for it
  };

  Stream& caught_up(Actor actor);

  std::vector<Stream> streams_;
  std::vector<std::vector<Actor>> actors_;  // by device and stream; 0 for none yet
  VectorClock host_;
  uint64_t host_version_ = 1;
  VectorClock pinned_allocator_;
};

}  // namespace storm::sim
