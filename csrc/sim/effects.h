// What an operation reads and writes: what the race detector and the virtual clock need to know of
// a kernel or a copy. Made and used up while the host issues it; refers to tensors, owns nothing.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/SmallVector.h>

#include <cstddef>
#include <optional>

namespace storm::sim {

struct Touch {
  const c10::TensorImpl* tensor = nullptr;  // null: a plain range of bytes
  const void* begin = nullptr;
  size_t bytes = 0;  // from the first byte to the last, holes of a strided tensor included
  bool writes = false;
  const char* argument = "";  // its name in the operation's schema; lives for ever
};

class Effects {
 public:
  Effects& reads(const at::Tensor& tensor, const char* argument = "");
  Effects& reads(const std::optional<at::Tensor>& tensor, const char* argument = "");
  Effects& writes(const at::Tensor& tensor, const char* argument = "");
  Effects& reads(const void* begin, size_t bytes);
  Effects& writes(const void* begin, size_t bytes);
  void add(const Touch& touch) { touches_.push_back(touch); }

  const c10::SmallVectorImpl<Touch>& touches() const noexcept { return touches_; }

 private:
  void add(const at::Tensor& tensor, bool writes, const char* argument);

  c10::SmallVector<Touch, 8> touches_;
};

}  // namespace storm::sim
