#pragma once
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "engine/offloaded_storage.h"
#include "engine/transfers.h"

namespace storm {

class Tape;

// A position on a tape, owned by the handle that was saved there.
class Place {
 public:
  Place() = default;
  Place(std::shared_ptr<Tape> tape, size_t position)
      : tape_(std::move(tape)), position_(position) {}
  Place(Place&& other) noexcept = default;
  Place& operator=(Place&& other) noexcept;
  ~Place();

  explicit operator bool() const { return tape_ != nullptr; }
  OffloadedStorage::Loan take(OffloadedStorage& bytes) const;
  void reached() const;

 private:
  std::shared_ptr<Tape> tape_;
  size_t position_ = 0;
};

// Note [Order]
// What one forward saved, in that order, one position per save (bytes saved twice have two
// positions: the later one is needed first). Backward asks in roughly the reverse order; each
// answer makes the tape fetch ahead of the asked position. The tape holds weak pointers only:
// handles own the bytes. Its first answer turns it: saves that come later belong to another tape.
// Order decides speed, never correctness.
class Tape final : public Holder {
 public:
  static std::shared_ptr<Tape> open(std::shared_ptr<Transfers> transfers, size_t prefetch_bytes);

  // The place of a save. `bytes` is null for a tensor that stays; `first` says that nothing on this
  // tape has saved these bytes before.
  static Place append(const std::shared_ptr<Tape>& tape,
                      const std::shared_ptr<OffloadedStorage>& bytes, bool first);
  // What became of `range` of the tensor's storage, as it is now, when it was saved before.
  struct Known {
    std::shared_ptr<OffloadedStorage> bytes;  // they hold the range
    bool stays = false;
  };
  Known find(const at::Tensor& tensor, ByteRange range);
  // Bytes that stay on the device although they could move: saved again, they stay again.
  void keep(const at::Tensor& tensor);
  // No more saves belong here: backward has begun, or everything saved was dropped.
  bool finished();

  // Backward asks for the bytes at `position`, on the current stream.
  OffloadedStorage::Loan take(size_t position, OffloadedStorage& bytes);
  // Backward has come to `position`.
  void reached(size_t position);

  // Gives up what was fetched ahead.
  bool release_held() override;

 private:
  friend class Place;
  Tape(std::shared_ptr<Transfers> transfers, size_t prefetch_bytes)
      : transfers_(std::move(transfers)), prefetch_bytes_(prefetch_bytes) {}
  void leave(size_t position) noexcept;

  struct Slot {
    std::weak_ptr<OffloadedStorage> bytes;
    uint64_t taken_in_pass = 0;  // the backward pass that took it last
    bool left = false;           // the handle is gone
    Claim claim;                 // bytes fetched ahead for this position and not taken yet
  };
  void fetch_ahead();
  std::shared_ptr<OffloadedStorage> next_locked();
  Claim settle(size_t position, bool was_here);
  Claim unclaim_locked(Slot& slot);

  const std::shared_ptr<Transfers> transfers_;
  const size_t prefetch_bytes_;

  std::mutex mutex_;  // guards what follows; not held while bytes are moved
  std::vector<Slot> slots_;
  std::unordered_multimap<c10::StorageImpl*, std::weak_ptr<OffloadedStorage>> by_storage_;
  std::unordered_map<c10::StorageImpl*, Identity> kept_;
  bool turned_ = false;
  uint64_t pass_ = 1;       // grows when backward asks again for what it had (retain_graph)
  size_t live_ = 0;         // places not yet left
  size_t next_ = 0;         // positions below are still to be fetched ahead in this pass
  size_t ahead_bytes_ = 0;  // what the slots' claims added
};

}  // namespace storm
