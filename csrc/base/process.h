#pragma once

namespace storm {

// After `process_exiting()` the device, its driver and torch's allocators may be gone at any
// moment: owners of device handles abandon them instead of destroying them, and no destructor asks
// for a lock, which a thread that is gone may have held. Set once, by Python's atexit, or at the
// beginning of a forked child whose parent has offloaded; never unset.
bool process_exiting() noexcept;
void set_process_exiting() noexcept;

}  // namespace storm
