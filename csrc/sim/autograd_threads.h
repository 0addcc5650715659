// Autograd's device threads for a device that appears late.
#pragma once

namespace storm::sim {

// torch starts one backward thread per device at the first backward of the process, and none later.
// If that came before enable(), starts them now. Must not be called with the GIL held.
void start_autograd_threads();

// In a forked child: gives torch a fresh engine at once. The inherited one would wait ten seconds
// at exit for threads that stayed with the parent.
void renew_autograd_engine();

}  // namespace storm::sim
