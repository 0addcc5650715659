// Who touched which bytes last, as far as anybody may still collide with it.
#pragma once

#include <c10/util/SmallVector.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "sim/races/labels.h"
#include "sim/races/site.h"
#include "sim/races/vector_clock.h"

namespace storm::sim {

struct Access {
  uint64_t tick = 0;    // of its actor's clock
  uintptr_t begin = 0;  // of the whole access: its pattern counts from here
  Actor actor = 0;
  LabelId label = 0;
  SiteId site = 0;
  bool writes = false;
  bool dense = true;     // touches every byte of its range
  bool earlier = false;  // of a tensor that had the memory before
};

struct Range {
  uintptr_t begin = 0;
  uintptr_t end = 0;
};

inline Range range_of(const void* begin, size_t bytes) {
  const auto from = reinterpret_cast<uintptr_t>(begin);
  return {from, from + bytes};
}

// An earlier access that the present one does not know to be over.
struct Conflict {
  Access first;
  size_t bytes = 0;
};

// Not thread-safe. Disjoint segments of addresses, each with its last covering write and what came
// after it. Nodes are kept for reuse: in the usual case nothing is allocated.
class AccessMap {
 public:
  explicit AccessMap(const Labels& labels) : labels_(labels) {}

  // `knows`: what is over for the access. `settled`: what is over for everyone, so forgotten.
  void touch(Range range, const Access& access, const VectorClock& knows,
             const VectorClock& settled, std::vector<Conflict>& conflicts);
  // The same without leaving a trace.
  void look(Range range, const Access& access, const VectorClock& knows,
            std::vector<Conflict>& conflicts) const;
  // The range becomes a new tensor's: what `owner` does not know to be over conflicts. The rest
  // stays, for streams that use the tensor and know less.
  void hand_out(Range range, Actor owner, const VectorClock& knows, const VectorClock& settled,
                std::vector<Conflict>& conflicts);
  // Forgets what is over for `known`.
  void settle(Range range, const VectorClock& known);
  void forget(Range range);
  void clear();

  size_t segments() const noexcept { return segments_.size(); }

 private:
  using Accesses = c10::SmallVector<Access, 2>;
  struct Segment {
    uintptr_t end = 0;
    Accesses accesses;
  };
  using Segments = std::map<uintptr_t, Segment>;
  using Place = Segments::iterator;
  static constexpr size_t kMostAccesses = 32;  // to one segment; the oldest are then forgotten

  Place cut(uintptr_t address);
  Place insert(Place before, Range range);
  Place erase(Place place);
  bool collide(Range shared, const Access& first, const Access& second) const;
  void compare(Range shared, const Accesses& earlier, const Access& access,
               const VectorClock& knows, std::vector<Conflict>& conflicts) const;
  void add(Accesses& accesses, const Access& access) const;

  const Labels& labels_;
  Segments segments_;
  std::vector<Segments::node_type> spare_;
};

}  // namespace storm::sim
