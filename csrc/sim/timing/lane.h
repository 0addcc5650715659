// An engine that does one thing at a time: the processors of a device, or one direction of its
// link.
#pragma once

#include <cstdint>
#include <map>

namespace storm::sim {

// Not thread-safe: VirtualTime's lock covers it. Times are nanoseconds.
class Lane {
 public:
  // The earliest begin from `ready` on of a gap of `length`.
  int64_t find(int64_t ready, int64_t length) const;
  void occupy(int64_t begin, int64_t length);

  // How much of [begin, end) is occupied.
  int64_t busy_within(int64_t begin, int64_t end) const;

  // Nothing will be placed or asked for before `now` any more.
  void forget_before(int64_t now);

 private:
  std::map<int64_t, int64_t> busy_;  // begin -> end; disjoint, neighbours joined
};

}  // namespace storm::sim
