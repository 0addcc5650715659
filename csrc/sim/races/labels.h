// What reports say of an access: the operation, the argument, its type and shape. Each is kept once
// and known by a number, since steps repeat themselves.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/SmallVector.h>

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "sim/effects.h"
#include "sim/races/reach.h"

namespace storm::sim {

using LabelId = uint32_t;

struct Label {
  const char* operation = "";  // lives for ever
  const char* argument = "";
  bool is_tensor = false;
  c10::ScalarType dtype = c10::ScalarType::Undefined;
  c10::SmallVector<int64_t, 5> sizes;
  c10::SmallVector<int64_t, 5> strides;
  Pattern pattern;  // of a tensor; a plain range is dense
  uint64_t hash = 0;

  bool dense() const noexcept { return !is_tensor || pattern.is_dense(); }
  std::string tensor() const;  // "mat2: Float [8, 16]"
};

// Not thread-safe. Grows with the number of different shapes, not of accesses.
class Labels {
 public:
  Labels() : slots_(1024) {}
  LabelId of(const char* operation, const Touch& touch);
  LabelId of(const char* operation) { return of(operation, Touch{}); }
  const Label& operator[](LabelId id) const { return all_[id]; }

 private:
  void grow();

  std::deque<Label> all_;
  std::vector<LabelId> slots_;  // open addressing: number + 1, or 0 for an empty slot
};

}  // namespace storm::sim
