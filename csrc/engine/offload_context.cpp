#include "engine/offload_context.h"

namespace storm {

OffloadContext::OffloadContext(std::shared_ptr<StormSystem> system,
                               const std::vector<at::Tensor>& model)
    : system_(std::move(system)), rules_(system_->device(), system_->config().min_bytes, model) {}

OffloadContext::~OffloadContext() {
  system_->tail().learn(std::move(forward_.run));
}

std::shared_ptr<Tape> OffloadContext::open_tape() {
  std::lock_guard lock(mutex_);
  if (forward_.tape && forward_.tape->finished()) {
    system_->tail().learn(std::move(forward_.run));
    forward_ = {};
  }
  if (!forward_.tape) {
    forward_.tape = std::make_shared<Tape>(system_->transfers(), system_->config().prefetch_bytes);
  }
  return forward_.tape;
}

bool OffloadContext::is_last(size_t bytes) {
  std::lock_guard lock(mutex_);
  return system_->tail().is_last(forward_.run, bytes);
}

SavedTensor OffloadContext::keep(const at::Tensor& tensor, KeepReason reason, Place place) {
  system_->transfers()->counters.keep(reason, tensor.numel() * tensor.element_size());
  return SavedTensor::keep(tensor, std::move(place));
}

SavedTensor OffloadContext::save(const at::Tensor& tensor) {
  system_->check_open();
  if (auto reason = rules_.reason(tensor)) return keep(tensor, *reason);

  auto& counters = system_->transfers()->counters;
  const ByteRange range = moved_bytes(tensor);
  const auto tape = open_tape();
  if (auto bytes = tape->find(tensor, touched_bytes(tensor))) {
    counters.share(touched_bytes(tensor).bytes());
    return SavedTensor::offload(tensor, bytes, Tape::append(tape, bytes, /*first=*/false));
  }
  if (tape->keeps(tensor))
    return keep(tensor, KeepReason::last, Tape::append(tape, nullptr, false));
  if (is_last(range.bytes())) {
    tape->keep(tensor);
    return keep(tensor, KeepReason::last, Tape::append(tape, nullptr, false));
  }

  auto host = system_->acquire_host(range.bytes());
  if (!host) return keep(tensor, KeepReason::host_full, Tape::append(tape, nullptr, false));
  auto bytes =
      std::make_shared<OffloadedStorage>(system_->transfers(), tensor, range, std::move(*host));
  return SavedTensor::offload(tensor, bytes, Tape::append(tape, bytes, /*first=*/true));
}

}  // namespace storm
