#include "base/blocking_region.h"

#include <atomic>

namespace storm {
namespace {
std::atomic<BlockingRegion::Enter> enter_callback{nullptr};
std::atomic<BlockingRegion::Leave> leave_callback{nullptr};
}  // namespace

void BlockingRegion::set_callbacks(Enter enter, Leave leave) noexcept {
  leave_callback.store(leave);
  enter_callback.store(enter);
}

BlockingRegion::BlockingRegion() noexcept {
  if (auto enter = enter_callback.load()) token_ = enter();
}

BlockingRegion::~BlockingRegion() {
  if (token_ != nullptr) leave_callback.load()(token_);
}

}  // namespace storm
