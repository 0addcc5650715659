#pragma once

#include <cstddef>

namespace storm {

// One copy of plain bytes.
struct CopySpan {
  void* to;
  const void* from;
  size_t bytes;
};

}  // namespace storm
