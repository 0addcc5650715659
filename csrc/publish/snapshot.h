#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "base/event.h"
#include "publish/layout.h"

namespace storm {

class Publisher;

// The tensors of one copy of a model that inference reads: made once, filled with one version after
// another. Between versions it may have no memory; touching a tensor then is torch's error. The
// publisher moves it through its states and guards what changes (see publisher.h).
class Snapshot {
 public:
  // `served` came from `layout->blanks()`, opaque tensors filled in by the caller.
  Snapshot(std::shared_ptr<const ModelLayout> layout, std::vector<at::Tensor> served);
  ~Snapshot();
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  const std::shared_ptr<const ModelLayout>& layout() const { return layout_; }
  const std::vector<at::Tensor>& served() const { return served_; }
  const c10::StorageImpl& storage(size_t group) const;
  c10::StorageImpl& storage(size_t group);
  size_t bytes() const { return bytes_; }        // of memory it holds now
  uint64_t version() const { return version_; }  // which one it was filled with last

  uint64_t readers() const { return all_readers_; }  // how many it ever had
  // Whether the live tensors and these are still alike.
  bool fits() const { return layout_->matches(served_); }

  // How many references the tensors and storages have while nobody but their module uses them.
  void settle();
  // Whether nobody else does: no graph, no view, no array.
  bool unreferenced() const;
  // Gradients that a reader left behind are dropped, and graphs that somehow still know the old
  // values are told that these changed.
  void renew();
  // Tensors are as frozen as the live ones are.
  void follow_requires_grad();

  // Memory for the groups that have none, on the current stream.
  void allocate();
  // Gives the memory back to its allocator, which waits for the streams that used it.
  void release();
  void note_use(const c10::Stream& stream, EventRef event);

  struct Use {  // device work that reads or writes the memory
    c10::Stream stream;
    EventRef event;
  };
  // Whether the device is done with all of it; does not synchronise. The caller owns the snapshot.
  bool unused() const;
  // Storages that somebody holds beside the snapshot's tensors.
  std::vector<c10::weak_intrusive_ptr<c10::StorageImpl>> kept() const;

 private:
  friend class Publisher;
  enum class State { idle, waiting, current, retired };
  void record_uses() const;

  const std::shared_ptr<const ModelLayout> layout_;
  const std::vector<at::Tensor> served_;
  std::vector<std::pair<uint32_t, uint32_t>> settled_;  // tensor's and storage's counts, by tensor

  // Guarded by Publisher::mutex_ while a publisher knows the snapshot; else its owner's.
  State state_ = State::idle;
  uint64_t version_ = 0;
  uint64_t readers_ = 0;                   // now
  std::atomic<uint64_t> all_readers_ = 0;  // ever; read without the mutex too
  std::vector<Use> uses_;                  // the last of each stream
  EventRef filled_;                        // behind it the values are there; null when they are
  size_t bytes_ = 0;
};

}  // namespace storm
