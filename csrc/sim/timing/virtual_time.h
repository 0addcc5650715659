// The virtual clock: the host's time, and the time lines of a device's engines. Nothing sleeps and
// nothing is measured; a program's own calls move it, so the same program gives the same times.
#pragma once

#include <cstdint>
#include <memory>

#include "sim/timing/profile.h"
#include "sim/timing/work.h"

namespace storm::sim {

struct Placement {
  int64_t begin_ns = 0;
  int64_t end_ns = 0;
};

class VirtualTime {
 public:
  static VirtualTime& instance();  // leaked: see README.md

  // Fixed before the first stream is made.
  bool on() const noexcept;
  void turn_on();

  void set_profile(const Profile& profile);
  Profile profile() const;

  // The host's time: from here on it is at least this late, or later by this much.
  int64_t host_ns() const noexcept;
  void host_waits_until(int64_t ns);
  void host_works(double seconds);

  // For calls that cost the host a known time; no-ops while off. The first two check the thread.
  void charge_call();                 // an event recorded, waited for or queried
  void charge_pinning(size_t bytes);  // waits for the device, as drivers do
  void charge_unpinning();
  void charge_device_malloc();
  void charge_device_free();

  // The host's thread is the first one that issues; autograd's may while it waits for them. Raises
  // for others: their order would depend on chance.
  void check_thread();

  // Charges the launch, then takes the first free time of the engine that the work needs, not
  // before `ready`, which is in nanoseconds, and not before the host's time.
  Placement place(const Work& work, int64_t ready, double slowdown, int64_t delay);

 private:
  struct State;
  VirtualTime();

  Placement place_kernel(const Work& work, int64_t ready, double slowdown);
  Placement place_copy(const Work& work, int64_t ready, double slowdown);

  std::unique_ptr<State> state_;
};

inline VirtualTime& virtual_time() {
  return VirtualTime::instance();
}

}  // namespace storm::sim
