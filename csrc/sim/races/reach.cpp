#include "sim/races/reach.h"

#include <algorithm>
#include <numeric>

namespace storm::sim {
namespace {

using Dims = std::vector<Pattern::Dim>;

void sort_by_stride(Dims& dims) {
  std::sort(dims.begin(), dims.end(),
            [](const Pattern::Dim& a, const Pattern::Dim& b) { return a.stride > b.stride; });
}

int64_t floor_div(int64_t a, int64_t b) {
  return a >= 0 ? a / b : -((-a + b - 1) / b);
}

// Looks for a sum of one multiple of each stride that lies in an interval. Strides mostly nest, and
// then there are at most two multiples to try at each; for those that do not, patience is limited.
class SumSearch {
 public:
  explicit SumSearch(const Dims& dims)
      : dims_(dims), farthest_(dims.size() + 1), gcd_(dims.size() + 1) {
    for (size_t i = dims.size(); i-- > 0;) {
      farthest_[i] = farthest_[i + 1] + (dims[i].size - 1) * dims[i].stride;
      gcd_[i] = std::gcd(gcd_[i + 1], dims[i].stride);
    }
  }

  bool any_between(int64_t low, int64_t high) { return search(0, low, high); }

 private:
  bool search(size_t i, int64_t low, int64_t high) {
    if (high < 0 || low > farthest_[i]) return false;
    if (i == dims_.size()) return true;
    if (floor_div(high, gcd_[i]) * gcd_[i] < low) return false;
    if (--patience_ <= 0) return true;  // never seen with views of one tensor
    const auto [size, stride] = dims_[i];
    const int64_t first = std::max<int64_t>(0, -floor_div(farthest_[i + 1] - low, stride));
    const int64_t last = std::min(size - 1, floor_div(high, stride));
    for (int64_t k = first; k <= last; ++k) {
      if (search(i + 1, low - k * stride, high - k * stride)) return true;
    }
    return false;
  }

  const Dims& dims_;
  std::vector<int64_t> farthest_;  // largest sum of the strides from here on
  std::vector<int64_t> gcd_;       // of the strides from here on
  int patience_ = 1'000'000;
};

}  // namespace

Pattern Pattern::of(c10::IntArrayRef sizes, c10::IntArrayRef strides, size_t itemsize) {
  Pattern pattern = dense(itemsize);
  auto& dims = pattern.dims;
  for (size_t d = 0; d < sizes.size(); ++d) {
    if (sizes[d] <= 1 || strides[d] == 0) continue;
    dims.push_back({sizes[d], strides[d] * static_cast<int64_t>(itemsize)});
  }
  sort_by_stride(dims);
  while (!dims.empty() && dims.back().stride <= pattern.run) {
    pattern.run += (dims.back().size - 1) * dims.back().stride;
    dims.pop_back();
  }
  return pattern;
}

// They meet if two runs begin less far apart than they are long. The distances between beginnings
// are sums of strides too: those of `a` forwards, those of `b` backwards.
bool meet(uintptr_t from_a, const Pattern& a, uintptr_t from_b, const Pattern& b) {
  auto distance = static_cast<int64_t>(from_a - from_b);
  Dims dims = a.dims;
  for (const auto& [size, stride] : b.dims) {
    distance -= (size - 1) * stride;
    auto same = std::find_if(dims.begin(), dims.end(),
                             [stride = stride](const auto& dim) { return dim.stride == stride; });
    if (same == dims.end()) {
      dims.push_back({size, stride});
    } else {
      same->size += size - 1;
    }
  }
  sort_by_stride(dims);
  return SumSearch(dims).any_between(1 - a.run - distance, b.run - 1 - distance);
}

}  // namespace storm::sim
