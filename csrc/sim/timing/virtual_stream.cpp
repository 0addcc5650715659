#include "sim/timing/virtual_stream.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/record_function.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>
#include <utility>

#include "sim/counters.h"
#include "sim/settings.h"
#include "sim/timing/timeline.h"
#include "sim/timing/virtual_time.h"

namespace storm::sim {

void VirtualStream::accept(Task task, const Work& work) {
  if (task.kind() == TaskKind::wait) {
    TORCH_CHECK(task.marker()->has_due_time(),
                "sim: a stream cannot be held under clock='virtual': how long is unknown; use "
                "clock='threads'");
    std::lock_guard lock(mutex_);
    end_ns_ = std::max(end_ns_, nanoseconds(task.marker()->time().time_since_epoch()));
    return;
  }
  if (task.works()) {
    auto& time = virtual_time();
    time.check_thread();
    std::lock_guard lock(mutex_);
    set_pace(task);
    const auto placed = time.place(work, end_ns_, task.pace().slowdown, task.pace().delay.count());
    end_ns_ = placed.end_ns;
    count(task, work, placed.begin_ns, placed.end_ns);
  }
  execute(task);
}

// Ghost memory has no values to compute with.
void VirtualStream::execute(Task& task) {
  if (settings().ghost || faults_.lost()) {
    if (task.pace().fails) run(task);
    return;
  }
  at::AutoDispatchBelowADInplaceOrView no_autograd;
  c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  at::RecordFunctionGuard not_the_programs_own(/*is_enabled=*/false);
  run(task);
}

void VirtualStream::count(const Task& task, const Work& work, int64_t begin_ns,
                          int64_t end_ns) const {
  auto& c = counters();
  const int64_t busy = end_ns - begin_ns;
  if (task.kind() == TaskKind::copy) {
    auto& link = work.unit == Unit::d2h ? c.d2h : c.h2d;
    link.copies += 1;
    link.bytes += static_cast<int64_t>(work.bytes);
    link.busy_ns += busy;
  } else if (!work.crosses_link()) {
    c.compute_busy_ns += busy;
    c.add_flops(work.flops);
  }
  if (timeline().on()) {
    timeline().add(
        {work.unit, task.name(), name_.stream, begin_ns, end_ns, static_cast<int64_t>(work.bytes)});
  }
}

MarkerRef VirtualStream::accept_record(Moment known) {
  std::lock_guard lock(mutex_);
  return std::make_shared<Marker>(std::move(known), at_ns(std::max(end_ns_, virtual_ns())));
}

bool VirtualStream::finished() {
  std::lock_guard lock(mutex_);
  return end_ns_ <= virtual_ns();
}

void VirtualStream::wait_until_finished() {
  int64_t end = 0;
  {
    std::lock_guard lock(mutex_);
    end = end_ns_;
  }
  virtual_time().host_waits_until(end);
}

}  // namespace storm::sim
