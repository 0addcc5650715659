#include "host/best_fit.h"

#include <iterator>

#include "base/bytes.h"
#include "base/check.h"

namespace storm {

void BestFit::insert_free(Address begin, size_t bytes) {
  free_.emplace(begin, bytes);
  by_size_.emplace(bytes, begin);
  free_bytes_ += bytes;
}

void BestFit::erase_free(Ranges::iterator range) {
  by_size_.erase({range->second, range->first});
  free_bytes_ -= range->second;
  free_.erase(range);
}

void BestFit::add_span(Address begin, size_t bytes) {
  STORM_INVARIANT(bytes % kGranule == 0, "span of ", bytes, " bytes.");
  spans_.emplace(begin, bytes);
  insert_free(begin, bytes);
}

bool BestFit::remove_span(Address begin) {
  auto span = spans_.find(begin);
  STORM_INVARIANT(span != spans_.end(), "no span begins there.");
  auto range = free_.find(begin);
  if (range == free_.end() || range->second != span->second) return false;
  erase_free(range);
  spans_.erase(span);
  return true;
}

BestFit::Address BestFit::allocate(size_t bytes) {
  bytes = round_up(bytes, kGranule);
  auto fit = by_size_.lower_bound({bytes, nullptr});
  if (fit == by_size_.end()) return nullptr;
  auto [whole, begin] = *fit;
  erase_free(free_.find(begin));
  if (whole > bytes) insert_free(begin + bytes, whole - bytes);
  used_.emplace(begin, bytes);
  used_bytes_ += bytes;
  return begin;
}

size_t BestFit::missing(size_t bytes, size_t least) const {
  size_t rest = round_up(bytes, kGranule);
  for (auto range = by_size_.rbegin(); range != by_size_.rend(); ++range) {
    if (range->first >= rest) return 0;
    if (range->first < least) break;
    rest -= range->first;
  }
  return rest;
}

size_t BestFit::release(Address begin) {
  auto used = used_.find(begin);
  STORM_INVARIANT(used != used_.end(), "a range was released that is not in use.");
  const size_t released = used->second;
  used_.erase(used);
  used_bytes_ -= released;

  size_t bytes = released;
  auto next = free_.find(begin + bytes);
  if (next != free_.end() &&
      spans_.count(next->first) == 0) {  // a span's first byte never joins leftwards
    bytes += next->second;
    erase_free(next);
  }
  auto after = free_.lower_bound(begin);
  if (after != free_.begin() && spans_.count(begin) == 0) {
    auto previous = std::prev(after);
    if (previous->first + previous->second == begin) {
      begin = previous->first;
      bytes += previous->second;
      erase_free(previous);
    }
  }
  insert_free(begin, bytes);
  return released;
}

void BestFit::check_invariants() const {
  size_t free_sum = 0, used_sum = 0, span_sum = 0;
  for (auto [begin, bytes] : free_) {
    free_sum += bytes;
    STORM_INVARIANT(by_size_.count({bytes, begin}) == 1,
                    "a free range is missing from the size order.");
  }
  for (auto [begin, bytes] : used_) used_sum += bytes;
  for (auto [begin, bytes] : spans_) {
    span_sum += bytes;
    auto at = begin;  // free and used ranges tile the span
    bool was_free = false;
    while (at < begin + bytes) {
      auto free = free_.find(at);
      auto used = used_.find(at);
      const bool is_free = free != free_.end();
      STORM_INVARIANT(is_free != (used != used_.end()), "ranges overlap or leave a gap.");
      STORM_INVARIANT(!(is_free && was_free), "two free neighbours were not joined.");
      at += is_free ? free->second : used->second;
      was_free = is_free;
    }
    STORM_INVARIANT(at == begin + bytes, "a range crosses the end of its span.");
  }
  STORM_INVARIANT(by_size_.size() == free_.size(), "size order and address order differ.");
  STORM_INVARIANT(
      free_sum == free_bytes_ && used_sum == used_bytes_ && span_sum == free_sum + used_sum,
      "byte counts do not add up.");
}

}  // namespace storm
