// One entry of a stream's queue: a kernel, a copy, a recorded moment or a wait.
#pragma once

#include <chrono>
#include <memory>
#include <utility>

#include "sim/event.h"

namespace storm::sim {

enum class TaskKind { kernel, copy, record, wait, housekeeping };

// How a task is to run, decided when it is issued.
struct Pace {
  std::chrono::nanoseconds delay{0};  // before it starts
  double slowdown = 1;                // it takes this many times as long
  bool fails = false;                 // instead of running
};

// Move-only. Closures own or alias what they touch by raw address, never a user's tensor object:
// its destruction could need the GIL.
class Task {
 public:
  Task() = default;

  template <class Body>
  Task(TaskKind kind, const char* name, Body body)
      : kind_(kind), name_(name), work_(std::make_unique<Closure<Body>>(std::move(body))) {}

  static Task record(MarkerRef marker) {
    return {TaskKind::record, "record", std::move(marker), Moment{}};
  }
  static Task wait(MarkerRef marker) {
    return {TaskKind::wait, "wait", std::move(marker), Moment{}};
  }

  TaskKind kind() const noexcept { return kind_; }
  const char* name() const noexcept { return name_; }
  const MarkerRef& marker() const noexcept { return marker_; }
  Pace& pace() noexcept { return pace_; }

  // What a GPU takes time for, unlike entries that only keep order.
  bool works() const noexcept { return kind_ == TaskKind::kernel || kind_ == TaskKind::copy; }

  void run() { work_->run(); }

 private:
  struct Work {
    virtual ~Work() = default;
    virtual void run() = 0;
  };
  template <class Body>
  struct Closure final : Work {
    explicit Closure(Body body) : body(std::move(body)) {}
    void run() override { body(); }
    Body body;
  };

  struct Moment {};
  Task(TaskKind kind, const char* name, MarkerRef marker, Moment)
      : kind_(kind), name_(name), marker_(std::move(marker)) {}

  TaskKind kind_ = TaskKind::housekeeping;
  const char* name_ = "";  // static or interned
  std::unique_ptr<Work> work_;
  MarkerRef marker_;
  Pace pace_;
};

}  // namespace storm::sim
