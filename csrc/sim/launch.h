// Issuing kernels on the current stream of the current device.
#pragma once

#include <exception>
#include <utility>

#include "sim/counters.h"
#include "sim/device.h"
#include "sim/effects.h"
#include "sim/lifecycle.h"
#include "sim/settings.h"
#include "sim/timing/work.h"

namespace storm::sim {

// Runs `body` in stream order. Does not synchronise. `name` must live for ever.
template <class Body>
void launch(const char* name, const Effects& effects, const Work& work, Body body) {
  counters().async_kernels += 1;
  current_queue().push(Task(TaskKind::kernel, name, std::move(body)), effects, work);
  if (settings().synchronous) device(current_device()).synchronize(current_stream().id());
}

// Of work that memory alone limits.
template <class Body>
void launch(const char* name, const Effects& effects, Body body) {
  launch(name, effects, Work::over(effects), std::move(body));
}

// Runs `body` in stream order and waits for it; its exceptions are the caller's.
template <class Body>
void launch_and_wait(const char* name, const Effects& effects, const Work& work, Body body) {
  check_not_halting();
  counters().sync_kernels += 1;
  std::exception_ptr error;
  auto& queue = current_queue();
  queue.push(Task(TaskKind::kernel, name,
                  [&error, &body] {
                    try {
                      body();
                    } catch (...) {
                      error = std::current_exception();
                    }
                  }),
             effects, work);
  counters().synchronisations += 1;
  queue.drain();
  if (error) std::rethrow_exception(error);
  device(current_device()).raise_fault();
}

}  // namespace storm::sim
