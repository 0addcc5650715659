#include "publish/publisher.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <unordered_set>

#include "base/check.h"
#include "publish/filling.h"
#include "publish/storage_memory.h"

namespace storm {
namespace {

const c10::Storage& live_storage(const ModelLayout& layout, size_t group) {
  return layout.live()[layout.groups()[group].first].storage();
}

c10::StorageImpl& live_impl(const ModelLayout& layout, size_t group) {
  return *live_storage(layout, group).unsafeGetStorageImpl();
}

Publisher::Split split(const ModelLayout& layout) {
  Publisher::Split split;
  const auto& accelerator = layout.accelerator();
  split.all_moved_on_device = !accelerator || layout.opaque().empty();
  for (size_t g = 0; g < layout.groups().size(); ++g) {
    const auto& group = layout.groups()[g];
    const bool moves = can_move(live_storage(layout, g), group.members);
    (moves ? split.moved : split.copied).push_back(g);
    if (!moves && !group.device.is_cpu()) split.all_moved_on_device = false;
  }
  return split;
}

// Whether two groups that had a storage each now share one.
bool newly_tied(const ModelLayout& layout, const std::vector<size_t>& copied) {
  std::unordered_set<const c10::StorageImpl*> seen;
  return !std::all_of(copied.begin(), copied.end(),
                      [&](size_t g) { return seen.insert(&live_impl(layout, g)).second; });
}

// Memory lent for as long as it takes; on failure the lender has it back.
class Loan {
 public:
  Loan(const ModelLayout& layout, Snapshot& next, const std::vector<size_t>& groups)
      : layout_(layout), next_(next), groups_(groups) {
    for (size_t g : groups_) lend(live_impl(layout_, g), next_.storage(g));
  }
  ~Loan() {
    if (kept_) return;
    for (size_t g : groups_) give(live_impl(layout_, g), take(next_.storage(g)));
  }
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;
  void keep() noexcept { kept_ = true; }

