#pragma once

#include "host/registered_memory.h"

namespace storm::cuda {

// cudaHostRegister, portable: every context may copy from and to the memory. See "Slabs" in
// README.md.
class Registrar final : public HostRegistrar {
 public:
  void pin(void* begin, size_t bytes, c10::Device device) const override;
  void unpin(void* begin, c10::Device device) const noexcept override;
};

}  // namespace storm::cuda
