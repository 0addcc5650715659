#include "sim/races/labels.h"

#include <sstream>

#include "sim/mix.h"

namespace storm::sim {
namespace {

uint64_t bits(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer);
}

uint64_t hash_of(const char* operation, const Touch& touch) {
  uint64_t hash = bits(operation) * 0x9E3779B97F4A7C15 + bits(touch.argument);
  if (touch.tensor == nullptr) return mix(hash);
  hash = hash * 31 + static_cast<uint64_t>(touch.tensor->dtype().toScalarType());
  for (const int64_t size : touch.tensor->sizes()) {
    hash = (hash ^ static_cast<uint64_t>(size)) * 0x9E3779B97F4A7C15;
  }
  for (const int64_t stride : touch.tensor->strides()) {
    hash = (hash ^ static_cast<uint64_t>(stride)) * 0xBF58476D1CE4E5B9;
  }
  return mix(hash);
}

bool fits(const Label& label, const char* operation, const Touch& touch) {
  if (label.operation != operation || label.argument != touch.argument) return false;
  if (label.is_tensor != (touch.tensor != nullptr)) return false;
  if (touch.tensor == nullptr) return true;
  return label.dtype == touch.tensor->dtype().toScalarType() &&
         touch.tensor->sizes().equals(label.sizes) && touch.tensor->strides().equals(label.strides);
}

Label make(const char* operation, const Touch& touch, uint64_t hash) {
  Label label;
  label.operation = operation;
  label.argument = touch.argument;
  label.hash = hash;
  if (touch.tensor == nullptr) return label;
  const auto& tensor = *touch.tensor;
  label.is_tensor = true;
  label.dtype = tensor.dtype().toScalarType();
  label.sizes.assign(tensor.sizes().begin(), tensor.sizes().end());
  label.strides.assign(tensor.strides().begin(), tensor.strides().end());
  label.pattern = Pattern::of(tensor.sizes(), tensor.strides(), tensor.itemsize());
  return label;
}

}  // namespace

std::string Label::tensor() const {
  if (!is_tensor) return "";
  std::ostringstream text;
  if (*argument != '\0') text << argument << ": ";
  text << dtype << " [";
  for (size_t d = 0; d < sizes.size(); ++d) text << (d == 0 ? "" : ", ") << sizes[d];
  text << ']';
  if (!pattern.is_dense()) text << " (strided)";
  return text.str();
}

LabelId Labels::of(const char* operation, const Touch& touch) {
  const uint64_t hash = hash_of(operation, touch);
  for (size_t slot = hash;; ++slot) {
    LabelId& number = slots_[slot & (slots_.size() - 1)];
    if (number == 0) {
      all_.push_back(make(operation, touch, hash));
      number = static_cast<LabelId>(all_.size());
      if (all_.size() * 2 > slots_.size()) grow();
      return static_cast<LabelId>(all_.size() - 1);
    }
    const Label& label = all_[number - 1];
    if (label.hash == hash && fits(label, operation, touch)) return number - 1;
  }
}

void Labels::grow() {
  slots_.assign(slots_.size() * 2, 0);
  for (LabelId id = 0; id < all_.size(); ++id) {
    size_t slot = all_[id].hash;
    while (slots_[slot & (slots_.size() - 1)] != 0) ++slot;
    slots_[slot & (slots_.size() - 1)] = id + 1;
  }
}

}  // namespace storm::sim
