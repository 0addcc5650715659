#pragma once

namespace storm {

// After `process_exiting()` the device, its driver and torch's allocators may be gone at any
// moment: owners of device handles abandon them instead of destroying them. Set once, by Python's
// atexit; never unset.
bool process_exiting() noexcept;
void set_process_exiting() noexcept;

}  // namespace storm
