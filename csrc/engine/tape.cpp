#include "engine/tape.h"

#include "base/process.h"
#include "transfer/range.h"

namespace storm {

Place& Place::operator=(Place&& other) noexcept {
  std::swap(tape_, other.tape_);
  std::swap(position_, other.position_);
  return *this;
}

Place::~Place() {
  if (tape_ && !process_exiting()) tape_->leave(position_);
}

OffloadedStorage::Loan Place::take(OffloadedStorage& bytes) const {
  return tape_->take(position_, bytes);
}

void Place::reached() const {
  tape_->reached(position_);
}

std::shared_ptr<Tape> Tape::open(std::shared_ptr<Transfers> transfers, size_t prefetch_bytes) {
  std::shared_ptr<Tape> tape(new Tape(std::move(transfers), prefetch_bytes));
  tape->transfers_->holders.add(tape);
  return tape;
}

Place Tape::append(const std::shared_ptr<Tape>& tape,
                   const std::shared_ptr<OffloadedStorage>& bytes, bool first) {
  std::lock_guard lock(tape->mutex_);
  tape->slots_.emplace_back().bytes = bytes;
  ++tape->live_;
  if (first && bytes)
    tape->by_storage_.emplace(bytes->identity().storage._unsafe_get_target(), bytes);
  return Place(tape, tape->slots_.size() - 1);
}

// Claims are taken out under the lock and end without it: their end may free device memory.
Claim Tape::unclaim_locked(Slot& slot) {
  ahead_bytes_ -= slot.claim.added_bytes();
  return std::move(slot.claim);
}

void Tape::leave(size_t position) noexcept {
  Claim untaken;
  std::lock_guard lock(mutex_);
  untaken = unclaim_locked(slots_[position]);
  slots_[position].left = true;
  --live_;
}

Tape::Known Tape::find(const at::Tensor& tensor, ByteRange range) {
  std::lock_guard lock(mutex_);
  auto* storage = tensor.storage().unsafeGetStorageImpl();
  auto [begin, end] = by_storage_.equal_range(storage);
  for (auto it = begin; it != end; ++it) {
    auto bytes = it->second.lock();
    // Who sees the bytes as numbers may see more than 0 and 1.
    if (bytes && bytes->wire() == Wire::bits && tensor.scalar_type() != at::kBool) continue;
    if (bytes && bytes->identity().is_of(tensor) && bytes->range().contains(range))
      return {std::move(bytes), false};
  }
  auto kept = kept_.find(storage);
  return {nullptr, kept != kept_.end() && kept->second.is_of(tensor)};
}

void Tape::keep(const at::Tensor& tensor) {
  std::lock_guard lock(mutex_);
  kept_.emplace(tensor.storage().unsafeGetStorageImpl(), Identity(tensor));
}

bool Tape::finished() {
  std::lock_guard lock(mutex_);
  return turned_ || (live_ == 0 && !slots_.empty());
}

OffloadedStorage::Loan Tape::take(size_t position, OffloadedStorage& bytes) {
  const auto stream = transfers_->compute_stream();
  transfers_->in_flight.let_go_finished();
  auto loan = bytes.take_if_here(stream);
  settle(position, loan.has_value()).spend();
  if (!loan) {
    try {
      loan = bytes.fetch(stream);
    } catch (const c10::OutOfMemoryError&) {  // what we hold for later goes first
      if (!transfers_->release_held()) throw;
      loan = bytes.fetch(stream);
    }
  }
  fetch_ahead();
  return *loan;
}

void Tape::reached(size_t position) {
  transfers_->in_flight.let_go_finished();
  settle(position, /*was_here=*/true);
  fetch_ahead();
}

// Backward is at `position`: what is fetched ahead from now on lies before it.
Claim Tape::settle(size_t position, bool was_here) {
  std::lock_guard lock(mutex_);
  Slot& slot = slots_[position];
  const bool again = slot.taken_in_pass == pass_;
  if (again) ++pass_;
  if (!turned_ || again || !was_here) next_ = position;
  if (!turned_) mark(transfers_->device.type(), "storm::backward");
  turned_ = true;
  slot.taken_in_pass = pass_;
  return unclaim_locked(slot);
}

// The next bytes worth fetching ahead; null when enough is on its way or nothing is left.
std::shared_ptr<OffloadedStorage> Tape::next_locked() {
  while (next_ > 0 && ahead_bytes_ < prefetch_bytes_) {
    Slot& slot = slots_[--next_];
    if (slot.taken_in_pass == pass_ || slot.left || slot.claim) continue;
    auto bytes = slot.bytes.lock();
    if (bytes) return bytes;
  }
  return nullptr;
}

void Tape::fetch_ahead() {
  const ForLater for_later;
  for (;;) {
    std::shared_ptr<OffloadedStorage> bytes;
    size_t position = 0;
    {
      std::lock_guard lock(mutex_);
      bytes = next_locked();
      if (!bytes) return;
      position = next_;
    }
    Claim claim;  // ends after the lock below when the position needs it no more
    const Range range(transfers_->device.type(), "storm::prefetch");
    try {
      claim = OffloadedStorage::claim(std::move(bytes));
    } catch (const c10::OutOfMemoryError&) {  // not needed yet: backward will ask again
      transfers_->counters.refuse_prefetch();
      return;
    }
    std::lock_guard lock(mutex_);
    Slot& slot = slots_[position];
    if (slot.left || slot.taken_in_pass == pass_ || slot.claim) continue;
    ahead_bytes_ += claim.added_bytes();
    slot.claim = std::move(claim);
  }
}

bool Tape::release_held() {
  std::vector<Claim> untaken;  // end after the lock
  std::lock_guard lock(mutex_);
  for (auto& slot : slots_) {
    if (slot.claim) untaken.push_back(unclaim_locked(slot));
  }
  return !untaken.empty();
}

}  // namespace storm
