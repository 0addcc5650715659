#include "sim/thread_stream.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/record_function.h>

#include <chrono>
#include <thread>
#include <utility>

#include "sim/counters.h"
#include "sim/lifecycle.h"
#include "sim/worker_thread.h"

namespace storm::sim {
namespace {

[[noreturn]] void park_forever() {
  for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
}

// A thread that waits when the process ends must not come back into an interpreter being torn down.
void park_if_halting(std::unique_lock<std::mutex>& lock) {
  if (running()) return;
  lock.unlock();
  park_forever();
}

constexpr auto kLook = std::chrono::milliseconds(100);  // how often waiters look for the end

}  // namespace

void ThreadStream::accept(Task task, const Work&) {
  bool wake = false;
  {
    std::unique_lock lock(mutex_);
    if (!started_) start_thread();
    while (queue_.size() >= kMaxQueued) {
      ++waiters_;
      progress_.wait_for(lock, kLook);
      --waiters_;
      park_if_halting(lock);
    }
    set_pace(task);
    queue_.push_back(std::move(task));
    ++pushed_;
    wake = sleeping_;
  }
  if (wake) work_.notify_one();
}

MarkerRef ThreadStream::accept_record(Moment known) {
  auto marker = std::make_shared<Marker>(std::move(known));
  push(Task::record(marker));
  return marker;
}

bool ThreadStream::finished() {
  std::lock_guard lock(mutex_);
  return finished_ == pushed_;
}

void ThreadStream::wait_until_finished() {
  std::unique_lock lock(mutex_);
  const uint64_t target = pushed_;
  ++waiters_;
  while (finished_ < target) {
    progress_.wait_for(lock, kLook);
    park_if_halting(lock);
  }
  --waiters_;
}

void ThreadStream::quiesce(TimePoint deadline) {
  std::unique_lock lock(mutex_);
  ++waiters_;
  progress_.wait_until(lock, deadline, [this] { return !executing_; });
  --waiters_;
}

void ThreadStream::start_thread() {
  std::thread([this] { run_thread(); }).detach();  // joined never: see quiesce()
  started_ = true;
}

void ThreadStream::run_thread() {
  prepare_worker_thread();
  at::AutoDispatchBelowADInplaceOrView no_autograd;
  at::RecordFunctionGuard not_the_programs_own(/*is_enabled=*/false);
  for (;;) execute(next_task());
}

Task ThreadStream::next_task() {
  std::unique_lock lock(mutex_);
  sleeping_ = true;
  work_.wait(lock, [this] { return !queue_.empty(); });
  sleeping_ = false;
  Task task = std::move(queue_.front());
  queue_.pop_front();
  park_if_halting(lock);
  executing_ = task.kind() != TaskKind::wait;
  return task;
}

void ThreadStream::execute(Task task) {
  switch (task.kind()) {
    case TaskKind::record:
      break;  // reached when it counts as finished, see below
    case TaskKind::wait:
      wait_on(*task.marker());
      break;
    case TaskKind::housekeeping:
      task.run();
      break;
    default:
      if (!faults_.lost()) work(task);
  }
  const MarkerRef reached = task.kind() == TaskKind::record ? task.marker() : nullptr;
  task = Task();  // releases what the closure holds before anyone sees it finished
  finish_task(reached);
}

void ThreadStream::work(Task& task) {
  const Pace pace = task.pace();
  if (pace.delay.count() > 0) pause_for(pace.delay);
  const auto begin = now();
  run(task);
  auto end = now();
  if (pace.slowdown > 1) {
    const std::chrono::duration<double> rest = (pace.slowdown - 1) * (end - begin);
    pause_for(std::chrono::duration_cast<Clock::duration>(rest));
    end = now();
  }
  if (task.kind() == TaskKind::kernel) counters().compute_busy_ns += nanoseconds(end - begin);
}

void ThreadStream::wait_on(const Marker& marker) {
  while (!marker.wait_for(kLook)) {
    if (faults_.lost()) return;  // nobody may ever come to release this stream
  }
}

// One step for whoever looks: the event is reached, and the stream idle if it was its last task.
void ThreadStream::finish_task(const MarkerRef& reached) {
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    if (reached) reached->reach();
    ++finished_;
    executing_ = false;
    wake = waiters_ > 0;
  }
  if (wake) progress_.notify_all();
}

}  // namespace storm::sim
