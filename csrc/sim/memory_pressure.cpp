#include "sim/memory_pressure.h"

#include <atomic>

#include "sim/sim.h"

namespace storm::sim {
namespace {

std::atomic<MemoryPressureCallback> g_callback{nullptr};
thread_local bool t_inside = false;

}  // namespace

void on_memory_pressure(MemoryPressureCallback callback) {
  g_callback = callback;
}

bool relieve_memory_pressure(c10::Device device) noexcept {
  const auto callback = g_callback.load();
  if (callback == nullptr || t_inside) return false;
  t_inside = true;
  const bool again = callback(device);
  t_inside = false;
  return again;
}

}  // namespace storm::sim
