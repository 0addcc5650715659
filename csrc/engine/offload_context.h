#pragma once
#include <memory>
#include <mutex>

#include "engine/keep_rules.h"
#include "engine/saved_tensor.h"
#include "engine/storm_system.h"
#include "engine/tape.h"

namespace storm {

// One stretch of a program whose saved tensors go through a system: one entry of `with
// offload(...)`, or the layers outside any. Decides what moves and keeps the order. Thread-safe.
class OffloadContext {
 public:
  // `model` holds the parameters and buffers that stay.
  OffloadContext(std::shared_ptr<StormSystem> system, const std::vector<at::Tensor>& model);
  ~OffloadContext();
  OffloadContext(const OffloadContext&) = delete;
  OffloadContext& operator=(const OffloadContext&) = delete;

  // What autograd asks for each tensor it saves. Does not synchronise, save when the host cap is
  // reached.
  SavedTensor save(const at::Tensor& tensor);
  const std::shared_ptr<StormSystem>& system() const { return system_; }

 private:
  struct Forward {  // one forward: its tape and how far it resembles the one before
    std::shared_ptr<Tape> tape;
    Tail::Run run;
  };
  std::shared_ptr<Tape> open_tape();
  bool is_last(size_t bytes);
  SavedTensor keep(const at::Tensor& tensor, KeepReason reason, Place place = {});

  const std::shared_ptr<StormSystem> system_;
  const KeepRules rules_;

  std::mutex mutex_;  // guards forward_
  Forward forward_;
};

}  // namespace storm
