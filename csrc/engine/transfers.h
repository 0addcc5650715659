#pragma once
#include <c10/core/impl/VirtualGuardImpl.h>

#include "engine/in_flight.h"
#include "engine/memory_pressure.h"
#include "engine/stall_meter.h"
#include "engine/stats.h"
#include "host/pinned_pool.h"
#include "transfer/streams.h"

namespace storm {

// What every offloaded storage of one system shares. Lives as long as the last of them.
class Transfers final : public Holder {
 public:
  Transfers(c10::Device device, std::shared_ptr<PinnedMemoryPool> pool, size_t window_bytes,
            bool measure_stalls)
      : device(device),
        guard(device.type()),
        streams(TransferStreams::of(device)),
        pool(std::move(pool)),
        stalls(measure_stalls),
        in_flight(window_bytes, stalls) {}

  // The stream of `device` that is current on this thread; refuses our own, and one that is being
  // captured.
  c10::Stream compute_stream() const {
    const c10::Stream stream = guard.getStream(device);
    streams.check_compute(stream);
    TORCH_CHECK(!guard.isStreamCapturing(stream), "pamiq_storm cannot offload while a graph of ",
                device,
                " is captured: host memory and copies would be frozen into it. Capture outside the "
                "offload context");
    return stream;
  }

  // The window and what was fetched ahead.
  bool release_held() override {
    const bool ahead = holders.release_held();
    return in_flight.let_go_all() || ahead;
  }

  // Counts for the engine and, while a trace is written, for one module.
  template <class Count>
  void count(Label label, const Count& count) {
    count(counters);
    if (const auto recorder = Recorder::active()) count(recorder->counters(label));
  }

  const c10::Device device;
  const c10::impl::VirtualGuardImpl guard;
  const TransferStreams streams;
  const std::shared_ptr<PinnedMemoryPool> pool;
  StatsCounters counters;
  StallMeter stalls;
  InFlight in_flight;
  Holders holders;  // the tapes
};

}  // namespace storm
