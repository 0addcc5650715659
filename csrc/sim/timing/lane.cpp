#include "sim/timing/lane.h"

#include <algorithm>
#include <iterator>

namespace storm::sim {

int64_t Lane::find(int64_t ready, int64_t length) const {
  int64_t begin = ready;
  auto next = busy_.upper_bound(begin);
  if (next != busy_.begin()) begin = std::max(begin, std::prev(next)->second);
  for (; next != busy_.end() && next->first < begin + length; ++next) {
    begin = std::max(begin, next->second);
  }
  return begin;
}

void Lane::occupy(int64_t begin, int64_t length) {
  if (length <= 0) return;
  auto place = busy_.emplace(begin, begin + length).first;
  if (place != busy_.begin()) {
    const auto before = std::prev(place);
    if (before->second == begin) {
      before->second = place->second;
      busy_.erase(place);
      place = before;
    }
  }
  const auto after = std::next(place);
  if (after != busy_.end() && after->first == place->second) {
    place->second = after->second;
    busy_.erase(after);
  }
}

int64_t Lane::busy_within(int64_t begin, int64_t end) const {
  int64_t sum = 0;
  auto it = busy_.upper_bound(begin);
  if (it != busy_.begin()) --it;
  for (; it != busy_.end() && it->first < end; ++it) {
    sum += std::max<int64_t>(0, std::min(end, it->second) - std::max(begin, it->first));
  }
  return sum;
}

void Lane::forget_before(int64_t now) {
  while (!busy_.empty() && busy_.begin()->second <= now) busy_.erase(busy_.begin());
}

}  // namespace storm::sim
