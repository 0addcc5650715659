#include "sim/timing/charges.h"

#include <ATen/record_function.h>

#include <memory>
#include <mutex>
#include <string_view>

#include "sim/timing/virtual_time.h"

namespace storm::sim {
namespace {

using Charges = std::unordered_map<std::string, double>;

struct Installed {
  std::mutex mutex;  // guards what follows
  std::shared_ptr<const Charges> charges;
  at::CallbackHandle handle = 0;
};

Installed& installed() {
  static auto* instance = new Installed;
  return *instance;
}

std::unique_ptr<at::ObserverContext> charge(const at::RecordFunction& range) {
  std::shared_ptr<const Charges> charges;
  {
    std::lock_guard lock(installed().mutex);
    charges = installed().charges;
  }
  if (!charges) return nullptr;
  const auto found = charges->find(range.name());
  if (found != charges->end()) virtual_time().host_works(found->second);
  return nullptr;
}

}  // namespace

void charge_ranges(Charges seconds) {
  auto& all = installed();
  at::CallbackHandle old = 0;
  {
    std::lock_guard lock(all.mutex);
    old = std::exchange(all.handle, 0);
    all.charges = seconds.empty() ? nullptr : std::make_shared<const Charges>(std::move(seconds));
  }
  if (old != 0) at::removeCallback(old);
  std::lock_guard lock(all.mutex);
  if (!all.charges) return;
  all.handle = at::addGlobalCallback(
      at::RecordFunctionCallback(&charge).scopes({at::RecordScope::FUNCTION}));
}

}  // namespace storm::sim
