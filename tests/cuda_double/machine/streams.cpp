#include "streams.h"

#include <array>

#include "sim/device.h"

namespace cuda_double {
namespace {

// Filled while storm::sim::device() makes its devices.
std::array<StreamTable*, storm::sim::kMaxDevices> g_tables{};

bool is_default(cudaStream_t stream) {
  return stream == nullptr || stream == cudaStreamLegacy || stream == cudaStreamPerThread;
}

StreamHandle& inside(cudaStream_t stream) {
  return *reinterpret_cast<StreamHandle*>(stream);
}

}  // namespace

StreamTable::StreamTable(int device, storm::sim::FaultSlot& faults)
    : device_(device), faults_(faults) {
  add(0);
  g_tables[static_cast<size_t>(device)] = this;
}

cudaStream_t StreamTable::add(int priority) {
  std::lock_guard lock(mutex_);
  const storm::sim::StreamName name{device_, static_cast<int64_t>(all_.size())};
  all_.push_back({name, priority, storm::sim::make_stream_of_kind(name, faults_)});
  return reinterpret_cast<cudaStream_t>(&all_.back());
}

std::vector<storm::sim::Stream*> StreamTable::all() const {
  std::lock_guard lock(mutex_);
  std::vector<storm::sim::Stream*> out;
  for (const auto& handle : all_) out.push_back(handle.stream.get());
  return out;
}

StreamTable& streams_of(int device) {
  storm::sim::device(static_cast<storm::sim::DeviceIndex>(device));
  return *g_tables[static_cast<size_t>(device)];
}

storm::sim::Stream& stream_of(int device, cudaStream_t stream) {
  return is_default(stream) ? streams_of(device).default_stream() : *inside(stream).stream;
}

storm::sim::StreamName name_of(int device, cudaStream_t stream) {
  return is_default(stream) ? storm::sim::StreamName{device, 0} : inside(stream).name;
}

int priority_of(cudaStream_t stream) {
  return is_default(stream) ? 0 : inside(stream).priority;
}

}  // namespace cuda_double
