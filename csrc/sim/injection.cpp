#include "sim/injection.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "sim/device.h"

namespace storm::sim {

namespace {

constexpr int64_t Faults::* kKinds[] = {&Faults::allocation, &Faults::pinned, &Faults::copy,
                                        &Faults::task, &Faults::lose_device};

struct Counts {
  Faults left;  // calls until the one that fails
  Faults fired;
};

struct Registry {
  std::mutex mutex;  // guards `all` and the counts in it
  std::vector<std::shared_ptr<Counts>> all;
  std::atomic<bool> any{false};  // spares everybody else the lock
};

Registry& registry() {
  static auto* instance = new Registry;
  return *instance;
}

}  // namespace

struct Injection::State : Counts {};

bool injected(int64_t Faults::* kind) noexcept {
  auto& r = registry();
  if (!r.any.load(std::memory_order_relaxed)) return false;
  bool fails = false;
  std::lock_guard lock(r.mutex);
  for (const auto& counts : r.all) {
    if (counts->left.*kind == 0 || --(counts->left.*kind) > 0) continue;
    ++(counts->fired.*kind);
    fails = true;
  }
  return fails;
}

Injection::Injection(const Faults& which) : state_(std::make_shared<State>()) {
  for (const auto kind : kKinds) {
    TORCH_CHECK_VALUE(which.*kind >= 0, "sim: a fault names the n-th call from now, n >= 1; got ",
                      which.*kind);
  }
  state_->left = which;
  auto& r = registry();
  std::lock_guard lock(r.mutex);
  r.all.push_back(state_);
  r.any = true;
}

Injection::~Injection() {
  end();
}

void Injection::end() noexcept {
  bool lost = false;
  {
    auto& r = registry();
    std::lock_guard lock(r.mutex);
    if (std::erase(r.all, state_) == 0) return;
    r.any = !r.all.empty();
    lost = state_->fired.lose_device > 0;
  }
  if (!lost) return;
  for (DeviceIndex i = 0; i < device_count(); ++i) device(i).revive();
}

Faults Injection::fired() const {
  std::lock_guard lock(registry().mutex);
  return state_->fired;
}

}  // namespace storm::sim
