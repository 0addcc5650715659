#include "engine/label.h"

#include <deque>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace storm {
namespace {

thread_local Label current = kNoLabel;

struct Names {
  std::mutex mutex;  // guards what follows
  std::unordered_map<std::string, Label> labels;
  std::deque<std::string> names;  // of label i + 1
};
Names& names() {
  static auto* all = new Names;
  return *all;
}

}  // namespace

Label label_of(const std::string& name) {
  if (name.empty()) return kNoLabel;
  auto& all = names();
  std::lock_guard lock(all.mutex);
  auto [found, is_new] = all.labels.emplace(name, static_cast<Label>(all.names.size() + 1));
  if (is_new) all.names.push_back(name);
  return found->second;
}

std::string name_of(Label label) {
  if (label == kNoLabel) return {};
  auto& all = names();
  std::lock_guard lock(all.mutex);
  return all.names.at(label - 1);
}

Label current_label() noexcept {
  return current;
}

Label exchange_label(Label label) noexcept {
  return std::exchange(current, label);
}

}  // namespace storm
