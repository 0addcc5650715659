#include "sim/races/report.h"

#include <algorithm>

namespace storm::sim {

RaceKind kind_of(const Access& first, const Access& second) {
  if (!first.writes) return RaceKind::write_after_read;
  return second.writes ? RaceKind::write_after_write : RaceKind::read_after_write;
}

const char* name_of(RaceKind kind) {
  switch (kind) {
    case RaceKind::read_after_write:
      return "read after write";
    case RaceKind::write_after_read:
      return "write after read";
    case RaceKind::write_after_write:
      return "write after write";
    case RaceKind::reuse:
      return "reuse";
  }
  return "";
}

void Report::add(const Finding& finding) {
  const auto& [kind, first, second, known, bytes, count] = finding;
  const Key key{kind,
                labels_[first.label].operation,
                labels_[second.label].operation,
                first.actor,
                second.actor,
                first.site,
                second.site};
  const auto [place, fresh] = places_.try_emplace(key, findings_.size());
  if (fresh) {
    findings_.push_back(finding);
    return;
  }
  Finding& seen = findings_[place->second];
  seen.count += count;
  seen.bytes = std::max(seen.bytes, bytes);
}

void Report::clear() {
  findings_.clear();
  places_.clear();
}

std::string missing_edge(const Finding& finding, const std::string& first,
                         const std::string& second) {
  if (finding.second.actor == kPinnedAllocator) {
    return "the host must know the copy on " + first +
           " to be over when the pinned block is freed, or the block needs record_stream";
  }
  std::string early;  // it did wait, but for something earlier
  if (finding.known > 0) {
    early = " (it knows " + first + " up to operation " + std::to_string(finding.known) +
            ", this was " + std::to_string(finding.first.tick) + ")";
  }
  if (finding.kind == RaceKind::reuse) {
    return second + " must wait for " + first + " before the block is freed, or its tensor needs " +
           "record_stream for " + first + early;
  }
  if (finding.second.actor == kHost) {
    return "the host must synchronise with " + first + " or see an event on it reached" + early;
  }
  return second + " must wait for an event recorded on " + first + " after that operation" + early;
}

}  // namespace storm::sim
