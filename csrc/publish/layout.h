#pragma once
#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

namespace storm {

// Which tensors of a model are handed over, and which of them lie over one storage. Immutable; the
// tensors are the training side's own, so what they hold is always the newest.
class ModelLayout {
 public:
  // One storage and the tensors over it: tied parameters, flattened weights.
  struct Group {
    size_t first;    // of the tensors over it
    size_t members;  // how many
    size_t bytes;
    c10::Device device;
  };

  // Throws if the tensors lie on more than one accelerator.
  explicit ModelLayout(std::vector<at::Tensor> live);

  const std::vector<at::Tensor>& live() const { return live_; }
  const std::vector<Group>& groups() const { return groups_; }
  // Tensors that are more than the bytes of a storage: subclasses, sparse and quantised ones. They
  // are in no group; their own copy_ moves them.
  const std::vector<size_t>& opaque() const { return opaque_; }
  static size_t opaque_bytes(const at::Tensor& tensor);  // as far as they can be told
  const std::optional<c10::Device>& accelerator() const { return accelerator_; }
  size_t bytes() const { return bytes_; }  // of one copy

  // Normal tensors of the same geometry, tied in the same way, over storages without memory;
  // undefined for opaque ones.
  std::vector<at::Tensor> blanks() const;
  // Whether the live tensors still are tied and shaped as `other` is.
  bool matches(const std::vector<at::Tensor>& other) const;

 private:
  static constexpr size_t kOpaque = ~size_t{0};

  std::vector<at::Tensor> live_;
  std::vector<size_t> group_of_;  // by tensor; kOpaque for those in none
  std::vector<Group> groups_;
  std::vector<size_t> opaque_;
  std::optional<c10::Device> accelerator_;
  size_t bytes_ = 0;
};

}  // namespace storm
