#include "base/build_info.h"

#include <utility>

namespace storm {
namespace {

const VendorBuild* built = nullptr;  // set before anybody can ask, and never freed

}  // namespace

void set_vendor_build(VendorBuild build) {
  built = new VendorBuild(std::move(build));
}

const VendorBuild* vendor_build() noexcept {
  return built;
}

}  // namespace storm
