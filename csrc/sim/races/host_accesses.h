// What the host itself reads and writes of pinned memory, seen through torch's CPU operations.
#pragma once

namespace storm::sim {

// While on, each CPU operation on a tensor in pinned memory is told to the detector. Unseen stay
// accesses that are no operation: numpy arrays, memcpy, data_ptr.
void watch_host_accesses(bool on);

}  // namespace storm::sim
