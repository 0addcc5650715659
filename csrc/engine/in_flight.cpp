#include "engine/in_flight.h"

#include "base/check.h"
#include "base/process.h"

namespace storm {

InFlight::~InFlight() {
  try {
    if (!process_exiting()) {
      let_go_all();
      return;
    }
  } catch (...) {  // a lost device
  }
  for (auto& item : items_)
    item.storage.unsafeReleaseStorageImpl();  // abandoned, see base/process.h
}

InFlight::Items InFlight::take_front(size_t limit) {
  std::lock_guard lock(mutex_);
  Items taken;
  while (!items_.empty() && bytes_ > limit) {
    bytes_ -= items_.front().bytes;
    taken.push_back(std::move(items_.front()));
    items_.pop_front();
  }
  return taken;
}

void InFlight::let_go(Items items, StallCause cause) {
  for (auto& item : items) {
    if (!item.copied->done()) stalls_.wait(item.home, item.copied, cause, item.label);
  }
}

void InFlight::add(c10::Storage storage, size_t bytes, const c10::Stream& home, EventRef copied,
                   Label label) {
  {
    std::lock_guard lock(mutex_);
    items_.push_back({std::move(storage), bytes, home, std::move(copied), label});
    bytes_ += bytes;
  }
  let_go_finished();
  let_go(take_front(window_bytes_), StallCause::window_full);
}

void InFlight::let_go_finished() {
  Items finished;
  std::lock_guard lock(
      mutex_);  // declared after `finished`: storages are freed when the lock is gone
  while (!items_.empty() && items_.front().copied->done()) {
    bytes_ -= items_.front().bytes;
    finished.push_back(std::move(items_.front()));
    items_.pop_front();
  }
}

bool InFlight::let_go_all() {
  auto items = take_front(0);
  const bool any = !items.empty();
  let_go(std::move(items), StallCause::needed);
  return any;
}

size_t InFlight::bytes() {
  std::lock_guard lock(mutex_);
  return bytes_;
}

void InFlight::check_invariants() {
  std::lock_guard lock(mutex_);
  size_t sum = 0;
  for (auto& item : items_) sum += item.bytes;
  STORM_INVARIANT(sum == bytes_, "the window counts ", bytes_, " bytes and holds ", sum, ".");
}

}  // namespace storm
