// A stream: a queue of tasks and the thread that runs them one after the other.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>

#include "sim/clock.h"
#include "sim/fault.h"
#include "sim/schedule.h"
#include "sim/task.h"

namespace storm::sim {

class Stream {
 public:
  Stream(int device, FaultSlot& faults) : device_(device), faults_(faults) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Does not synchronise, but blocks while kMaxQueued tasks wait, as a driver's launch queue does.
  // Raises for a kernel or a copy if the device is lost; what frees memory passes.
  void push(Task task);

  // A marker reached when everything pushed so far is done, or dropped by a lost device.
  MarkerRef record();
  void wait_for(MarkerRef marker) { push(Task::wait(std::move(marker))); }

  // False as long as the last task has not returned.
  bool idle() const;

  // Blocks until all that was pushed before the call is done.
  void drain();

  // Kernels and copies pushed from now on take `factor` times as long; returns the factor before.
  double slow_down(double factor);

  // Blocks, at most until `deadline`, while a task runs. For the end of the process.
  void quiesce(TimePoint deadline);

 private:
  static constexpr size_t kMaxQueued = 1024;

  void start_thread();
  void run_thread();
  Task next_task();
  void execute(Task task);
  void work(Task& task);
  void wait_on(const Marker& marker);
  void finish_task(const MarkerRef& reached);

  const int device_;
  FaultSlot& faults_;
  mutable std::mutex mutex_;          // guards all that follows
  std::condition_variable work_;      // queue_ has grown
  std::condition_variable progress_;  // finished_ or executing_ has changed, or queue_ has shrunk
  std::deque<Task> queue_;
  uint64_t pushed_ = 0;
  uint64_t finished_ = 0;
  double slowdown_ = 1;
  FuzzPosition fuzz_;
  int waiters_ = 0;  // threads waiting for progress_
  bool started_ = false;
  bool sleeping_ = false;   // the thread waits for work_
  bool executing_ = false;  // inside a task that computes or copies
};

}  // namespace storm::sim
