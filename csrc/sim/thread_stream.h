// A stream that is a queue of tasks and the thread that runs them one after the other.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>

#include "sim/stream.h"

namespace storm::sim {

class ThreadStream final : public Stream {
 public:
  using Stream::Stream;

  void quiesce(TimePoint deadline) override;

 private:
  static constexpr size_t kMaxQueued = 1024;

  void accept(Task task, const Work& work) override;
  MarkerRef accept_record(Moment known) override;
  bool finished() override;
  void wait_until_finished() override;

  void start_thread();
  void run_thread();
  Task next_task();
  void execute(Task task);
  void work(Task& task);
  void wait_on(const Marker& marker);
  void finish_task(const MarkerRef& reached);

  // Guarded by mutex_.
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
