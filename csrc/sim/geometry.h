// Shapes of results. What an operation returns depends on the shapes of its arguments, so it is
// learnt from the first call and looked up afterwards.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace storm::sim {

struct Geometry {
  bool defined = false;
  c10::ScalarType dtype = c10::ScalarType::Undefined;
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;

  static Geometry of(const at::Tensor& tensor);
};

// Of one return value: a tensor, or a list of them.
struct ResultGeometry {
  bool is_list = false;
  std::vector<Geometry> tensors;

  static ResultGeometry of(const c10::IValue& result);
};

using Geometries = std::vector<ResultGeometry>;  // of all fresh returns

// A fresh tensor on the current device; undefined if the geometry is.
at::Tensor empty_on_device(const Geometry& geometry);

class GeometryCache {
 public:
  // A key made of the operation's address and all its arguments; none if they cannot be compared.
  static std::optional<std::string> key_of(const void* op, const std::vector<c10::IValue>& args);

  std::shared_ptr<const Geometries> find(const std::string& key) const;
  void insert(std::string key, std::shared_ptr<const Geometries> geometries);

 private:
  static constexpr size_t kMaxEntries = 1 << 14;  // changing scalars would grow it for ever

  mutable std::mutex mutex_;  // guards known_
  std::unordered_map<std::string, std::shared_ptr<const Geometries>> known_;
};

}  // namespace storm::sim
