#include "transfer/host_memory.h"

#include "host/registered_memory.h"
#include "transfer/device_extras.h"

namespace storm {

std::shared_ptr<HostMemorySource> host_memory_of(c10::Device device) {
  auto torchs = std::make_shared<TorchHostMemory>(device.type());
  const auto* extras = device_extras(device.type());
  const auto* registrar = extras != nullptr ? extras->host_registrar() : nullptr;
  if (registrar == nullptr) return torchs;
  return std::make_shared<RegisteredHostMemory>(*registrar, device, std::move(torchs));
}

}  // namespace storm
