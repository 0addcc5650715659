#include "sim/races/detector.h"

#include <mutex>

#include "sim/races/access_map.h"
#include "sim/races/labels.h"
#include "sim/races/report.h"
#include "sim/races/site.h"

namespace storm::sim {

struct Detector::State {
  Access access_of(Actor actor, uint64_t tick, SiteId site, const char* operation,
                   const Touch& touch);
  void report_as(const Access& second, const VectorClock& knows);
  void change_hands(StreamName owner, SiteId site, const char* how, Range block);
  void report_reuse(const Access& second, const VectorClock& knows);
  Race tell(const Finding& finding) const;

  mutable std::mutex mutex;  // guards all that follows
  Knowledge knowledge;
  Labels labels;
  AccessMap accesses{labels};
  Report report{labels};
  std::vector<Conflict> conflicts;  // of the call in progress; kept for its memory
};

Access Detector::State::access_of(Actor actor, uint64_t tick, SiteId site, const char* operation,
                                  const Touch& touch) {
  Access access;
  access.tick = tick;
  access.begin = reinterpret_cast<uintptr_t>(touch.begin);
  access.actor = actor;
  access.label = labels.of(operation, touch);
  access.site = site;
  access.writes = touch.writes;
  access.dense = labels[access.label].dense();
  return access;
}

void Detector::State::report_as(const Access& second, const VectorClock& knows) {
  for (const auto& [first, bytes] : conflicts) {
    report.add({kind_of(first, second), first, second, knows.of(first.actor), bytes, 1});
  }
  conflicts.clear();
}

// Of device memory.
void Detector::State::change_hands(StreamName owner, SiteId site, const char* how, Range block) {
  const Actor actor = knowledge.actor_of(owner);
  const VectorClock& knows = knowledge.of_stream(actor);
  accesses.hand_out(block, actor, knows, knowledge.of_host(), conflicts);
  if (conflicts.empty()) return;
  report_reuse(access_of(actor, knows.of(actor), site, how, Touch{}), knows);
}

void Detector::State::report_reuse(const Access& second, const VectorClock& knows) {
  for (const auto& [first, bytes] : conflicts) {
    report.add({RaceKind::reuse, first, second, knows.of(first.actor), bytes, 1});
  }
  conflicts.clear();
}

Race Detector::State::tell(const Finding& finding) const {
  const auto side = [&](const Access& access) {
    const Label& label = labels[access.label];
    RaceSide out{label.operation, knowledge.name_of(access.actor), "", label.tensor()};
    if (access.earlier) out.tensor += " (an earlier tensor in this memory)";
    return out;
  };
  Race race{name_of(finding.kind),
            side(finding.first),
            side(finding.second),
            "",
            static_cast<int64_t>(finding.bytes),
            finding.count};
  race.missing = missing_edge(finding, race.first.actor, race.second.actor);
  return race;
}

Detector& Detector::instance() {
  static auto* instance = new Detector;
  return *instance;
}

Detector::Detector() : state_(std::make_unique<State>()) {}

void Detector::turn(bool on) {
  forget_running_modules();
  std::lock_guard lock(state_->mutex);
  state_->accesses.clear();
  on_ = on;
}

void Detector::issued(StreamName stream, const char* operation, const Effects& effects) {
  if (!on()) return;
  const SiteId site = current_site();
  auto& [mutex, knowledge, labels, accesses, report, conflicts] = *state_;
  std::lock_guard lock(mutex);
  const Actor actor = knowledge.actor_of(stream);
  const uint64_t tick = knowledge.tick(actor);
  const VectorClock& knows = knowledge.of_stream(actor);
  for (const Touch& touch : effects.touches()) {
    const Access access = state_->access_of(actor, tick, site, operation, touch);
    accesses.touch(range_of(touch.begin, touch.bytes), access, knows, knowledge.of_host(),
                   conflicts);
    if (!conflicts.empty()) state_->report_as(access, knows);
  }
}

Moment Detector::moment_of(StreamName stream) {
  if (!on()) return nullptr;
  std::lock_guard lock(state_->mutex);
  auto& knowledge = state_->knowledge;
  return knowledge.moment_of(knowledge.actor_of(stream));
}

void Detector::stream_waits(StreamName stream, const Moment& moment) {
  if (!on() || !moment) return;
  std::lock_guard lock(state_->mutex);
  auto& knowledge = state_->knowledge;
  knowledge.stream_learns(knowledge.actor_of(stream), *moment);
}

void Detector::host_learns(const Moment& moment) {
  if (!on() || !moment) return;
  std::lock_guard lock(state_->mutex);
  state_->knowledge.host_learns(*moment);
}

// Leaves no trace: whatever is issued later comes after what the host has done.
void Detector::host_touches(const char* operation, const Effects& effects) {
  if (!on()) return;
  const SiteId site = current_site();
  std::lock_guard lock(state_->mutex);
  const VectorClock& knows = state_->knowledge.of_host();
  for (const Touch& touch : effects.touches()) {
    const Access access = state_->access_of(kHost, 0, site, operation, touch);
    state_->accesses.look(range_of(touch.begin, touch.bytes), access, knows, state_->conflicts);
    if (!state_->conflicts.empty()) state_->report_as(access, knows);
  }
}

void Detector::device_block_taken(StreamName owner, const void* begin, size_t bytes) {
  if (!on()) return;
  const SiteId site = current_site();
  std::lock_guard lock(state_->mutex);
  state_->change_hands(owner, site, "allocation", range_of(begin, bytes));
}

void Detector::device_block_freed(StreamName owner, const void* begin, size_t bytes) {
  if (!on()) return;
  const SiteId site = current_site();
  std::lock_guard lock(state_->mutex);
  state_->change_hands(owner, site, "free", range_of(begin, bytes));
}

void Detector::block_over(const void* begin, size_t bytes, const std::vector<Moment>& moments) {
  if (!on()) return;
  std::lock_guard lock(state_->mutex);
  for (const Moment& moment : moments) {
    if (moment) state_->accesses.settle(range_of(begin, bytes), *moment);
  }
}

void Detector::allocator_learns(const Moment& moment) {
  if (!on() || !moment) return;
  std::lock_guard lock(state_->mutex);
  state_->knowledge.allocator_learns(*moment);
}

void Detector::pinned_block_taken(const void* begin, size_t bytes) {
  if (!on()) return;
  const SiteId site = current_site();
  std::lock_guard lock(state_->mutex);
  const VectorClock& knows = state_->knowledge.of_pinned_allocator();
  state_->accesses.hand_out(range_of(begin, bytes), kPinnedAllocator, knows, knows,
                            state_->conflicts);
  if (state_->conflicts.empty()) return;
  state_->report_reuse(state_->access_of(kPinnedAllocator, 0, site, "allocation", Touch{}), knows);
}

void Detector::forget(const void* begin, size_t bytes) {
  if (!on()) return;
  std::lock_guard lock(state_->mutex);
  state_->accesses.forget(range_of(begin, bytes));
}

std::vector<Race> Detector::races() const {
  std::vector<Race> races;
  std::vector<std::pair<SiteId, SiteId>> sites;
  {
    std::lock_guard lock(state_->mutex);
    for (const Finding& finding : state_->report.findings()) {
      races.push_back(state_->tell(finding));
      sites.emplace_back(finding.first.site, finding.second.site);
    }
  }
  for (size_t i = 0; i < races.size(); ++i) {
    races[i].first.module = describe(sites[i].first);
    races[i].second.module = describe(sites[i].second);
  }
  return races;
}

void Detector::clear_races() {
  std::lock_guard lock(state_->mutex);
  state_->report.clear();
}

}  // namespace storm::sim
