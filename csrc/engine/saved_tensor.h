#pragma once
#include <ATen/core/Tensor.h>

#include <memory>

#include "engine/geometry.h"
#include "engine/identity.h"
#include "engine/offloaded_storage.h"
#include "engine/tape.h"

namespace storm {

// One tensor autograd saved: kept as it is, or a geometry over offloaded bytes. Movable handle,
// shared by nobody; any number may point to the same bytes. Fetching does not consume it.
class SavedTensor {
 public:
  SavedTensor() = default;  // holds nothing
  // Stays on the device. With a place, asking for it tells the tape where backward has come to.
  static SavedTensor keep(const at::Tensor& tensor, Place place = {});
  static SavedTensor offload(const at::Tensor& tensor, std::shared_ptr<OffloadedStorage> bytes,
                             Place place);

  // The tensor, ready in the current stream's order, without autograd history. Throws torch's own
  // error when it was changed in place since.
  at::Tensor fetch() const;
  bool offloaded() const { return away_ != nullptr; }

 private:
  struct Away {
    std::shared_ptr<OffloadedStorage> bytes;
    Geometry geometry;
  };
  void check_unchanged() const;

  // Most saved tensors are small ones that stay, so theirs is the short way: no allocation but the
  // tensor's own.
  at::Tensor kept_;
  uint32_t kept_version_ = 0;
  std::unique_ptr<Away> away_;
  Place place_;
};

}  // namespace storm
