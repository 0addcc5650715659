#pragma once
#include <cstddef>
#include <mutex>
#include <vector>

namespace storm {

// What one forward was seen to save, and from it which saves of the next are its last: those are
// needed first in backward, so moving them away could only make backward wait. A forward that
// differs from the one before is followed as far as it is the same; then nothing counts as last.
// Thread-safe.
//
// The seam of the planner: today it answers "last or not", later "keep, move, compress or make
// again".
class Tail {
 public:
  explicit Tail(size_t keep_bytes) : keep_bytes_(keep_bytes) {}

  // One forward's view of it.
  struct Run {
    std::vector<size_t> sizes;  // bytes of each save so far
    bool same = true;           // as the forward before
  };
  // Records the next save of `run`; true when it is among the last.
  bool is_last(Run& run, size_t bytes);
  // The forward is over: what it saved is what the next is held against.
  void learn(Run&& run);

 private:
  const size_t keep_bytes_;
  std::mutex mutex_;  // guards what follows
  std::vector<size_t> previous_;
  size_t first_last_ = 0;  // index into previous_: from here on its saves fit into keep_bytes_
};

}  // namespace storm
