#include "copy.h"

#include <ATen/ops/copy_native.h>
#include <torch/library.h>

#include <cstring>
#include <optional>
#include <utility>

#include "arena.h"
#include "overrides.h"
#include "sim/device.h"
#include "sim/host_view.h"
#include "sim/injection.h"
#include "sim/launch.h"
#include "sim/pinned_ranges.h"
#include "sim/settings.h"

namespace cuda_double {
namespace {

using at::Tensor;
using storm::sim::device;
using storm::sim::DeviceIndex;
using storm::sim::Effects;
using storm::sim::Task;
using storm::sim::TaskKind;

// The tensors that torch is copying on this thread, so that reports can name them.
struct Copied {
  const Tensor* to = nullptr;
  const Tensor* from = nullptr;
};
thread_local Copied t_copied;

class Copying {
 public:
  Copying(const Tensor& to, const Tensor& from) : before_(std::exchange(t_copied, {&to, &from})) {}
  Copying(const Copying&) = delete;
  Copying& operator=(const Copying&) = delete;
  ~Copying() { t_copied = before_; }

 private:
  const Copied before_;
};

const Tensor* whole_tensor(const Tensor* tensor, const void* begin, size_t bytes) {
  if (tensor == nullptr || tensor->unsafeGetTensorImpl()->data() != begin) return nullptr;
  return tensor->nbytes() == bytes ? tensor : nullptr;
}

bool seen_by_detector(const void* address) {
  return Arena::device_of(address) >= 0 || storm::sim::pinned_ranges().contains(address);
}

// Nobody would notice that pageable memory is freed.
Effects effects_of(const void* to, const void* from, size_t bytes) {
  Effects effects;
  if (seen_by_detector(from)) {
    const Tensor* tensor = whole_tensor(t_copied.from, from, bytes);
    tensor != nullptr ? effects.reads(*tensor, "src") : effects.reads(from, bytes);
  }
  if (seen_by_detector(to)) {
    const Tensor* tensor = whole_tensor(t_copied.to, to, bytes);
    tensor != nullptr ? effects.writes(*tensor, "self") : effects.writes(to, bytes);
  }
  return effects;
}

void check_alive(const void* begin, size_t bytes) {
  TORCH_CHECK(Arena::device_of(begin) < 0 || Arena::instance().is_taken(begin, bytes), "a copy of ",
              bytes, " bytes leaves the memory that cudaMalloc gave");
}

double link_rate(bool d2h, bool pinned) {
  const auto& s = storm::sim::settings();
  const double link = d2h ? s.d2h_bytes_per_s : s.h2d_bytes_per_s;
  const double pageable = s.pageable_bytes_per_s;
  if (pinned || pageable == 0) return link;
  return link == 0 ? pageable : std::min(link, pageable);
}

struct LinkCopy {
  char* to;
  const char* from;
  size_t bytes;
  double rate;
  storm::sim::CopyEngine* engine;
  bool fails;
  std::unique_ptr<char[]> staged;  // owns `from`, if it is not null

  void operator()() const {
    if (fails) {
      std::memset(to, 0xFF, bytes);  // nobody may take what lies there for its contents
      TORCH_CHECK(false, "injected by pamiq_storm.sim.inject");
    }
    engine->transfer(bytes, rate, [this](size_t begin, size_t end) {
      std::memcpy(to + begin, from + begin, end - begin);
    });
  }
};

void copy_over_link(void* to, const void* from, size_t bytes, storm::sim::Stream& stream) {
  const bool d2h = Arena::device_of(to) < 0;
  auto& dev = device(static_cast<DeviceIndex>(Arena::device_of(d2h ? from : to)));
  const bool pinned = storm::sim::pinned_ranges().contains(d2h ? to : from);
  dev.check_alive();
  LinkCopy copy{static_cast<char*>(Arena::bytes_behind(to)),
                static_cast<const char*>(Arena::bytes_behind(from)),
                bytes,
                link_rate(d2h, pinned),
                d2h ? &dev.d2h() : &dev.h2d(),
                storm::sim::injected(&storm::sim::Faults::copy),
                nullptr};
  if (!pinned) storm::sim::counters().pageable_copies += 1;
  if (!pinned && !d2h) {
    stream.drain_implicitly();  // CUDA starts a pageable copy on an idle stream
    copy.staged = std::make_unique<char[]>(bytes);
    std::memcpy(copy.staged.get(), from, bytes);
    copy.from = copy.staged.get();
  }
  stream.push(Task(TaskKind::copy, d2h ? "copy_d2h" : "copy_h2d", std::move(copy)),
              effects_of(to, from, bytes), {});
  if (pinned || !d2h) return;
  storm::sim::counters().synchronisations += 1;
  stream.drain();
  dev.raise_fault();
}

void copy_on_device(void* to, const void* from, size_t bytes, storm::sim::Stream& stream) {
  stream.push(Task(TaskKind::kernel, "copy_d2d",
                   [to = Arena::bytes_behind(to), from = Arena::bytes_behind(from), bytes] {
                     std::memmove(to, from, bytes);
                   }),
              effects_of(to, from, bytes), {});
}

// What torch gives to a copy engine and not to a kernel.
bool same_layout(const Tensor& to, const Tensor& from) {
  return to.scalar_type() == from.scalar_type() && to.sizes() == from.sizes() &&
         to.strides() == from.strides() && to.is_non_overlapping_and_dense() &&
         to.is_conj() == from.is_conj() && to.is_neg() == from.is_neg();
}

Tensor& copy_tensor(Tensor& self, const Tensor& src, bool non_blocking) {
  const bool by_kernel = self.is_cuda() && src.is_cuda() && self.device() == src.device() &&
                         !same_layout(self, src) && self.numel() != 0;
  if (!by_kernel) {
    const Copying copying(self, src);
    return at::native::copy_(self, src, non_blocking);
  }
  storm::sim::CurrentDevice guard(self.device().index());
  storm::sim::launch(
      "copy_", Effects().reads(src, "src").writes(self, "self"),
      [from = storm::sim::host_view(src), to = storm::sim::host_view(self)] { to.copy_(from); });
  return self;
}

const Kernels kernels([](torch::Library& m) { m.impl("copy_", copy_tensor); });

}  // namespace

void copy_bytes(void* to, const void* from, size_t bytes, storm::sim::Stream& stream) {
  check_alive(to, bytes);
  check_alive(from, bytes);
  const bool to_device = Arena::device_of(to) >= 0, from_device = Arena::device_of(from) >= 0;
  TORCH_CHECK(to_device || from_device, "the CUDA double copies no host memory to host memory");
  if (to_device && from_device) return copy_on_device(to, from, bytes, stream);
  copy_over_link(to, from, bytes, stream);
}

}  // namespace cuda_double
