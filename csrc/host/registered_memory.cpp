#include "host/registered_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/process.h"

namespace storm {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// Anonymous memory. A child of fork gets none of it: pages that a device reaches cannot be shared
// with one, so the kernel would copy them all at each fork.
class Pages {
 public:
  explicit Pages(size_t bytes)
      : bytes_(round_up(bytes, static_cast<size_t>(sysconf(_SC_PAGESIZE)))) {
    const size_t spare = bytes_ < kHugePage ? 0 : kHugePage;
    void* found =
        mmap(nullptr, bytes_ + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK(found != MAP_FAILED, "mmap of ", format_bytes(bytes_), ": ", std::strerror(errno));
    begin_ = static_cast<std::byte*>(found);
    if (spare > 0) {
      give_back_around(begin_, spare);
      madvise(begin_, bytes_, MADV_HUGEPAGE);  // a kernel without them is right, too
    }
    madvise(begin_, bytes_, MADV_DONTFORK);
  }
  ~Pages() {
    if (owner_ == getpid()) munmap(begin_, bytes_);
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  std::byte* begin() const { return begin_; }
  size_t bytes() const { return bytes_; }
  bool forked_away() const { return owner_ != getpid(); }

 private:
  // Huge pages lie at multiples of their size: of the mapping, keeps the part that begins at one.
  void give_back_around(std::byte* mapped, size_t spare) {
    const auto address = reinterpret_cast<uintptr_t>(mapped);
    const size_t before = round_up(address, kHugePage) - address;
    begin_ = mapped + before;
    if (before > 0) munmap(mapped, before);
    if (spare > before) munmap(begin_ + bytes_, spare - before);
  }

  const pid_t owner_ = getpid();
  size_t bytes_;
  std::byte* begin_;
};

struct Slab {
  Slab(const HostRegistrar& registrar, c10::Device device, size_t bytes)
      : pages(bytes), registrar(registrar), device(device) {
    registrar.pin(pages.begin(), pages.bytes(), device);
  }
  ~Slab() {
    if (!pages.forked_away()) registrar.unpin(pages.begin(), device);
  }
  Pages pages;  // unmapped after they are unpinned
  const HostRegistrar& registrar;
  const c10::Device device;
};

void free_slab(void* context) noexcept {
  if (process_exiting()) return;  // abandoned
  delete static_cast<Slab*>(context);
}

}  // namespace

RegisteredHostMemory::RegisteredHostMemory(const HostRegistrar& registrar, c10::Device device,
                                           std::shared_ptr<HostMemorySource> otherwise)
    : registrar_(registrar), device_(device), otherwise_(std::move(otherwise)) {}

at::DataPtr RegisteredHostMemory::registered(size_t bytes) const {
  auto slab = std::make_unique<Slab>(registrar_, device_, bytes);
  auto* begin = slab->pages.begin();
  return at::DataPtr(begin, slab.release(), &free_slab, at::kCPU);
}

at::DataPtr RegisteredHostMemory::allocate_pinned(size_t bytes) {
  std::string reason;
  try {
    return registered(bytes);
  } catch (const c10::Error& error) {
    reason = error.what_without_backtrace();
  }
  try {
    return otherwise_->allocate_pinned(bytes);
  } catch (const c10::Error& error) {
    TORCH_CHECK(false, "no ", format_bytes(bytes), " of host memory could be pinned for ", device_,
                ": ", reason, "; torch's own allocator: ", error.what_without_backtrace());
  }
}

at::DataPtr RegisteredHostMemory::allocate_pageable(size_t bytes) {
  return otherwise_->allocate_pageable(bytes);
}

}  // namespace storm
