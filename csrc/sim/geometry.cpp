#include "sim/geometry.h"

namespace storm::sim {
namespace {

class KeyWriter {
 public:
  explicit KeyWriter(std::string& key) : key_(key) {}

  template <class T>
  void raw(const T& value) {
    key_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }

  void tensor(const at::Tensor& tensor) {
    if (!tensor.defined()) return raw('u');
    const auto* impl = tensor.unsafeGetTensorImpl();
    const auto sizes = impl->sizes();
    const auto strides = impl->strides();
    const char head[] = {'t', static_cast<char>(tensor.scalar_type()),
                         static_cast<char>(sizes.size()), tensor.is_cpu() ? 'c' : 'd',
                         impl->is_wrapped_number() ? 'w' : ' '};
    key_.append(head, sizeof head);
    key_.append(reinterpret_cast<const char*>(sizes.data()), sizes.size() * sizeof(int64_t));
    key_.append(reinterpret_cast<const char*>(strides.data()), strides.size() * sizeof(int64_t));
  }

  bool value(const c10::IValue& value) {
    if (value.isTensor()) {
      tensor(value.toTensor());
    } else if (value.isNone() || value.isGenerator() || value.isDevice()) {
      raw('n');
    } else if (value.isInt()) {
      raw('i'), raw(value.toInt());
    } else if (value.isBool()) {
      raw(value.toBool() ? 'T' : 'F');
    } else if (value.isDouble()) {
      raw('f'), raw(value.toDouble());
    } else if (value.isString()) {
      raw('s'), raw(value.toStringRef().size()), key_ += value.toStringRef();
    } else if (value.isList()) {
      return list(value.toListRef());
    } else {
      return false;
    }
    return true;
  }

 private:
  bool list(c10::ArrayRef<c10::IValue> items) {
    raw('l'), raw(items.size());
    for (const auto& item : items) {
      if (!value(item)) return false;
    }
    return true;
  }

  std::string& key_;
};

}  // namespace

Geometry Geometry::of(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  TORCH_CHECK_NOT_IMPLEMENTED(tensor.layout() == c10::kStrided,
                              "sim: only strided tensors are supported, got layout ",
                              tensor.layout());
  return {true, tensor.scalar_type(), tensor.sizes().vec(), tensor.strides().vec()};
}

ResultGeometry ResultGeometry::of(const c10::IValue& result) {
  if (result.isTensor()) return {false, {Geometry::of(result.toTensor())}};
  ResultGeometry list{true, {}};
  for (const auto& item : result.toListRef()) list.tensors.push_back(Geometry::of(item.toTensor()));
  return list;
}

std::optional<std::string> GeometryCache::key_of(const void* op,
                                                 const std::vector<c10::IValue>& args) {
  std::string key;
  key.reserve(256);
  KeyWriter writer(key);
  writer.raw(op);
  for (const auto& arg : args) {
    if (!writer.value(arg)) return std::nullopt;
  }
  return key;
}

std::shared_ptr<const Geometries> GeometryCache::find(const std::string& key) const {
  std::lock_guard lock(mutex_);
  const auto found = known_.find(key);
  return found == known_.end() ? nullptr : found->second;
}

void GeometryCache::insert(std::string key, std::shared_ptr<const Geometries> geometries) {
  std::lock_guard lock(mutex_);
  if (known_.size() >= kMaxEntries) known_.clear();
  known_.insert_or_assign(std::move(key), std::move(geometries));
}

}  // namespace storm::sim
