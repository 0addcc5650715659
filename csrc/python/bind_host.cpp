#include <ATen/ops/from_blob.h>
#include <torch/csrc/utils/pybind.h>

#include "base/bytes.h"
#include "host/pinned_pool.h"
#include "python/bindings.h"

namespace py = pybind11;

namespace storm::python {
namespace {

// What Python holds: the buffer, shared with the tensors made of it.
class Buffer {
 public:
  explicit Buffer(PinnedMemoryBuffer&& buffer)
      : buffer_(std::make_shared<PinnedMemoryBuffer>(std::move(buffer))) {}

  const PinnedMemoryBuffer& get() const {
    TORCH_CHECK(buffer_ != nullptr, "this buffer of host memory was given back to its pool");
    return *buffer_;
  }

  // Byte tensors over the pieces, in order. The range stays taken while one of them lives.
  std::vector<at::Tensor> tensors() const {
    get();
    std::vector<at::Tensor> views;
    const auto options = at::TensorOptions().dtype(at::kByte).device(at::kCPU);
    for (const auto& piece : buffer_->pieces()) {
      views.push_back(at::from_blob(
          piece.data, {static_cast<int64_t>(piece.bytes)}, [keep = buffer_](void*) {}, options));
    }
    return views;
  }

  at::Tensor tensor() const {
    const size_t pieces = get().pieces().size();
    TORCH_CHECK(pieces == 1, "the ", format_bytes(buffer_->bytes()), " of this buffer lie in ",
                pieces, " pieces: use tensors()");
    return tensors().front();
  }

  void release() { buffer_.reset(); }

  PinnedMemoryBuffer take() {
    get();
    TORCH_CHECK(buffer_.use_count() == 1, "a tensor made of this buffer of ",
                format_bytes(buffer_->bytes()), " still lives: drop it first");
    PinnedMemoryBuffer taken = std::move(*buffer_);
    buffer_.reset();
    return taken;
  }

 private:
  std::shared_ptr<PinnedMemoryBuffer> buffer_;  // null: given back
};

std::shared_ptr<PinnedMemoryPool> make_pool(c10::Device device, size_t slab_bytes,
                                            size_t cap_bytes) {
  TORCH_CHECK_VALUE(!device.is_cpu(), "pinned memory belongs to an accelerator, got ", device);
  return PinnedMemoryPool::create(std::make_shared<TorchHostMemory>(device.type()),
                                  {slab_bytes, cap_bytes});
}

std::shared_ptr<Buffer> acquire(PinnedMemoryPool& pool, size_t bytes, bool pieces) {
  auto buffer = pool.try_acquire(bytes, pieces ? Layout::pieces : Layout::one_piece);
  return buffer ? std::make_shared<Buffer>(std::move(*buffer)) : nullptr;
}

void recycle(PinnedMemoryPool& pool, Buffer& buffer, const std::vector<c10::Stream>& streams) {
  std::vector<EventRef> events;
  for (const auto& stream : streams)
    events.push_back(std::make_shared<const Event>(Event::record(stream)));
  pool.recycle_after(buffer.take(), std::move(events));
}

py::dict pool_stats(PinnedMemoryPool& pool) {
  PoolStats stats;
  {
    py::gil_scoped_release released;
    stats = pool.stats();
  }
  py::dict d;
  d["pinned_bytes"] = stats.pinned_bytes;
  d["pageable_bytes"] = stats.pageable_bytes;
  d["live_bytes"] = stats.live_bytes;
  d["peak_live_bytes"] = stats.peak_live_bytes;
  d["peak_slab_bytes"] = stats.peak_slab_bytes;
  d["hits"] = stats.hits;
  d["misses"] = stats.misses;
  d["pin_failures"] = stats.pin_failures;
  d["refusals"] = stats.refusals;
  d["slabs"] = stats.slabs;
  return d;
}

}  // namespace

void bind_host(py::module_& m) {
  using Released = py::call_guard<py::gil_scoped_release>;
  py::class_<Buffer, std::shared_ptr<Buffer>>(m, "PinnedMemoryBuffer")
      .def_property_readonly("bytes", [](const Buffer& b) { return b.get().bytes(); })
      .def_property_readonly("pinned", [](const Buffer& b) { return b.get().pinned(); })
      .def("tensor", &Buffer::tensor, Released())
      .def("tensors", &Buffer::tensors, Released())
      .def("release", &Buffer::release, Released());
  py::class_<PinnedMemoryPool, std::shared_ptr<PinnedMemoryPool>>(m, "PinnedMemoryPool")
      .def(py::init(&make_pool), py::arg("device"), py::arg("slab_bytes") = PoolConfig{}.slab_bytes,
           py::arg("cap_bytes") = PoolConfig{}.cap_bytes, Released())
      .def("try_acquire", &acquire, py::arg("bytes"), py::arg("pieces") = false, Released())
      .def("recycle_after", &recycle, py::arg("buffer"), py::arg("streams"), Released())
      .def("wait_for_oldest", &PinnedMemoryPool::wait_for_oldest, Released())
      .def("trim", &PinnedMemoryPool::trim, Released())
      .def("stats", &pool_stats)
      .def("reset_peaks", &PinnedMemoryPool::reset_peaks, Released())
      .def("check_invariants", &PinnedMemoryPool::check_invariants, Released());
}

}  // namespace storm::python
