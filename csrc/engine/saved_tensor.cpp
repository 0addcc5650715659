#include "engine/saved_tensor.h"

#include "base/check.h"
#include "transfer/range.h"

namespace storm {
namespace {

// Inference tensors have no counter; they cannot be changed unseen either.
uint32_t version_of(const at::Tensor& tensor) {
  const auto& counter = tensor.unsafeGetTensorImpl()->version_counter();
  return counter.enabled() ? counter.current_version() : 0;
}

}  // namespace

SavedTensor SavedTensor::keep(const at::Tensor& tensor, Place place) {
  SavedTensor saved;
  // Shares storage and version counter, not the history: an operation that saves its own output
  // would otherwise own itself. A leaf has none; it may get new `.data`, or be of a user's class:
  // it stays itself.
  saved.kept_ = tensor.is_leaf() ? tensor : tensor.tensor_data();
  saved.kept_version_ = version_of(saved.kept_);
  saved.place_ = std::move(place);
  return saved;
}

SavedTensor SavedTensor::offload(const at::Tensor& tensor, std::shared_ptr<OffloadedStorage> bytes,
                                 Place place) {
  SavedTensor saved;
  saved.away_ = std::make_unique<Away>(Away{std::move(bytes), Geometry(tensor)});
  saved.place_ = std::move(place);
  return saved;
}

void SavedTensor::check_unchanged() const {
  const uint32_t expected = away_ ? away_->bytes->identity().version : kept_version_;
  const uint32_t found =
      away_ ? away_->bytes->identity().counter.current_version() : version_of(kept_);
  TORCH_CHECK(found == expected,
              "one of the variables needed for gradient computation has been modified by an "
              "inplace operation: it is "
              "at version ",
              found, "; expected version ", expected,
              " instead. Hint: enable anomaly detection to find the operation that failed to "
              "compute its gradient, "
              "with torch.autograd.set_detect_anomaly(True).");
}

at::Tensor SavedTensor::fetch() const {
  STORM_INVARIANT(kept_.defined() || away_, "an empty handle was fetched.");
  check_unchanged();
  if (!away_) {
    if (place_) place_.reached();
    return kept_;
  }
  const Range range(away_->bytes->device().type(), "storm::fetch");
  auto loan = place_.take(*away_->bytes);
  auto tensor = away_->geometry.over(loan.storage, loan.begin);
  // As without us, where both are one tensor: a backward that changes what it was given is seen by
  // the next taker of the same bytes.
  tensor.unsafeGetTensorImpl()->set_version_counter(away_->bytes->identity().counter);
  return tensor;
}

}  // namespace storm
