#pragma once

namespace storm::cuda {

// NVTX, header-only: until a profiler injects itself each call is a load and a branch.
void begin_range(const char* name) noexcept;
void end_range() noexcept;
void mark(const char* name) noexcept;

}  // namespace storm::cuda
