#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace storm {

// Why a saved tensor stays where it is.
enum class KeepReason : uint8_t {
  parameter,  // a parameter or buffer of the model, a leaf that requires grad, a view of one or
              // its copy in another dtype
  small,      // below min_bytes
  last,       // among the last of forward
  foreign,    // another device, a subclass, a layout or a wrapper the engine does not move
  host_full,  // the host cap allows no more
  count
};

struct EngineStats {  // one moment's figures
  struct Kept {
    uint64_t tensors = 0, bytes = 0;
  };
  std::array<Kept, static_cast<size_t>(KeepReason::count)> kept{};
  uint64_t offloaded_tensors = 0, offloaded_bytes = 0;  // device to host; bytes of the wire
  uint64_t packed_tensors = 0, packed_bytes = 0;        // of them as bits; bytes on the device
  uint64_t shared_tensors = 0, shared_bytes = 0;        // saved again: no bytes moved
  uint64_t fetched_tensors = 0, fetched_bytes = 0;      // host to device
  uint64_t returned_tensors = 0, returned_bytes = 0;    // still on the device when backward asked
  uint64_t late_fetches = 0;       // asked for before their copy had been started
  uint64_t prefetch_refusals = 0;  // no device memory to fetch ahead
};

// The same, counted by any thread at any time. Each counter is exact; a snapshot is not atomic
// across them.
class StatsCounters {
 public:
  void keep(KeepReason reason, size_t bytes) noexcept;
  void offload(size_t bytes) noexcept { add(offloaded_, bytes); }
  void pack(size_t bytes) noexcept { add(packed_, bytes); }
  void share(size_t bytes) noexcept { add(shared_, bytes); }
  void fetch(size_t bytes) noexcept { add(fetched_, bytes); }
  void give_back(size_t bytes) noexcept { add(returned_, bytes); }
  void late_fetch() noexcept { late_.fetch_add(1, std::memory_order_relaxed); }
  void refuse_prefetch() noexcept { refused_.fetch_add(1, std::memory_order_relaxed); }
  EngineStats snapshot() const noexcept;

 private:
  struct Pair {
    std::atomic<uint64_t> tensors{0}, bytes{0};
  };
  static void add(Pair& pair, size_t bytes) noexcept;
  std::array<Pair, static_cast<size_t>(KeepReason::count)> kept_;
  Pair offloaded_, packed_, shared_, fetched_, returned_;
  std::atomic<uint64_t> late_{0}, refused_{0};
};

}  // namespace storm
