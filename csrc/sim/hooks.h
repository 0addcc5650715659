// torch's entry points to the device: availability, pinned memory, generators, resizing.
#pragma once

namespace storm::sim {

// Hands the hooks to torch; once per process.
void register_hooks();

}  // namespace storm::sim
