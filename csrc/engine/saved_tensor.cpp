#include "engine/saved_tensor.h"

#include "base/check.h"

namespace storm {

SavedTensor SavedTensor::keep(const at::Tensor& tensor, Place place) {
  SavedTensor saved;
  // Shares storage and version counter, not the history: an operation that saves its own output would otherwise
  // own itself.
  saved.kept_ = tensor.tensor_data();
  if (!tensor.is_inference()) saved.kept_version_ = tensor._version();
  saved.place_ = std::move(place);
  return saved;
}

SavedTensor SavedTensor::offload(const at::Tensor& tensor, std::shared_ptr<OffloadedStorage> bytes, Place place) {
  SavedTensor saved;
  saved.bytes_ = std::move(bytes);
  saved.geometry_.emplace(tensor);
  saved.place_ = std::move(place);
  return saved;
}

void SavedTensor::check_unchanged() const {
  uint32_t expected = 0, found = 0;
  if (bytes_) {
    expected = bytes_->identity().version;
    found = bytes_->identity().counter.current_version();
  } else if (kept_version_) {
    expected = *kept_version_;
    found = kept_._version();
  }
  TORCH_CHECK(found == expected,
              "one of the variables needed for gradient computation has been modified by an inplace operation: it is "
              "at version ", found, "; expected version ", expected,
              " instead. Hint: enable anomaly detection to find the operation that failed to compute its gradient, "
              "with torch.autograd.set_detect_anomaly(True).");
}

at::Tensor SavedTensor::fetch() const {
  STORM_INVARIANT(kept_.defined() || bytes_, "an empty handle was fetched.");
  check_unchanged();
  if (!bytes_) {
    if (place_) place_.reached();
    return kept_;
  }
  auto loan = place_.take(*bytes_);
  return geometry_->over(loan.storage, loan.begin);
}

}  // namespace storm
