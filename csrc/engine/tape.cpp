#include "engine/tape.h"

namespace storm {

Place& Place::operator=(Place&& other) noexcept {
  std::swap(tape_, other.tape_);
  std::swap(position_, other.position_);
  return *this;
}

Place::~Place() {
  if (tape_) tape_->leave(position_);
}

OffloadedStorage::Loan Place::take(OffloadedStorage& bytes) const {
  return tape_->take(position_, bytes);
}

void Place::reached() const {
  tape_->reached(position_);
}

Place Tape::append(const std::shared_ptr<Tape>& tape,
                   const std::shared_ptr<OffloadedStorage>& bytes, bool first) {
  std::lock_guard lock(tape->mutex_);
  tape->slots_.push_back({bytes});
  ++tape->live_;
  if (first && bytes)
    tape->by_storage_.emplace(bytes->identity().storage._unsafe_get_target(), bytes);
  return Place(tape, tape->slots_.size() - 1);
}

void Tape::leave(size_t position) noexcept {
  std::lock_guard lock(mutex_);
  Slot& slot = slots_[position];
  ahead_bytes_ -= slot.claimed_bytes;
  slot.claimed_bytes = 0;
  --live_;
}

std::shared_ptr<OffloadedStorage> Tape::find(const at::Tensor& tensor, ByteRange range) {
  std::lock_guard lock(mutex_);
  auto [begin, end] = by_storage_.equal_range(tensor.storage().unsafeGetStorageImpl());
  for (auto it = begin; it != end; ++it) {
    auto bytes = it->second.lock();
    if (bytes && bytes->identity().is_of(tensor) && bytes->range().contains(range)) return bytes;
  }
  return nullptr;
}

void Tape::keep(const at::Tensor& tensor) {
  std::lock_guard lock(mutex_);
  kept_.emplace(tensor.storage().unsafeGetStorageImpl(), Identity(tensor));
}

bool Tape::keeps(const at::Tensor& tensor) {
  std::lock_guard lock(mutex_);
  auto found = kept_.find(tensor.storage().unsafeGetStorageImpl());
  return found != kept_.end() && found->second.is_of(tensor);
}

bool Tape::finished() {
  std::lock_guard lock(mutex_);
  return turned_ || (live_ == 0 && !slots_.empty());
}

OffloadedStorage::Loan Tape::take(size_t position, OffloadedStorage& bytes) {
  const auto stream = transfers_->compute_stream();
  transfers_->in_flight.let_go_finished();
  auto loan = bytes.take_if_here(stream);
  settle(position, loan.has_value());
  if (!loan) {
    try {
      loan = bytes.fetch(stream);
    } catch (const c10::OutOfMemoryError&) {  // what we hold ahead of need goes first
      release_prefetched();
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

void Tape::settle(size_t position, bool was_here) {
  std::lock_guard lock(mutex_);
  Slot& slot = slots_[position];
  ahead_bytes_ -= slot.claimed_bytes;
  slot.claimed_bytes = 0;
  const bool again = slot.taken_in_pass == pass_;
  if (again) ++pass_;
  if (!turned_ || again || !was_here) next_ = position;
  turned_ = true;
  slot.taken_in_pass = pass_;
}

// The next bytes worth fetching ahead, claimed; null when enough is on its way or nothing is left.
std::shared_ptr<OffloadedStorage> Tape::next_locked() {
  while (next_ > 0 && ahead_bytes_ < prefetch_bytes_) {
    Slot& slot = slots_[--next_];
    if (slot.taken_in_pass == pass_ || slot.claimed_bytes > 0) continue;
    auto bytes = slot.bytes.lock();
    if (bytes) return bytes;
  }
  return nullptr;
}

void Tape::fetch_ahead() {
  for (;;) {
    std::shared_ptr<OffloadedStorage> bytes;
    size_t position = 0;
    {
      std::lock_guard lock(mutex_);
      bytes = next_locked();
      if (!bytes) return;
      position = next_;
    }
    try {
      if (!bytes->claim()) continue;
    } catch (const c10::OutOfMemoryError&) {  // not needed yet: backward will ask again
      transfers_->counters.refuse_prefetch();
      return;
    }
    std::lock_guard lock(mutex_);
    slots_[position].claimed_bytes = bytes->range().bytes();
    ahead_bytes_ += bytes->range().bytes();
  }
}

// Everything the engine holds on the device for later: the window and what was fetched ahead.
void Tape::release_prefetched() {
  std::vector<std::shared_ptr<OffloadedStorage>> held;
  {
    std::lock_guard lock(mutex_);
    for (auto& slot : slots_) {
      if (slot.claimed_bytes == 0) continue;
      if (auto bytes = slot.bytes.lock()) held.push_back(std::move(bytes));
      slot.claimed_bytes = 0;
    }
    ahead_bytes_ = 0;
  }
  for (auto& bytes : held) bytes->drop_prefetched();
  transfers_->in_flight.let_go_all();
}

}  // namespace storm
