#pragma once
#include <c10/core/Storage.h>
#include <c10/core/Stream.h>

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/event.h"
#include "engine/geometry.h"
#include "engine/identity.h"
#include "engine/recorder.h"
#include "host/pinned_pool.h"
#include "transfer/bit_copy.h"

namespace storm {

class Claim;
class Transfers;

// Note [The life of offloaded bytes]
// One byte range of one storage. Born when its copy to the host is queued; from then on the host
// buffer is the truth, and the device holds it for a while only:
//   leaving    the original storage, held by InFlight until the copy is over (here: a weak pointer)
//   away       host only
//   resident   brought back ahead of need, held here until every claim on it is taken
//   lent       taken by backward; here a weak pointer, so a second taker shares it while it lives
// The host buffer outlives any number of trips (retain_graph) and returns to the pool behind the
// events of every copy that touched it. Bools may travel as bits (`Wire::bits`): the device then
// sees bytes as ever, the host bits; the original is free behind the packing, before its copy.
class OffloadedStorage {
 public:
  // Queues the copy of `range` of the tensor's storage to `host`, which has the wire's bytes. Does
  // not synchronise. As bits it may throw OutOfMemoryError; nothing is queued then.
  OffloadedStorage(std::shared_ptr<Transfers> transfers, const at::Tensor& tensor, ByteRange range,
                   Wire wire, PinnedMemoryBuffer host);
  ~OffloadedStorage();
  OffloadedStorage(const OffloadedStorage&) = delete;
  OffloadedStorage& operator=(const OffloadedStorage&) = delete;

  // The tensor over these bytes is saved once more, on `stream`. Does not synchronise.
  void used_on(const c10::Stream& stream, const at::Tensor& tensor) const;

  // On the device now, ready in `stream`'s order, or nothing.
  struct Loan {
    c10::Storage storage;
    size_t begin;  // the storage's first byte is this byte of the original storage
  };
  std::optional<Loan> take_if_here(const c10::Stream& stream);
  // Brings the bytes back for `stream`, which waits for them. May throw OutOfMemoryError. Of bits
  // the host must know that they are exact: it waits, the GIL dropped, if they are still on their
  // way out, and throws if a byte was neither 0 nor 1. `take_if_here` likewise.
  Loan fetch(const c10::Stream& stream);
  // Holds `bytes` on the device for one more taker; starts the copy when they are away. May throw
  // OutOfMemoryError.
  static Claim claim(std::shared_ptr<OffloadedStorage> bytes);

  const Identity& identity() const { return identity_; }
  ByteRange range() const { return range_; }
  Wire wire() const { return wire_; }
  c10::Device device() const { return home_.device(); }

 private:
  friend class Claim;
  struct Arrival {
    c10::Storage storage;
    size_t begin;  // as in Loan
    EventRef
        arrived;  // behind it the storage is filled; null: it is the original, filled all along
  };
  Arrival bring_back();
  std::optional<Arrival> lent_locked() const;
  EventRef copy(bool to_host, const at::Tensor& device_bytes);
  void check_exact() const;
  Loan lend(const Arrival& arrival, const c10::Stream& stream, StallCause cause);
  void let_go(const Arrival& arrival);
  void end_claim(bool spent) noexcept;

  const std::shared_ptr<Transfers> transfers_;
  const Identity identity_;
  const ByteRange range_;
  const Wire wire_;
  const Label label_ = current_label();
  const uint64_t id_;
  const c10::Stream home_;  // the stream whose order governs the bytes' memory on the device
  std::optional<PinnedMemoryBuffer> host_;
  EventRef packed_;  // of bits: the original is read behind this; the window's from then on
  EventRef copied_;  // the host buffer is filled behind this

  std::mutex mutex_;  // guards what follows; not held while memory is allocated or freed
  std::optional<Arrival> resident_;
  size_t claims_ = 0;  // `Claim`s alive; resident_ is there while there are any
  c10::weak_intrusive_ptr<c10::StorageImpl> lent_;  // the original at first
  EventRef lent_arrived_;                           // Arrival::arrived of lent_
  std::vector<EventRef> reads_;  // copies out of the host buffer not known to be over
};

// Keeps bytes on the device for one taker to come, and keeps them alive. Dropped unspent it gives
// up the bytes, once no other claim holds them. Movable handle.
class Claim {
 public:
  Claim() = default;  // on nothing
  Claim(Claim&& other) noexcept { *this = std::move(other); }
  Claim& operator=(Claim&& other) noexcept;
  ~Claim() { end(/*spent=*/false); }

  explicit operator bool() const { return bytes_ != nullptr; }
  size_t added_bytes() const { return added_bytes_; }  // on the device that were not held before
  void spend() noexcept { end(/*spent=*/true); }       // its taker has its loan

 private:
  friend class OffloadedStorage;
  Claim(std::shared_ptr<OffloadedStorage> bytes, size_t added_bytes)
      : bytes_(std::move(bytes)), added_bytes_(added_bytes) {}
  void end(bool spent) noexcept;

  std::shared_ptr<OffloadedStorage> bytes_;
  size_t added_bytes_ = 0;
};

}  // namespace storm
