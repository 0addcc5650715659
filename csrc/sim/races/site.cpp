#include "sim/races/site.h"

#include <ATen/SequenceNumber.h>
#include <ATen/record_function.h>
#include <c10/util/Type.h>
#include <torch/csrc/autograd/function.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <tuple>
#include <typeinfo>
#include <unordered_map>
#include <vector>

namespace storm::sim {
namespace {

constexpr ModuleId kNoModule = 0;

// From this sequence number on, a thread's nodes belong to `module`.
struct Change {
  uint64_t sequence;
  ModuleId module;
};

// Changes of one thread, in the order of their numbers; old ones are given up.
class ForwardLog {
 public:
  void add(Change change) {
    if (!changes_.empty() && changes_.back().sequence == change.sequence) changes_.pop_back();
    changes_.push_back(change);
    if (changes_.size() > kMost) changes_.pop_front();
  }
  ModuleId module_of(uint64_t sequence) const {
    const auto after = std::upper_bound(
        changes_.begin(), changes_.end(), sequence,
        [](uint64_t number, const Change& change) { return number < change.sequence; });
    return after == changes_.begin() ? kNoModule : std::prev(after)->module;
  }

 private:
  static constexpr size_t kMost = 1 << 16;
  std::deque<Change> changes_;
};

struct Site {
  ModuleId module = kNoModule;
  const std::type_info* node = nullptr;  // set in backward
  auto operator<=>(const Site& other) const {
    return std::tie(module, node) <=> std::tie(other.module, other.node);
  }
};

struct Registry {
  std::mutex mutex;  // guards all that follows
  std::vector<std::string> modules{""};
  std::unordered_map<uint64_t, ForwardLog> logs;  // by thread
  std::map<Site, SiteId> numbers{{Site{}, 0}};
  std::vector<Site> sites{Site{}};

  SiteId number(const Site& site) {
    const auto [place, fresh] = numbers.try_emplace(site, static_cast<SiteId>(sites.size()));
    if (fresh) sites.push_back(site);
    return place->second;
  }
};

Registry& registry() {
  static auto* instance = new Registry;  // leaked: threads use it to the end
  return *instance;
}

// The modules whose forward the thread runs, the innermost last.
struct Running {
  uint64_t epoch = 0;
  std::vector<ModuleId> modules;
};
thread_local Running t_running;
std::atomic<uint64_t> g_epoch{1};

std::vector<ModuleId>& running_modules() {
  if (t_running.epoch != g_epoch) t_running = {g_epoch, {}};
  return t_running.modules;
}

ModuleId innermost() {
  const auto& modules = running_modules();
  return modules.empty() ? kNoModule : modules.back();
}

// What the thread found last: operations come in runs from one place.
struct Found {
  const void* node = nullptr;
  uint64_t sequence = 0;
  ModuleId module = kNoModule;
  SiteId site = 0;
};
thread_local Found t_found;

void log_change(ModuleId module) {
  const Change change{at::sequence_number::peek(), module};
  const uint64_t thread = at::RecordFunction::currentThreadId();
  std::lock_guard lock(registry().mutex);
  registry().logs[thread].add(change);
}

}  // namespace

ModuleId name_module(const std::string& name) {
  std::lock_guard lock(registry().mutex);
  registry().modules.push_back(name);
  return static_cast<ModuleId>(registry().modules.size() - 1);
}

void enter_module(ModuleId module) {
  running_modules().push_back(module);
  log_change(module);
}

void leave_module() {
  if (running_modules().empty()) return;  // it was entered before anybody looked
  running_modules().pop_back();
  log_change(innermost());
}

void forget_running_modules() {
  ++g_epoch;
}

// A module that runs inside of backward is one that is recomputed: it counts.
SiteId current_site() {
  const auto node = torch::autograd::get_current_node();
  const ModuleId running = innermost();
  if (!node && running == kNoModule) return 0;
  const uint64_t sequence = node ? node->sequence_nr() : 0;
  Found& found = t_found;
  if (found.node == node.get() && found.sequence == sequence && found.module == running) {
    return found.site;
  }
  found = {node.get(), sequence, running, 0};
  std::lock_guard lock(registry().mutex);
  Site site{running, nullptr};
  if (node) {
    site.node = &typeid(*node);
    if (running == kNoModule) {
      const auto log = registry().logs.find(node->thread_id());
      if (log != registry().logs.end()) site.module = log->second.module_of(sequence);
    }
  }
  return found.site = registry().number(site);
}

std::string describe(SiteId number) {
  Site site;
  std::string module;
  {
    std::lock_guard lock(registry().mutex);
    site = registry().sites[number];
    module = registry().modules[site.module];
  }
  if (site.node == nullptr) return module;
  std::string node = c10::demangle(site.node->name());
  node.erase(0, node.rfind(':') + 1);  // no match: npos + 1 is 0
  return module.empty() ? "backward (" + node + ")" : module + ", backward (" + node + ")";
}

}  // namespace storm::sim