 private:
  const ModelLayout& layout_;
  Snapshot& next_;
  const std::vector<size_t>& groups_;
  bool kept_ = false;
};

}  // namespace

void Publisher::start(const std::shared_ptr<Snapshot>& first) {
  STORM_INVARIANT(first->fits(), "The first snapshot is not its layout's.");
  serve(first, fill(*first), /*at_once=*/true);
}

bool Publisher::publish(const std::shared_ptr<Snapshot>& next, const std::optional<Free>& free) {
  if (!next->fits()) return false;
  const Split how = split(*next->layout());
  if (newly_tied(*next->layout(), how.copied)) return false;
  next->follow_requires_grad();
  promote();
  if (mode_ == Mode::copy)
    serve(next, fill(*next), /*at_once=*/false);
  else
    swap(next, how, free);
  return true;
}

// Copies everything into the snapshot's own memory.
EventRef Publisher::fill(Snapshot& next) {
  const ModelLayout& layout = *next.layout();
  try {
    next.allocate();
    Filling filling(layout);
    filling.begin();
    for (size_t g = 0; g < layout.groups().size(); ++g) {
      const auto& group = layout.groups()[g];
      filling.add(next.storage(g).data_ptr().get(), live_impl(layout, g).data(), group.bytes,
                  group.device);
    }
    filling.run(&next);
    filling.end();
    if (filling.copied()) next.note_use(*filling.stream(), filling.copied());
    std::lock_guard lock(mutex_);
    copied_bytes_ += filling.copied_bytes();
    return filling.copied();
  } catch (...) {
    next.release();
    throw;
  }
}

void Publisher::swap(const Ref& next, const Split& how, const std::optional<Free>& free) {
  const ModelLayout& layout = *next->layout();
  try {
    for (size_t g : how.copied) {
      const auto& group = layout.groups()[g];
      if (group.bytes > 0) give(next->storage(g), allocate(group.bytes, group.device));
    }
    if (!free || !how.all_moved_on_device || !swap_in_place(next, how, *free)) swap_over(next, how);
  } catch (...) {
    if (next->state_ == Snapshot::State::idle) next->release();
    throw;
  }
}

// The trained memory is served, and that of the snapshot served so far, which nobody holds, trains
// on: no third copy. False if a reader came in between.
bool Publisher::swap_in_place(const Ref& next, const Split& how, const Free& free) {
  const ModelLayout& layout = *next->layout();
  Filling filling(layout);
  filling.begin();
  if (filling.written() && !filling.written()->done()) return false;
  for (size_t g : how.copied) {
    const auto& group = layout.groups()[g];
    filling.add(next->storage(g).data_ptr().get(), live_impl(layout, g).data(), group.bytes,
                group.device);
  }
  filling.run(next.get());
  Loan loan(layout, *next, how.moved);
  next->bytes_ = layout.bytes();
  const Ref old = replace_if_free(next, free);
  if (!old) {
    next->bytes_ = 0;
    return false;
  }
  loan.keep();
  for (size_t g : how.moved) {
    auto& live = live_impl(layout, g);
    give(live, take(old->storage(g)));
    const auto& group = layout.groups()[g];
    filling.add(live.data_ptr().get(), next->storage(g).data(), group.bytes, group.device);
  }
  old->release();
  filling.run(nullptr);
  filling.end();
  std::lock_guard lock(mutex_);
  if (filling.copied()) next->note_use(*filling.stream(), filling.copied());
  copied_bytes_ += filling.copied_bytes();
  retire(old);
  return true;
}

// The trained memory is served as soon as the device has written it, and training goes on with
// memory that was never served or is new.
void Publisher::swap_over(const Ref& next, const Split& how) {
  const ModelLayout& layout = *next->layout();
  Ref unserved;
  {
    std::lock_guard lock(mutex_);
    unserved = std::move(waiting_);
  }
  std::vector<c10::DataPtr> fresh;
  fresh.reserve(how.moved.size());
  const bool reuse = unserved && unserved->layout() == next->layout();
  const auto give_back = [&]() noexcept {
    for (size_t i = 0; reuse && i < fresh.size(); ++i)
      give(unserved->storage(how.moved[i]), std::move(fresh[i]));
    std::lock_guard lock(mutex_);
    waiting_ = unserved;
  };
  Filling filling(layout);
  try {
    for (size_t g : how.moved) {
      const auto& group = layout.groups()[g];
      fresh.push_back(reuse ? take(unserved->storage(g)) : allocate(group.bytes, group.device));
    }
    filling.begin();
    for (size_t i = 0; i < how.moved.size(); ++i) {
      const auto& group = layout.groups()[how.moved[i]];
      filling.add(fresh[i].get(), live_impl(layout, how.moved[i]).data(), group.bytes,
                  group.device);
    }
    for (size_t g : how.copied) {
      const auto& group = layout.groups()[g];
      filling.add(next->storage(g).data_ptr().get(), live_impl(layout, g).data(), group.bytes,
                  group.device);
    }
    filling.run(next.get());
    filling.end();
  } catch (...) {
    give_back();
    throw;
  }
  for (size_t i = 0; i < how.moved.size(); ++i) {
    auto& live = live_impl(layout, how.moved[i]);
    give(next->storage(how.moved[i]), take(live));
    give(live, std::move(fresh[i]));
  }
  next->bytes_ = layout.bytes();
  if (filling.copied()) next->note_use(*filling.stream(), filling.copied());
  {
    std::lock_guard lock(mutex_);
    copied_bytes_ += filling.copied_bytes();
    if (unserved) {
      for (size_t g : how.moved) unserved->bytes_ -= reuse ? layout.groups()[g].bytes : 0;
      retire(std::move(unserved));
    }
  }
  serve(next, how.all_moved_on_device ? filling.written() : filling.copied(), /*at_once=*/false);
}

Publisher::Ref Publisher::replace_if_free(const Ref& next, const Free& free) {
  std::lock_guard lock(mutex_);
  if (current_ != free.first || waiting_ || current_->readers_ > 0 ||
      current_->all_readers_ != free.second || current_->layout() != next->layout()) {
    return nullptr;
  }
  Ref old = std::move(current_);
  old->state_ = Snapshot::State::idle;
  next->version_ = ++version_;
  next->filled_ = nullptr;
  make_current(next);
  return old;
}

void Publisher::serve(const Ref& next, EventRef filled, bool at_once) {
  if (filled && filled->done()) filled = nullptr;
  std::lock_guard lock(mutex_);
  next->version_ = current_ || version_ > 0 ? ++version_ : version_;
  if (waiting_) retire(std::move(waiting_));
  next->filled_ = filled;
  if (filled && !at_once) {
    next->state_ = Snapshot::State::waiting;
    waiting_ = next;
  } else {
    if (current_) retire(std::move(current_));
    make_current(next);
  }
  peak_bytes_ = std::max(peak_bytes_, held());
}

void Publisher::make_current(Ref next) {
  next->state_ = Snapshot::State::current;
  current_ = std::move(next);
}

void Publisher::retire(Ref snapshot) {
  snapshot->state_ = Snapshot::State::retired;
  retired_.push_back(std::move(snapshot));
}

void Publisher::promote() {
  Ref ready;
  EventRef filled;
  {
    std::lock_guard lock(mutex_);
    ready = waiting_;
    if (ready) filled = ready->filled_;
  }
  if (!ready || !filled->done()) return;
  std::lock_guard lock(mutex_);
  if (waiting_ != ready) return;
  waiting_ = nullptr;
  ready->filled_ = nullptr;
  retire(std::move(current_));
  make_current(std::move(ready));
}

std::shared_ptr<Snapshot> Publisher::pin() {
  promote();
  Ref pinned;
  EventRef filled;
  {
    std::lock_guard lock(mutex_);
    STORM_INVARIANT(current_, "A reader came before the first version.");
    pinned = current_;
    ++pinned->readers_;
    ++pinned->all_readers_;
    filled = pinned->filled_;
  }
  if (filled && !filled->done()) {
    const auto device = *pinned->layout()->accelerator();
    filled->block(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
  }
  return pinned;
}

bool Publisher::unpin(const std::shared_ptr<Snapshot>& snapshot) {
  std::optional<c10::Stream> stream;
  EventRef done;
  if (const auto& device = snapshot->layout()->accelerator()) {
    stream = c10::impl::VirtualGuardImpl(device->type()).getStream(*device);
    try {
      done = std::make_shared<const Event>(Event::record(*stream));
    } catch (...) {  // the device is lost; the reader is gone all the same
      std::lock_guard lock(mutex_);
      --snapshot->readers_;
      throw;
    }
  }
  std::lock_guard lock(mutex_);
  STORM_INVARIANT(snapshot->readers_ > 0, "A snapshot was given back twice.");
  if (done) snapshot->note_use(*stream, std::move(done));
  --snapshot->readers_;
  return std::any_of(retired_.begin(), retired_.end(),
                     [](const Ref& retired) { return retired->readers_ == 0; });
}

std::vector<std::shared_ptr<Snapshot>> Publisher::collect() {
  promote();
  std::vector<Ref> collected;
  std::lock_guard lock(mutex_);
  std::erase_if(retired_, [&](const Ref& snapshot) {
    if (snapshot->readers_ > 0) return false;
    snapshot->state_ = Snapshot::State::idle;
    collected.push_back(snapshot);
    return true;
  });
  return collected;
}

std::optional<Publisher::Free> Publisher::if_free() {
  promote();
  std::vector<Snapshot::Use> uses;
  Free free;
  {
    std::lock_guard lock(mutex_);
    if (!current_ || current_->readers_ > 0) return std::nullopt;
    uses = current_->uses_;
    free = {current_, current_->all_readers_};
  }
  for (const auto& use : uses) {
    if (!use.event->done()) return std::nullopt;
  }
  return free;
}

void Publisher::abandon(const std::shared_ptr<Snapshot>& snapshot) {
  auto storages = snapshot->kept();
  std::lock_guard lock(mutex_);
  std::erase_if(kept_, [](const Kept& kept) { return kept.storage.expired(); });
  for (size_t g = 0; g < storages.size(); ++g) {
    const size_t bytes =
        has_memory(snapshot->storage(g)) ? snapshot->layout()->groups()[g].bytes : 0;
    if (bytes > 0) kept_.push_back({std::move(storages[g]), bytes});
  }
}

uint64_t Publisher::version() {
  promote();
  std::lock_guard lock(mutex_);
  return current_ ? current_->version_ : 0;
}

size_t Publisher::held() const {
  size_t held = (current_ ? current_->bytes_ : 0) + (waiting_ ? waiting_->bytes_ : 0);
  for (const auto& snapshot : retired_) held += snapshot->bytes_;
  for (const auto& kept : kept_) held += kept.storage.expired() ? 0 : kept.bytes;
  return held;
}

void Publisher::check_invariants() const {
  std::lock_guard lock(mutex_);
  const auto check = [&](const Ref& snapshot, Snapshot::State state) {
    STORM_INVARIANT(snapshot->state_ == state, "A snapshot's state is not that of its place.");
    STORM_INVARIANT(snapshot->version_ <= version_, "A version from the future.");
    for (size_t g = 0; snapshot->bytes_ > 0 && g < snapshot->layout()->groups().size(); ++g) {
      STORM_INVARIANT(
          snapshot->layout()->groups()[g].bytes == 0 || has_memory(snapshot->storage(g)),
          "A snapshot in use has no memory.");
    }
  };
  if (current_) check(current_, Snapshot::State::current);
  if (waiting_) check(waiting_, Snapshot::State::waiting);
  for (const auto& snapshot : retired_) {
    check(snapshot, Snapshot::State::retired);
    STORM_INVARIANT(snapshot->version_ < version_, "A retired version is the newest.");
  }
}

}  // namespace storm
