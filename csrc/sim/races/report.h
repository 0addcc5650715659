// Races as they are told: those alike are one, with a count.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "sim/races/access_map.h"
#include "sim/races/knowledge.h"

namespace storm::sim {

enum class RaceKind { read_after_write, write_after_read, write_after_write, reuse };

// One race as found, in numbers.
struct Finding {
  RaceKind kind;
  Access first;
  Access second;
  uint64_t known = 0;  // the last operation of the first's actor that the second knew to be over
  size_t bytes = 0;
  int64_t count = 1;
};

RaceKind kind_of(const Access& first, const Access& second);
const char* name_of(RaceKind kind);

// Not thread-safe.
class Report {
 public:
  explicit Report(const Labels& labels) : labels_(labels) {}
  void add(const Finding& finding);
  void clear();
  const std::vector<Finding>& findings() const noexcept { return findings_; }

 private:
  using Key = std::tuple<RaceKind, const char*, const char*, Actor, Actor, SiteId, SiteId>;

  const Labels& labels_;
  std::vector<Finding> findings_;  // in the order in which they were first found
  std::map<Key, size_t> places_;
};

// What was forgotten, in words; `first` and `second` are the names of the actors.
std::string missing_edge(const Finding& finding, const std::string& first,
                         const std::string& second);

}  // namespace storm::sim
