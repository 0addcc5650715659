#pragma once
#include <cstddef>
#include <string>

namespace storm {

// "1.50 MiB (1572864 bytes)": what every message about memory uses.
std::string format_bytes(size_t bytes);

constexpr size_t round_up(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}
constexpr size_t round_down(size_t bytes, size_t unit) {
  return bytes / unit * unit;
}

}  // namespace storm
