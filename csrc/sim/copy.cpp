#include "sim/copy.h"

#include <ATen/ops/clone.h>
#include <ATen/ops/empty.h>

#include <cstring>

#include "sim/host_allocator.h"
#include "sim/host_view.h"
#include "sim/injection.h"
#include "sim/launch.h"
#include "sim/lifecycle.h"
#include "sim/pinned_ranges.h"

namespace storm::sim {
namespace {

constexpr size_t kClearedBytes = size_t{1} << 20;

// Same bytes in the same order: what a copy engine can move without a kernel.
bool same_layout(const at::Tensor& from, const at::Tensor& to) {
  return from.scalar_type() == to.scalar_type() && from.sizes() == to.sizes() &&
         from.strides() == to.strides() && from.is_non_overlapping_and_dense() && !from.is_conj() &&
         !from.is_neg() && !to.is_conj() && !to.is_neg();
}

void copy_within(const at::Tensor& from, const at::Tensor& to) {
  launch("copy_", Effects().reads(from, "src").writes(to, "self"),
         [from = host_view(from), to = host_view(to)] { to.copy_(from); });
}

// As CUDA does it: the source's stream copies after the target's stream has come so far, and the
// target's stream goes on after the copy.
void copy_between(const at::Tensor& from, const at::Tensor& to) {
  auto& source = stream_of(current_stream(from.device().index()));
  auto& target = stream_of(current_stream(to.device().index()));
  source.wait_for(target.record());
  {
    CurrentDevice guard(from.device().index());
    copy_within(from, to);
  }
  target.wait_for(source.record());
}

struct LinkCopy {
  at::Tensor from;  // host views or staged memory
  at::Tensor to;
  bool plain;
  double rate;
  CopyEngine* engine;
  bool fails = false;

  void operator()() const {
    if (fails) return fail();
    const size_t bytes = to.nbytes();
    auto* out = static_cast<char*>(to.mutable_data_ptr());
    const auto* in = static_cast<const char*>(from.const_data_ptr());
    const auto move = [&](size_t begin, size_t end) {
      if (plain) std::memcpy(out + begin, in + begin, end - begin);
      if (!plain && end == bytes) to.copy_(from);  // conversions happen on one side of the link
    };
    if (clock_is_virtual()) return move(0, bytes);  // its stream knows how long it takes
    engine->transfer(bytes, rate, move);
  }

  // Nobody may take what lies in the target for its contents.
  void fail() const {
    auto poison = at::empty(to.sizes(), to.options());
    std::memset(poison.mutable_data_ptr(), 0xFF, poison.nbytes());
    to.copy_(poison);
    TORCH_CHECK(false, "injected by pamiq_storm.sim.inject");
  }
};

double link_rate(bool d2h, bool pinned) {
  const auto& s = settings();
  const double link = d2h ? s.d2h_bytes_per_s : s.h2d_bytes_per_s;
  const double pageable = s.pageable_bytes_per_s;
  if (pinned || pageable == 0) return link;
  return link == 0 ? pageable : std::min(link, pageable);
}

// Conversions of type happen on the host's side.
double crossing_bytes(const at::Tensor& from, const at::Tensor& to) {
  const auto& on_the_device = on_device(from) ? from : to;
  return static_cast<double>(to.numel()) * static_cast<double>(on_the_device.itemsize());
}

// Ghost memory has no contents, but the host must not act on chance either.
void clear_small_result(const at::Tensor& to) {
  if (settings().ghost && to.nbytes() <= kClearedBytes) host_view(to).zero_();
}

// A side that is not laid out like what crosses the link is copied on its own side, as CUDA does
// it: by a kernel and memory of the device, or by the host, for which the caller waits.
void gather_on_device(const at::Tensor& tensor, bool reads) {
  if (!clock_is_virtual() || tensor.is_non_overlapping_and_dense()) return;
  const auto staged = at::empty(tensor.sizes(), tensor.options());
  Effects effects;
  if (reads) effects.reads(tensor, "src").writes(staged);
  if (!reads) effects.reads(staged).writes(tensor, "self");
  launch("copy_contiguous", effects, [] {});
}

void copy_over_link(const at::Tensor& from, const at::Tensor& to, bool non_blocking) {
  const bool d2h = on_device(from);
  const at::Tensor& host = d2h ? to : from;
  const auto index = (d2h ? from : to).device().index();
  auto& dev = device(index);
  const auto stream = current_stream(index);
  const bool host_is_pinned = pinned_ranges().contains(host.const_data_ptr());
  const bool host_converts =
      from.scalar_type() != to.scalar_type() || !host.is_non_overlapping_and_dense();
  const bool pinned = host_is_pinned && !(host_converts && clock_is_virtual());
  const bool stage = non_blocking && !pinned && !d2h && !clock_is_virtual();
  const bool blocking = !stage && !(non_blocking && pinned);
  if (blocking) check_not_halting();

  LinkCopy copy{host_view(from), host_view(to), same_layout(from, to), link_rate(d2h, pinned),
                d2h ? &dev.d2h() : &dev.h2d()};
  dev.check_alive();
  copy.fails = injected(&Faults::copy);
  if (stage) {
    dev.synchronize_implicitly(stream.id());  // CUDA starts a pageable copy on an idle stream
    copy.from = from.detach().clone();
  }
  if (host_is_pinned) {
    record_pinned_use(host.const_data_ptr(), host.storage().data_ptr().get_context(), stream);
  }
  if (!pinned) counters().pageable_copies += 1;
  CurrentDevice guard(index);
  if (d2h) gather_on_device(from, /*reads=*/true);
  Effects effects;  // of pageable memory nobody would notice that it is freed
  if (d2h || host_is_pinned) effects.reads(from, "src");
  if (!d2h || host_is_pinned) effects.writes(to, "self");
  const auto work = Work::link(d2h, crossing_bytes(from, to), pinned);
  dev.stream(stream.id())
      .push(Task(TaskKind::copy, d2h ? "copy_d2h" : "copy_h2d", std::move(copy)), effects, work);
  if (!d2h) gather_on_device(to, /*reads=*/false);
  if (d2h && !host_is_pinned) clear_small_result(to);
  if (!blocking) return;
  if (non_blocking && !d2h) return dev.synchronize_implicitly(stream.id());
  dev.synchronize(stream.id());
}

}  // namespace

void copy_tensor(const at::Tensor& from, const at::Tensor& to, bool non_blocking) {
  if (to.numel() == 0) return;
  if (!on_device(from) || !on_device(to)) {
    const at::Tensor& other = on_device(from) ? to : from;
    TORCH_CHECK(other.is_cpu(), "sim: cannot copy between ", from.device(), " and ", to.device());
    return copy_over_link(from, to, non_blocking);
  }
  if (from.device() != to.device()) return copy_between(from, to);
  CurrentDevice guard(to.device().index());
  copy_within(from, to);
}

}  // namespace storm::sim
