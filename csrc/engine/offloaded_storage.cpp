#include "engine/offloaded_storage.h"

#include <c10/core/StreamGuard.h>

#include "base/below_user.h"
#include "base/bytes.h"
#include "base/check.h"
#include "base/process.h"
#include "engine/transfers.h"
#include "transfer/copy.h"
#include "transfer/range.h"

namespace storm {
namespace {

uint64_t next_id() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

}  // namespace

OffloadedStorage::OffloadedStorage(std::shared_ptr<Transfers> transfers, const at::Tensor& tensor,
                                   ByteRange range, Wire wire, PinnedMemoryBuffer host)
    : transfers_(std::move(transfers)),
      identity_(tensor),
      range_(range),
      wire_(wire),
      id_(next_id()),
      home_(transfers_->compute_stream()),
      host_(std::move(host)),
      lent_(tensor.storage().getWeakStorageImpl()) {
  // The graph would have held memory of another stream until backward. We let go of it in home's
  // order, so its allocator must know of home; for home's own memory this is nothing.
  transfers_->guard.recordDataPtrOnStream(tensor.storage().data_ptr(), home_);
  const auto& d2h = transfers_->streams.d2h();
  Event::record(home_).block(d2h);
  if (const auto recorder = Recorder::active()) {
    recorder->describe(id_, tensor);
    recorder->host_bytes(transfers_->pool->stats().live_bytes);
  }
  copied_ = copy(/*to_host=*/true, bytes_of(tensor.storage(), range_));
  transfers_->in_flight.add(tensor.storage(), range_.bytes(), home_,
                            packed_ ? std::move(packed_) : copied_, label_);
  transfers_->count(label_, [&](auto& counters) {
    counters.offload(wire_bytes(wire_, range_.bytes()));
    if (wire_ == Wire::bits) counters.pack(range_.bytes());
  });
}

EventRef OffloadedStorage::copy(bool to_host, const at::Tensor& device_bytes) {
  const auto& stream = to_host ? transfers_->streams.d2h() : transfers_->streams.h2d();
  const auto move = [&](Event::Timing timing) {
    if (wire_ == Wire::bits) {
      if (!to_host) return bits_to_device(*host_, device_bytes, stream, timing);
      auto sent = bits_to_host(device_bytes, *host_, stream, timing);
      packed_ = std::move(sent.packed);
      return std::move(sent.copied);
    }
    return to_host ? copy_to_host(device_bytes, *host_, stream, timing)
                   : copy_to_device(*host_, device_bytes, stream, timing);
  };
  const auto recorder = Recorder::active();
  if (!recorder) return move(transfers_->stalls.timing());
  auto begin = std::make_shared<const Event>(Event::record(stream, Event::Timing::yes));
  auto done = move(Event::Timing::yes);
  recorder->copied(stream, to_host, id_, label_, wire_bytes(wire_, range_.bytes()),
                   {std::move(begin), done});
  return done;
}

// Seldom a wait: what backward asks for first has stayed on the device, and what left first has
// long arrived when it is asked for.
void OffloadedStorage::check_exact() const {
  if (wire_ != Wire::bits) return;
  if (!copied_->done()) {
    const Range range(transfers_->device.type(), "storm::wait_for_bits");
    copied_->synchronize();
  }
  TORCH_CHECK(bits_are_exact(*host_), "a tensor of ", format_bytes(range_.bytes()),
              " of torch.bool on ", transfers_->device,
              " was saved for backward with pack_bool=True, and holds bytes that are neither 0 nor "
              "1, which bits cannot bring back: write bools, not other bytes, into its memory "
              "(torch.empty leaves it as it was), or use OffloadConfig(pack_bool=False)");
}

OffloadedStorage::~OffloadedStorage() {
  if (process_exiting()) {
    if (resident_) resident_->storage.unsafeReleaseStorageImpl();  // abandoned: base/process.h
    return;
  }
  try {
    transfers_->in_flight.let_go_finished();
    std::vector<EventRef> events = std::move(reads_);
    events.push_back(copied_);
    transfers_->pool->recycle_after(std::move(*host_), std::move(events));
    if (const auto recorder = Recorder::active())
      recorder->host_bytes(transfers_->pool->stats().live_bytes);
  } catch (...) {  // a lost device: nothing runs any more, ~PinnedMemoryBuffer returns the range
  }
}

void OffloadedStorage::used_on(const c10::Stream& stream, const at::Tensor& tensor) const {
  if (stream != home_) transfers_->guard.recordDataPtrOnStream(tensor.storage().data_ptr(), stream);
}

OffloadedStorage::Arrival OffloadedStorage::bring_back() {
  const auto& h2d = transfers_->streams.h2d();
  c10::Storage memory;
  {
    c10::StreamGuard guard(home_);
    auto* allocator = c10::GetAllocator(transfers_->device.type());
    memory = c10::Storage(c10::Storage::use_byte_size_t(), range_.bytes(),
                          allocator->allocate(range_.bytes()), allocator);
  }
  // The block may have been freed in home's order a moment ago: the copy starts when that moment
  // has passed.
  Event::record(home_).block(h2d);
  if (!copied_->done()) copied_->block(h2d);
  auto arrived = copy(/*to_host=*/false, bytes_of(memory, {0, range_.bytes()}));
  transfers_->count(label_,
                    [&](auto& counters) { counters.fetch(wire_bytes(wire_, range_.bytes())); });
  std::lock_guard lock(mutex_);
  std::erase_if(reads_, [](const EventRef& event) { return event->done(); });
  reads_.push_back(arrived);
  return {std::move(memory), range_.begin, std::move(arrived)};
}

OffloadedStorage::Loan OffloadedStorage::lend(const Arrival& arrival, const c10::Stream& stream,
                                              StallCause cause) {
  if (arrival.arrived && !arrival.arrived->done())
    transfers_->stalls.wait(stream, arrival.arrived, cause, label_);
  // Lent to another stream than the one its memory belongs to: the allocator must know, as for any
  // tensor.
  if (stream != home_) transfers_->guard.recordDataPtrOnStream(arrival.storage.data_ptr(), stream);
  return {arrival.storage, arrival.begin};
}

std::optional<OffloadedStorage::Arrival> OffloadedStorage::lent_locked() const {
  auto alive = lent_.lock();
  if (!alive) return std::nullopt;
  return Arrival{c10::Storage(std::move(alive)), lent_arrived_ ? range_.begin : 0, lent_arrived_};
}

std::optional<OffloadedStorage::Loan> OffloadedStorage::take_if_here(const c10::Stream& stream) {
  std::optional<Arrival> here;
  {
    std::lock_guard lock(mutex_);
    here = resident_ ? resident_ : lent_locked();
    if (here) {
      lent_ = here->storage.getWeakStorageImpl();
      lent_arrived_ = here->arrived;
    }
  }
  if (!here) return std::nullopt;
  if (here->arrived) check_exact();
  if (!here->arrived)
    transfers_->count(label_, [&](auto& counters) { counters.give_back(range_.bytes()); });
  return lend(*here, stream, StallCause::arriving);
}

OffloadedStorage::Loan OffloadedStorage::fetch(const c10::Stream& stream) {
  check_exact();
  transfers_->count(label_, [](auto& counters) { counters.late_fetch(); });
  Arrival arrival = bring_back();
  {
    std::lock_guard lock(mutex_);
    lent_ = arrival.storage.getWeakStorageImpl();
    lent_arrived_ = arrival.arrived;
  }
  return lend(arrival, stream, StallCause::late);
}

Claim OffloadedStorage::claim(std::shared_ptr<OffloadedStorage> bytes) {
  const size_t size = bytes->range_.bytes();
  {
    std::lock_guard lock(bytes->mutex_);
    const bool held = bytes->resident_.has_value();
    if (!held) bytes->resident_ = bytes->lent_locked();
    if (bytes->resident_) {
      ++bytes->claims_;
      return Claim(std::move(bytes), held ? 0 : size);
    }
  }
  const Arrival arrival = bytes->bring_back();
  bool first = false;
  {
    std::lock_guard lock(bytes->mutex_);
    ++bytes->claims_;
    first = !bytes->resident_;
    if (first) bytes->resident_ = arrival;
  }
  if (!first) bytes->let_go(arrival);  // another thread was faster
  return Claim(std::move(bytes), first ? size : 0);
}

// Its memory is reused in home's order, so home must pass the copy that may still be filling it.
void OffloadedStorage::let_go(const Arrival& arrival) {
  if (arrival.arrived) arrival.arrived->block(home_);
}

void OffloadedStorage::end_claim(bool spent) noexcept {
  if (process_exiting()) return;
  std::optional<Arrival> unheld;  // freed when the lock is gone
  {
    std::lock_guard lock(mutex_);
    if (--claims_ > 0) return;
    unheld.swap(resident_);
  }
  if (spent) return;  // who has the loan waits for the copy
  try {
    let_go(*unheld);
  } catch (...) {  // a lost device: nothing runs any more
  }
}

Claim& Claim::operator=(Claim&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  std::swap(added_bytes_, other.added_bytes_);
  return *this;
}

void Claim::end(bool spent) noexcept {
  if (!bytes_) return;
  bytes_->end_claim(spent);
  bytes_.reset();
  added_bytes_ = 0;
}

}  // namespace storm
