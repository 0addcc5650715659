// Requests for device memory that are to fail.
#pragma once

namespace cuda_double {

// Raises OutOfMemoryError if this one is; see storm::sim::Injection.
void fail_on_demand();

// Also for who asks torch's allocator itself; once.
void fail_allocations_on_demand();

}  // namespace cuda_double
