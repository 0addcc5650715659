#include "engine/offloaded_storage.h"

#include <ATen/ops/empty.h>
#include <c10/core/StreamGuard.h>

#include "base/below_user.h"
#include "base/check.h"
#include "base/process.h"
#include "engine/transfers.h"
#include "transfer/copy.h"

namespace storm {

OffloadedStorage::OffloadedStorage(std::shared_ptr<Transfers> transfers, const at::Tensor& tensor, ByteRange range,
                                   PinnedMemoryBuffer host)
    : transfers_(std::move(transfers)),
      identity_(tensor),
      range_(range),
      home_(transfers_->compute_stream()),
      host_(std::move(host)),
      lent_(tensor.storage().getWeakStorageImpl()) {
  const auto& d2h = transfers_->streams.d2h();
  Event::record(home_).block(d2h);
  copied_ = copy_to_host(bytes_of(tensor.storage(), range_), *host_, d2h);
  transfers_->in_flight.add(tensor.storage(), range_.bytes(), home_, copied_);
  transfers_->counters.offload(range_.bytes());
}

OffloadedStorage::~OffloadedStorage() {
  if (process_exiting()) {
    if (resident_) resident_->storage.unsafeReleaseStorageImpl();
    return;
  }
  try {
    drop_prefetched();
    transfers_->in_flight.let_go_finished();
    std::vector<EventRef> events = std::move(reads_);
    events.push_back(copied_);
    transfers_->pool->recycle_after(std::move(*host_), std::move(events));
  } catch (...) {  // a lost device: nothing runs any more, ~PinnedMemoryBuffer returns the range
  }
}

OffloadedStorage::Arrival OffloadedStorage::bring_back() {
  const auto& h2d = transfers_->streams.h2d();
  at::Tensor bytes;
  {
    BelowUser below;
    c10::StreamGuard guard(home_);
    bytes = at::empty({static_cast<int64_t>(range_.bytes())}, at::TensorOptions().dtype(at::kByte).device(transfers_->device));
  }
  // The block may have been freed in home's order a moment ago: the copy starts when that moment has passed.
  Event::record(home_).block(h2d);
  copied_->block(h2d);
  auto arrived = copy_to_device(*host_, bytes, h2d);
  transfers_->counters.fetch(range_.bytes());
  std::lock_guard lock(mutex_);
  std::erase_if(reads_, [](const EventRef& event) { return event->done(); });
  reads_.push_back(arrived);
  return {bytes.storage(), std::move(arrived)};
}

OffloadedStorage::Loan OffloadedStorage::lend(const c10::Storage& storage, size_t begin, const Event* arrived,
                                              const c10::Stream& stream) {
  if (arrived != nullptr && !arrived->done()) transfers_->stalls.wait(stream, *arrived);
  // Lent to another stream than the one its memory belongs to: the allocator must know, as for any tensor.
  if (stream != home_) transfers_->guard.recordDataPtrOnStream(storage.data_ptr(), stream);
  return {storage, begin};
}

std::optional<OffloadedStorage::Arrival> OffloadedStorage::take_prefetched_locked() {
  if (!resident_) return std::nullopt;
  Arrival taken = *resident_;
  lent_ = taken.storage.getWeakStorageImpl();
  lent_arrived_ = taken.arrived;
  if (--claims_ == 0) resident_.reset();
  return taken;
}

std::optional<OffloadedStorage::Loan> OffloadedStorage::take_if_here(const c10::Stream& stream) {
  std::optional<Arrival> here;
  bool original = false;
  {
    std::lock_guard lock(mutex_);
    here = take_prefetched_locked();
    if (!here) {
      if (auto alive = lent_.lock()) {
        original = !lent_arrived_;
        here = Arrival{c10::Storage(std::move(alive)), lent_arrived_};
      }
    }
  }
  if (!here) return std::nullopt;
  if (original) transfers_->counters.give_back(range_.bytes());
  return lend(here->storage, original ? 0 : range_.begin, here->arrived.get(), stream);
}

OffloadedStorage::Loan OffloadedStorage::fetch(const c10::Stream& stream) {
  transfers_->counters.late_fetch();
  Arrival arrival = bring_back();
  {
    std::lock_guard lock(mutex_);
    lent_ = arrival.storage.getWeakStorageImpl();
    lent_arrived_ = arrival.arrived;
  }
  return lend(arrival.storage, range_.begin, arrival.arrived.get(), stream);
}

bool OffloadedStorage::prefetch() {
  {
    std::lock_guard lock(mutex_);
    if (resident_) {
      ++claims_;
      return false;
    }
    if (lent_.use_count() > 0) return false;
  }
  std::optional<Arrival> arrival = bring_back();
  {
    std::lock_guard lock(mutex_);
    ++claims_;
    if (!resident_) resident_.swap(arrival);
  }
  if (arrival) let_go(std::move(*arrival));  // another thread was faster
  return true;
}

// Its memory is reused in home's order, so home must pass the copy that may still be filling it.
void OffloadedStorage::let_go(Arrival arrival) {
  arrival.arrived->block(home_);
}

void OffloadedStorage::drop_prefetched() {
  std::optional<Arrival> dropped;
  {
    std::lock_guard lock(mutex_);
    dropped.swap(resident_);
    claims_ = 0;
  }
  if (dropped) let_go(std::move(*dropped));
}

}  // namespace storm
