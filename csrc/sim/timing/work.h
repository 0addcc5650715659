// What a kernel or a copy has to do, from which a profile tells how long it takes.
#pragma once

#include <c10/core/ScalarType.h>

#include "sim/effects.h"

namespace storm::sim {

enum class Unit { memory, matmul, convolution, attention, attention_backward, d2h, h2d };

struct Work {
  Unit unit = Unit::memory;
  double flops = 0;
  c10::ScalarType dtype = c10::ScalarType::Float;
  double bytes = 0;    // of device memory read and written; of a copy: those that cross the link
  bool pinned = true;  // of a copy
  bool empty = false;  // keeps order only

  bool crosses_link() const noexcept { return unit == Unit::d2h || unit == Unit::h2d; }

  // Reads and writes everything it touches once.
  static Work over(const Effects& effects);
  static Work math(Unit unit, double flops, const at::Tensor& operand, const Effects& effects);
  static Work link(bool d2h, double bytes, bool pinned);
};

// The bytes of a tensor that differ: an expanded one has fewer than its shape says.
double bytes_of(const at::Tensor& tensor);

}  // namespace storm::sim
