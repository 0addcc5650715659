// A stream: a queue of tasks and the thread that runs them one after the other.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>

#include "sim/clock.h"
#include "sim/fault.h"
#include "sim/task.h"

namespace storm::sim {

class Stream {
 public:
  explicit Stream(FaultSlot& faults) : faults_(faults) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Does not synchronise, but blocks while kMaxQueued tasks wait, as a driver's launch queue does.
  void push(Task task);

  // A marker reached when everything pushed so far is done.
  MarkerRef record();
  void wait_for(MarkerRef marker) { push(Task::wait(std::move(marker))); }

  // False as long as the last task has not returned.
  bool idle() const;

  // Blocks until all that was pushed before the call is done.
  void drain();

  // Blocks, at most until `deadline`, while a task runs. For the end of the process.
  void quiesce(TimePoint deadline);

 private:
  static constexpr size_t kMaxQueued = 1024;

  void start_thread();
  void run_thread();
  Task next_task();
  void execute(Task task);
  void finish_task();

  FaultSlot& faults_;
  mutable std::mutex mutex_;          // guards all that follows
  std::condition_variable work_;      // queue_ has grown
  std::condition_variable progress_;  // finished_ or executing_ has changed, or queue_ has shrunk
  std::deque<Task> queue_;
  uint64_t pushed_ = 0;
  uint64_t finished_ = 0;
  int waiters_ = 0;  // threads waiting for progress_
  bool started_ = false;
  bool sleeping_ = false;   // the thread waits for work_
  bool executing_ = false;  // inside a task that computes or copies
};

}  // namespace storm::sim
