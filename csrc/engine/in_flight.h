#pragma once
#include <c10/core/Storage.h>
#include <c10/core/Stream.h>

#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "base/event.h"
#include "engine/stall_meter.h"

namespace storm {

// The window of device storages whose copy to the host may still be running. It holds each of them,
// so nothing reuses their bytes under the copy, and lets go in one of two ways: the copy is seen to
// be over, or, when the window is full, the stream the bytes belong to is told to wait for it. The
// host never waits. Thread-safe.
class InFlight {
 public:
  InFlight(size_t window_bytes, StallMeter& stalls)
      : window_bytes_(window_bytes), stalls_(stalls) {}
  ~InFlight();

  // `home` is the stream whose order governs the storage's memory. Makes room first.
  void add(c10::Storage storage, size_t bytes, const c10::Stream& home, EventRef copied,
           Label label);
  void let_go_finished();
  // Lets go of everything, telling streams to wait where copies still run; false when that is
  // nothing.
  bool let_go_all();

  size_t bytes();
  void check_invariants();

 private:
  struct Item {
    c10::Storage storage;
    size_t bytes;
    c10::Stream home;
    EventRef copied;
    Label label;
  };
  using Items = std::vector<Item>;
  void let_go(Items items, StallCause cause);
  Items take_front(size_t limit);

  const size_t window_bytes_;
  StallMeter& stalls_;

  std::mutex
      mutex_;  // guards items_, bytes_; not held while storages are freed or streams told to wait
  std::deque<Item> items_;  // in the D2H stream's order
  size_t bytes_ = 0;        // sum over items_
};

}  // namespace storm
