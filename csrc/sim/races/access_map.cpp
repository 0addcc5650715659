#include "sim/races/access_map.h"

#include <algorithm>
#include <iterator>

namespace storm::sim {
namespace {

// Counts an access once, in however many segments it is met.
void note(const Access& first, size_t bytes, std::vector<Conflict>& conflicts) {
  for (auto& conflict : conflicts) {
    const Access& known = conflict.first;
    if (known.actor != first.actor || known.tick != first.tick || known.label != first.label) {
      continue;
    }
    conflict.bytes += bytes;
    return;
  }
  conflicts.push_back({first, bytes});
}

template <class Accesses>
void remove_known(Accesses& accesses, const VectorClock& known) {
  accesses.erase(std::remove_if(accesses.begin(), accesses.end(),
                                [&](const Access& a) { return a.tick <= known.of(a.actor); }),
                 accesses.end());
}

}  // namespace

void AccessMap::touch(Range range, const Access& access, const VectorClock& knows,
                      const VectorClock& settled, std::vector<Conflict>& conflicts) {
  cut(range.end);
  Place place = cut(range.begin);
  const bool covers = access.writes && access.dense;
  for (uintptr_t at = range.begin; at < range.end;) {
    if (place == segments_.end() || place->first > at) {
      if (covers && at > range.begin) {  // the one before grows over the gap
        const auto before = std::prev(place);
        at = place == segments_.end() ? range.end : std::min(range.end, place->first);
        before->second.end = at;
        continue;
      }
      const uintptr_t end = place == segments_.end() ? range.end : place->first;
      place = insert(place, {at, std::min(range.end, end)});
    }
    auto& [end, accesses] = place->second;
    at = end;
    remove_known(accesses, settled);
    compare({place->first, end}, accesses, access, knows, conflicts);
    if (!covers) {
      add(accesses, access);
      ++place;
    } else if (place->first == range.begin) {
      accesses.clear();
      accesses.push_back(access);
      ++place;
    } else {
      std::prev(place)->second.end = end;
      place = erase(place);
    }
  }
}

void AccessMap::look(Range range, const Access& access, const VectorClock& knows,
                     std::vector<Conflict>& conflicts) const {
  auto place = segments_.upper_bound(range.begin);
  if (place != segments_.begin()) --place;
  for (; place != segments_.end() && place->first < range.end; ++place) {
    const Range shared{std::max(range.begin, place->first), std::min(range.end, place->second.end)};
    if (shared.begin < shared.end) {
      compare(shared, place->second.accesses, access, knows, conflicts);
    }
  }
}

void AccessMap::hand_out(Range range, Actor owner, const VectorClock& knows,
                         const VectorClock& settled, std::vector<Conflict>& conflicts) {
  cut(range.end);
  Place place = cut(range.begin);
  while (place != segments_.end() && place->first < range.end) {
    auto& [end, accesses] = place->second;
    for (Access& access : accesses) {
      if (access.actor != owner && access.tick > knows.of(access.actor)) {
        note(access, end - place->first, conflicts);
        access.tick = 0;  // told: known to everybody from now on
      }
      access.earlier = true;
    }
    remove_known(accesses, settled);
    place = accesses.empty() ? erase(place) : std::next(place);
  }
}

void AccessMap::settle(Range range, const VectorClock& known) {
  cut(range.end);
  Place place = cut(range.begin);
  while (place != segments_.end() && place->first < range.end) {
    remove_known(place->second.accesses, known);
    place = place->second.accesses.empty() ? erase(place) : std::next(place);
  }
}

void AccessMap::forget(Range range) {
  cut(range.end);
  Place place = cut(range.begin);
  while (place != segments_.end() && place->first < range.end) place = erase(place);
}

void AccessMap::clear() {
  segments_.clear();
}

// Makes `address` a border; returns the first segment at or behind it.
AccessMap::Place AccessMap::cut(uintptr_t address) {
  const Place behind = segments_.lower_bound(address);
  if (behind == segments_.begin()) return behind;
  const Place before = std::prev(behind);
  const uintptr_t end = before->second.end;
  if (end <= address) return behind;
  const Place upper = insert(behind, {address, end});
  upper->second.accesses = before->second.accesses;
  before->second.end = address;
  return upper;
}

AccessMap::Place AccessMap::insert(Place before, Range range) {
  if (spare_.empty()) {
    return segments_.emplace_hint(before, range.begin, Segment{range.end, {}});
  }
  auto node = std::move(spare_.back());
  spare_.pop_back();
  node.key() = range.begin;
  node.mapped().end = range.end;
  node.mapped().accesses.clear();
  return segments_.insert(before, std::move(node));
}

AccessMap::Place AccessMap::erase(Place place) {
  const Place next = std::next(place);
  spare_.push_back(segments_.extract(place));
  return next;
}

bool AccessMap::collide(Range shared, const Access& first, const Access& second) const {
  if (first.dense && second.dense) return true;
  // Of a dense one only this part is its own still.
  const auto part = Pattern::dense(shared.end - shared.begin);
  const auto& a = first.dense ? part : labels_[first.label].pattern;
  const auto& b = second.dense ? part : labels_[second.label].pattern;
  return meet(first.dense ? shared.begin : first.begin, a,
              second.dense ? shared.begin : second.begin, b);
}

void AccessMap::compare(Range shared, const Accesses& earlier, const Access& access,
                        const VectorClock& knows, std::vector<Conflict>& conflicts) const {
  for (const Access& first : earlier) {
    if (first.actor == access.actor || !(first.writes || access.writes)) continue;
    if (first.tick <= knows.of(first.actor)) continue;
    if (collide(shared, first, access)) note(first, shared.end - shared.begin, conflicts);
  }
}

// An earlier access of the same actor is superseded if this one reaches all that it reached.
void AccessMap::add(Accesses& accesses, const Access& access) const {
  const auto superseded = [&](const Access& a) {
    if (a.actor != access.actor || (a.writes && !access.writes)) return false;
    if (access.dense) return true;
    if (a.dense || a.begin != access.begin) return false;
    return a.label == access.label || labels_[a.label].pattern == labels_[access.label].pattern;
  };
  accesses.erase(std::remove_if(accesses.begin(), accesses.end(), superseded), accesses.end());
  if (accesses.size() >= kMostAccesses) accesses.erase(accesses.begin());
  accesses.push_back(access);
}

}  // namespace storm::sim
