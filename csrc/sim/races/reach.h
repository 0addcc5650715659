// Which bytes a strided tensor touches, and whether two of them meet. Columns of one matrix share
// every range of addresses and no byte.
#pragma once

#include <c10/util/ArrayRef.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace storm::sim {

// Runs of bytes at regular distances, counted from the tensor's first byte.
struct Pattern {
  struct Dim {
    int64_t size;
    int64_t stride;  // in bytes, larger than what lies inside of it
    bool operator==(const Dim&) const = default;
  };

  static Pattern dense(size_t bytes) { return {static_cast<int64_t>(bytes), {}}; }
  static Pattern of(c10::IntArrayRef sizes, c10::IntArrayRef strides, size_t itemsize);

  bool is_dense() const noexcept { return dims.empty(); }
  bool operator==(const Pattern& other) const { return run == other.run && dims == other.dims; }

  int64_t run = 0;
  std::vector<Dim> dims;  // largest stride first
};

// Whether pattern `a` from address `from_a` has a byte in common with `b` from `from_b`.
bool meet(uintptr_t from_a, const Pattern& a, uintptr_t from_b, const Pattern& b);

}  // namespace storm::sim
