#pragma once
#include <cstddef>
#include <map>
#include <set>
#include <utility>

namespace storm {

// Bookkeeping of free and used ranges in a set of spans: best fit, coalescing, no rounding beyond
// the granule. Pure address arithmetic; owns no memory, has no lock.
class BestFit {
 public:
  static constexpr size_t kGranule = 512;
  using Address = std::byte*;

  void add_span(Address begin, size_t bytes);
  // Forgets a span that is wholly free; false (and nothing changes) otherwise.
  bool remove_span(Address begin);

  Address allocate(size_t bytes);  // one range; nullptr when none fits
  // What free ranges lack to hold `bytes` in pieces, largest first, none but the last below
  // `least`. When nothing is missing, allocate(min(rest, largest_free())) until the rest is 0
  // succeeds.
  size_t missing(size_t bytes, size_t least) const;
  size_t release(Address begin);  // returns the range's bytes

  size_t used_bytes() const { return used_bytes_; }
  size_t free_bytes() const { return free_bytes_; }
  size_t largest_free() const { return by_size_.empty() ? 0 : by_size_.rbegin()->first; }
  void check_invariants() const;

 private:
  using Ranges = std::map<Address, size_t>;
  void insert_free(Address begin, size_t bytes);
  void erase_free(Ranges::iterator range);

  Ranges spans_;                                  // begin -> bytes of each span
  Ranges free_;                                   // begin -> bytes; no two of one span touch
  Ranges used_;                                   // begin -> bytes
  std::set<std::pair<size_t, Address>> by_size_;  // the same ranges as free_
  size_t used_bytes_ = 0;
  size_t free_bytes_ = 0;
};

}  // namespace storm
