// torch's entry points to the device: availability, pinned memory, generators, resizing.
#pragma once

namespace storm::sim {

// Gives the device its name and hands the hooks to torch; once per process.
void register_backend();

}  // namespace storm::sim
