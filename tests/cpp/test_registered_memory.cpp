// Slabs of our own, with a vendor that only counts.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <map>

#include "base/process.h"
#include "harness.h"
#include "host/pinned_pool.h"
#include "host/registered_memory.h"
#include "host_memory_double.h"

using namespace storm;

namespace {

constexpr size_t kMiB = size_t{1} << 20;
const c10::Device kDevice(c10::DeviceType::VE, 0);

class Counting final : public HostRegistrar {
 public:
  void pin(void* begin, size_t bytes, c10::Device device) const override {
    TORCH_CHECK(!refuses, "the driver's reason");
    EXPECT(device == kDevice);
    pinned[begin] = bytes;
  }
  void unpin(void* begin, c10::Device) const noexcept override {
    EXPECT_EQ(pinned.erase(begin), size_t{1});
    ++unpinned;
  }
  bool refuses = false;
  mutable std::map<void*, size_t> pinned;
  mutable int unpinned = 0;
};

struct World {
  Counting registrar;
  std::shared_ptr<HostMemoryDouble> torchs = std::make_shared<HostMemoryDouble>();
  std::shared_ptr<RegisteredHostMemory> memory =
      std::make_shared<RegisteredHostMemory>(registrar, kDevice, torchs);
};

bool is_mapped(void* page) {
  unsigned char in_core = 0;
  return mincore(page, 1, &in_core) == 0;
}

bool multiple_of(const void* address, size_t unit) {
  return reinterpret_cast<uintptr_t>(address) % unit == 0;
}

// What the body returns, in a child of its own.
template <typename Body>
bool in_child(const Body& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body() ? 0 : 1);
  int status = 1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

TEST(a_slab_is_whole_pages_pinned_once_and_gone_when_freed) {
  World world;
  for (size_t bytes : {size_t{1}, size_t{4096}, size_t{5000}, kMiB, 2 * kMiB, 3 * kMiB + 1}) {
    auto slab = world.memory->allocate_pinned(bytes);
    void* begin = slab.get();
    EXPECT(multiple_of(begin, bytes < 2 * kMiB ? 4096 : 2 * kMiB));
    EXPECT_EQ(world.registrar.pinned.size(), size_t{1});
    const size_t whole = world.registrar.pinned.at(begin);
    EXPECT(whole >= bytes && whole < bytes + 4096 && whole % 4096 == 0);
    std::memset(begin, 0xFF, whole);
    EXPECT(slab.device().is_cpu());
    slab.clear();
    EXPECT(world.registrar.pinned.empty());
    EXPECT(!is_mapped(begin));
    EXPECT(!is_mapped(static_cast<std::byte*>(begin) + whole - 1 - (whole - 1) % 4096));
  }
  EXPECT_EQ(world.torchs->pinned_slabs.load(), 0);
}

TEST(where_registering_fails_torchs_allocator_is_asked) {
  World world;
  world.registrar.refuses = true;
  auto slab = world.memory->allocate_pinned(kMiB);
  EXPECT(slab.get() != nullptr);
  EXPECT_EQ(world.torchs->pinned_slabs.load(), 1);
  EXPECT_EQ(world.registrar.unpinned, 0);
}

TEST(where_nothing_can_be_pinned_both_reasons_are_told) {
  World world;
  world.registrar.refuses = world.torchs->fail_pinned = true;
  EXPECT_THROWS(world.memory->allocate_pinned(kMiB),
                "no 1.00 MiB (1048576 bytes) of host memory could be pinned for ve:0: the driver's "
                "reason; torch's own allocator: no memory");
  auto pool = PinnedMemoryPool::create(world.memory, {kMiB, SIZE_MAX});
  auto buffer = pool->try_acquire(1000);
  REQUIRE(buffer.has_value());
  EXPECT(!buffer->pinned());
  EXPECT_EQ(pool->stats().pin_failures, uint64_t{1});
}

TEST(memory_that_the_system_does_not_have_is_asked_of_torch_too) {
  World world;
  world.torchs->fail_pinned = true;
  EXPECT_THROWS(world.memory->allocate_pinned(size_t{1} << 60), "mmap of ");
  EXPECT(world.registrar.pinned.empty());
}

TEST(a_pool_gives_its_slabs_back_to_the_system) {
  World world;
  auto pool = PinnedMemoryPool::create(world.memory, {4 * kMiB, SIZE_MAX});
  {
    auto buffer = pool->try_acquire(3 * kMiB, Layout::pieces);
    REQUIRE(buffer.has_value());
    EXPECT(buffer->pinned());
    for (const auto& piece : buffer->pieces()) std::memset(piece.data, 1, piece.bytes);
  }
  const auto slabs = static_cast<int>(pool->stats().slabs);
  pool->trim();
  EXPECT_EQ(world.registrar.unpinned, slabs);
  EXPECT_EQ(pool->stats().pinned_bytes, size_t{0});
  EXPECT(world.registrar.pinned.empty());
}

TEST(a_forked_child_has_no_slabs_and_frees_none) {
  World world;
  auto slab = world.memory->allocate_pinned(4 * kMiB);
  auto* begin = static_cast<std::byte*>(slab.get());
  constexpr std::byte kOurs{7};
  *begin = kOurs;
  EXPECT(in_child([&] {
    // The hole is anybody's: ThreadSanitizer's runtime maps memory of its own there.
    if (is_mapped(begin) && *begin == kOurs) return false;
    void* other = mmap(begin, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    slab.clear();
    return world.registrar.unpinned == 0 && is_mapped(other);
  }));
  EXPECT_EQ(world.registrar.unpinned, 0);
  slab.clear();
  EXPECT_EQ(world.registrar.unpinned, 1);
}

TEST(at_exit_slabs_are_abandoned) {
  World world;
  EXPECT(in_child([&] {
    auto slab = world.memory->allocate_pinned(kMiB);
    void* begin = slab.get();
    set_process_exiting();
    slab.clear();
    return world.registrar.unpinned == 0 && is_mapped(begin);
  }));
}
