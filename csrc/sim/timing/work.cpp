#include "sim/timing/work.h"

#include <algorithm>

namespace storm::sim {
namespace {

double bytes_of(const Touch& touch) {
  const auto extent = static_cast<double>(touch.bytes);
  if (touch.tensor == nullptr) return extent;
  const auto elements = static_cast<double>(touch.tensor->numel());
  return std::min(extent, elements * static_cast<double>(touch.tensor->itemsize()));
}

}  // namespace

double bytes_of(const at::Tensor& tensor) {
  Effects one;
  one.reads(tensor);
  return Work::over(one).bytes;
}

Work Work::over(const Effects& effects) {
  Work work;
  for (const auto& touch : effects.touches()) work.bytes += bytes_of(touch);
  return work;
}

Work Work::math(Unit unit, double flops, const at::Tensor& operand, const Effects& effects) {
  Work work = over(effects);
  work.unit = unit;
  work.flops = flops;
  work.dtype = operand.scalar_type();
  return work;
}

Work Work::link(bool d2h, double bytes, bool pinned) {
  Work work;
  work.unit = d2h ? Unit::d2h : Unit::h2d;
  work.bytes = bytes;
  work.pinned = pinned;
  return work;
}

}  // namespace storm::sim
