#pragma once
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "publish/snapshot.h"

namespace storm {

// Hands the newest values of a training side to readers: see README.md. Readers may come from any
// thread and never wait for a publication; one thread at a time publishes.
class Publisher {
 public:
  // The storages of a layout by how they come into the next snapshot, as indices of its groups.
  struct Split {
    std::vector<size_t> moved, copied;
    bool all_moved_on_device;
  };
  using Free = std::pair<std::shared_ptr<Snapshot>, uint64_t>;
  enum class Mode {
    swap,  // memory changes hands: two copies of the parameters at rest, addresses move
    copy,  // addresses stay: three copies
  };

  explicit Publisher(Mode mode) : mode_(mode) {}
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  // Fills `first` from the live tensors of its layout and serves it at once. For the first version,
  // and whenever the layout is another.
  void start(const std::shared_ptr<Snapshot>& first);

  // Publishes the live values as the next version, in `next`, which is idle. False when the live
  // tensors no longer fit, and nothing was done. `free`: what `if_free` said, if nobody had kept
  // anything of that snapshot then. Throws when memory runs out, and then, too, nothing has
  // changed.
  bool publish(const std::shared_ptr<Snapshot>& next, const std::optional<Free>& free);

  // The newest version that is there, held until `unpin`. The current stream waits for values that
  // the device has yet to write (only of the first version).
  std::shared_ptr<Snapshot> pin();
  // Notes the device work of the current stream as the reader's last. True if there is something to
  // collect.
  bool unpin(const std::shared_ptr<Snapshot>& snapshot);

  // Snapshots that nobody will pin again and nobody reads: the caller's from now on.
  std::vector<std::shared_ptr<Snapshot>> collect();

  std::shared_ptr<Snapshot> current() const {
    std::lock_guard lock(mutex_);
    return current_;
  }
  // The current snapshot and how many readers it has had, if it has none now and the device is done
  // with their work.
  std::optional<Free> if_free();
  // A snapshot whose tensors somebody kept is dropped; its memory counts until they are gone.
  void abandon(const std::shared_ptr<Snapshot>& snapshot);
  uint64_t version();  // that the next reader gets
  // Held by snapshots in use, and by what was kept of abandoned ones.
  size_t bytes() const {
    std::lock_guard lock(mutex_);
    return held();
  }
  size_t peak_bytes() const {
    std::lock_guard lock(mutex_);
    return peak_bytes_;
  }
  uint64_t copied_bytes() const {
    std::lock_guard lock(mutex_);
    return copied_bytes_;
  }
  void check_invariants() const;

 private:
  using Ref = std::shared_ptr<Snapshot>;

  EventRef fill(Snapshot& next);
  void swap(const Ref& next, const Split& split, const std::optional<Free>& free);
  bool swap_in_place(const Ref& next, const Split& split, const Free& free);
  void swap_over(const Ref& next, const Split& split);
  Ref replace_if_free(const Ref& next, const Free& free);
  void serve(const Ref& next, EventRef filled, bool at_once);
  void promote();
  void make_current(Ref next);  // mutex_ is held
  void retire(Ref snapshot);    // mutex_ is held
  size_t held() const;          // mutex_ is held

  const Mode mode_;

  mutable std::mutex mutex_;  // guards all below and the snapshots' changing parts
  Ref current_;
  Ref waiting_;  // published, and the device has yet to write its values
  std::vector<Ref> retired_;
  struct Kept {
    c10::weak_intrusive_ptr<c10::StorageImpl> storage;
    size_t bytes;
  };
  std::vector<Kept> kept_;
  uint64_t version_ = 0;  // last given
  size_t peak_bytes_ = 0;
  uint64_t copied_bytes_ = 0;
};

}  // namespace storm
