#include "sim/stream.h"

#include <c10/util/Exception.h>

#include <exception>
#include <utility>

#include "sim/injection.h"
#include "sim/lifecycle.h"
#include "sim/thread_stream.h"
#include "sim/timing/virtual_stream.h"

namespace storm::sim {
namespace {

c10::WarningHandler* ignore_warnings() {
  struct Nobody final : c10::WarningHandler {
    void process(const c10::Warning&) override {}
  };
  static auto* nobody = new Nobody;
  return nobody;
}

}  // namespace

void Stream::push(Task task, const Effects& effects, const Work& work) {
  check_usable();
  if (!running()) return;
  const bool works = task.works();
  if (works) faults_.check_alive();
  if (task.kind() == TaskKind::kernel) task.pace().fails = injected(&Faults::task);
  if (works && detector().on()) detector().issued(name_, task.name(), effects);
  accept(std::move(task), work);
  if (works && injected(&Faults::lose_device)) faults_.lose();
}

MarkerRef Stream::record() {
  check_usable();
  return accept_record(detector().on() ? detector().moment_of(name_) : nullptr);
}

void Stream::wait_for(const MarkerRef& marker) {
  if (detector().on() && marker->known()) detector().stream_waits(name_, marker->known());
  push(Task::wait(marker));
}

bool Stream::idle() {
  if (!running()) return true;
  const Moment known = detector().on() ? detector().moment_of(name_) : nullptr;
  if (!finished()) return false;
  schedule().learn(now());
  if (known) detector().host_learns(known);
  return true;
}

void Stream::drain() {
  check_usable();
  if (!running()) return;
  const Moment known = detector().on() ? detector().moment_of(name_) : nullptr;
  wait_until_finished();
  schedule().learn(now());
  if (known) detector().host_learns(known);
}

void Stream::drain_implicitly() {
  check_usable();
  if (!running()) return;
  wait_until_finished();
  schedule().learn(now());
}

double Stream::slow_down(double factor) {
  std::lock_guard lock(mutex_);
  return std::exchange(slowdown_, factor);
}

void Stream::set_pace(Task& task) {
  if (!task.works()) return;
  task.pace().delay = schedule().next_delay(name_.device, fuzz_);
  task.pace().slowdown = slowdown_;
}

void Stream::run(Task& task) {
  // What a CPU kernel has to say about how it was called is nothing to the program.
  c10::WarningUtils::WarningHandlerGuard quiet(ignore_warnings());
  try {
    TORCH_CHECK(!task.pace().fails, "injected by pamiq_storm.sim.inject");
    task.run();
  } catch (const c10::Error& error) {
    faults_.report(task.name(), error.what_without_backtrace());
  } catch (const std::exception& error) {
    faults_.report(task.name(), error.what());
  }
}

std::unique_ptr<Stream> make_stream_of_kind(StreamName name, FaultSlot& faults) {
  if (clock_is_virtual()) return std::make_unique<VirtualStream>(name, faults);
  return std::make_unique<ThreadStream>(name, faults);
}

}  // namespace storm::sim
