#pragma once

// Functions of which a compiler for the device makes two: the kernel's, and the one that every
// other compiler makes too, so that the same arithmetic is tested without a device.
#ifdef __CUDACC__
#define STORM_HOST_DEVICE __host__ __device__
#else
#define STORM_HOST_DEVICE
#endif
