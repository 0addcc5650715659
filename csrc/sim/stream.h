// A stream, seen from the host: work is pushed, events order it. Two kinds of time, two kinds of
// streams: thread_stream.h runs tasks behind the host's back, timing/virtual_stream.h at once.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "sim/clock.h"
#include "sim/effects.h"
#include "sim/fault.h"
#include "sim/races/detector.h"
#include "sim/schedule.h"
#include "sim/task.h"
#include "sim/timing/work.h"

namespace storm::sim {

class Stream {
 public:
  Stream(StreamName name, FaultSlot& faults) : name_(name), faults_(faults) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  virtual ~Stream() = default;

  // Does not synchronise, but may block while too many tasks wait, as a driver's launch queue does.
  // Raises for a kernel or a copy if the device is lost; what frees memory passes.
  void push(Task task, const Effects& effects, const Work& work);

  // The same for what only keeps order or frees memory.
  void push(Task task) { push(std::move(task), {}, {.empty = true}); }

  // A marker reached when everything pushed so far is done, or dropped by a lost device.
  MarkerRef record();
  void wait_for(const MarkerRef& marker);

  // False as long as the last task has not returned.
  bool idle();

  // Blocks until all that was pushed before the call is done.
  void drain();

  // The same where a driver happens to wait: nothing to rely on, so the race detector gives it no
  // meaning.
  void drain_implicitly();

  // Kernels and copies pushed from now on take `factor` times as long; returns the factor before.
  double slow_down(double factor);

  // Blocks, at most until `deadline`, while a task runs. For the end of the process.
  virtual void quiesce(TimePoint deadline) = 0;

 protected:
  virtual void accept(Task task, const Work& work) = 0;
  virtual MarkerRef accept_record(Moment known) = 0;
  virtual bool finished() = 0;
  virtual void wait_until_finished() = 0;

  // Decided when a task is issued, never when it runs. With mutex_ held.
  void set_pace(Task& task);

  // Runs a kernel or a copy; its errors are kept by the device.
  void run(Task& task);

  const StreamName name_;
  FaultSlot& faults_;
  mutable std::mutex mutex_;  // guards all that follows, and what derived classes say

 private:
  double slowdown_ = 1;
  FuzzPosition fuzz_;
};

std::unique_ptr<Stream> make_stream_of_kind(StreamName name, FaultSlot& faults);

}  // namespace storm::sim
