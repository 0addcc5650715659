#include "engine/offload_context.h"

#include "base/process.h"
#include "transfer/range.h"

namespace storm {

OffloadContext::OffloadContext(std::shared_ptr<StormSystem> system,
                               const std::vector<at::Tensor>& model)
    : system_(std::move(system)), rules_(system_->device(), system_->config().min_bytes, model) {}

OffloadContext::~OffloadContext() {
  if (process_exiting()) return;  // nobody learns from it any more
  system_->tail().learn(std::move(forward_.run));
}

std::shared_ptr<Tape> OffloadContext::open_tape() {
  std::lock_guard lock(mutex_);
  if (forward_.tape && forward_.tape->finished()) {
    system_->tail().learn(std::move(forward_.run));
    forward_ = {};
  }
  if (!forward_.tape) {
    mark(system_->device().type(), "storm::forward");
    forward_.tape = Tape::open(system_->transfers(), system_->config().prefetch_bytes);
  }
  return forward_.tape;
}

bool OffloadContext::is_last(size_t bytes) {
  std::lock_guard lock(mutex_);
  return system_->tail().is_last(forward_.run, bytes);
}

SavedTensor OffloadContext::keep(const at::Tensor& tensor, KeepReason reason, Place place) {
  system_->transfers()->count(current_label(), [&](auto& counters) {
    counters.keep(reason, tensor.numel() * tensor.element_size());
  });
  return SavedTensor::keep(tensor, std::move(place));
}

SavedTensor OffloadContext::save(const at::Tensor& tensor) {
  system_->check_open();
  ByteRange own;
  if (auto reason = rules_.reason(tensor, own)) return keep(tensor, *reason);

  const Range named(tensor.device().type(), "storm::offload");
  const auto tape = open_tape();
  const auto known = tape->find(tensor, own);
  if (known.bytes) {
    known.bytes->used_on(system_->transfers()->compute_stream(), tensor);
    system_->transfers()->count(current_label(),
                                [&](auto& counters) { counters.share(own.bytes()); });
    return SavedTensor::offload(tensor, known.bytes,
                                Tape::append(tape, known.bytes, /*first=*/false));
  }
  if (known.stays) return keep(tensor, KeepReason::last, Tape::append(tape, nullptr, false));
  const ByteRange range = moved_bytes(tensor.storage(), own);
  if (is_last(range.bytes())) {
    tape->keep(tensor);
    return keep(tensor, KeepReason::last, Tape::append(tape, nullptr, false));
  }

  auto bytes = system_->send(tensor, range);
  if (!bytes) return keep(tensor, KeepReason::host_full, Tape::append(tape, nullptr, false));
  return SavedTensor::offload(tensor, bytes, Tape::append(tape, bytes, /*first=*/true));
}

}  // namespace storm
