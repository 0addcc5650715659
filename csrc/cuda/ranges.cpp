#include "cuda/ranges.h"

#include <nvtx3/nvToolsExt.h>

namespace storm::cuda {

void begin_range(const char* name) noexcept {
  nvtxRangePushA(name);
}
void end_range() noexcept {
  nvtxRangePop();
}
void mark(const char* name) noexcept {
  nvtxMarkA(name);
}

}  // namespace storm::cuda
