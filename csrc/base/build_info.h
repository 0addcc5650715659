#pragma once
#include <string>
#include <vector>

namespace storm {

// What a vendor's folder was compiled with.
struct VendorBuild {
  std::string toolkit;             // such as "CUDA 13.0"
  std::vector<int> architectures;  // major * 100 + minor * 10
};

// Called while the extension loads, at most once; the built package has one vendor or none.
void set_vendor_build(VendorBuild build);
const VendorBuild* vendor_build() noexcept;  // nullptr: none. Lives as long as the process.

}  // namespace storm
