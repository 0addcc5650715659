#include "host/pinned_pool.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>
#include <vector>

#include "base/process.h"
#include "harness.h"
#include "host_memory_double.h"

using storm::Layout;
using storm::PinnedMemoryPool;
using storm::PoolConfig;

namespace {

constexpr size_t kMiB = size_t{1} << 20;

struct Fixture {
  std::shared_ptr<HostMemoryDouble> memory = std::make_shared<HostMemoryDouble>();
  std::shared_ptr<PinnedMemoryPool> pool;
  explicit Fixture(PoolConfig config = {kMiB, SIZE_MAX})
      : pool(PinnedMemoryPool::create(memory, config)) {}
};

}  // namespace

TEST(buffers_share_a_slab_and_come_back_to_it) {
  Fixture f;
  {
    auto a = f.pool->try_acquire(900 << 10);
    REQUIRE(a.has_value());
    EXPECT(a->pinned());
  }
  auto b = f.pool->try_acquire(300 << 10);
  auto c = f.pool->try_acquire(300 << 10);
  REQUIRE(b && c);
  EXPECT(b->data() != c->data());
  REQUIRE(c.has_value());
  EXPECT_EQ(f.memory->pinned_slabs.load(), 1);
  auto stats = f.pool->stats();
  EXPECT_EQ(stats.hits, uint64_t{2});
  EXPECT_EQ(stats.misses, uint64_t{1});
  EXPECT_EQ(stats.live_bytes, size_t{600 << 10});
  f.pool->check_invariants();
}

TEST(a_buffer_larger_than_a_slab_gets_its_own) {
  Fixture f;
  auto a = f.pool->try_acquire(3 * kMiB);
  REQUIRE(a.has_value());
  EXPECT_EQ(f.pool->stats().pinned_bytes, 4 * kMiB);
  auto b = f.pool->try_acquire(kMiB);  // what the power of two left over serves others
  EXPECT_EQ(f.memory->pinned_slabs.load(), 1);
}

TEST(the_cap_is_never_passed) {
  Fixture f({kMiB, 2 * kMiB + 4096});
  std::vector<storm::PinnedMemoryBuffer> held;
  while (auto buffer = f.pool->try_acquire(200 << 10, Layout::pieces))
    held.push_back(std::move(*buffer));
  EXPECT_EQ(held.size(), size_t{10});
  EXPECT(f.pool->stats().pinned_bytes <= 2 * kMiB + 4096);
  EXPECT_EQ(f.pool->stats().refusals, uint64_t{1});
  EXPECT(!f.pool->try_acquire(4 * kMiB));
  f.pool->check_invariants();
}

TEST(a_cap_below_a_slab_still_serves) {
  Fixture f({64 * kMiB, 3 * kMiB});
  EXPECT(f.pool->try_acquire(kMiB).has_value());
  EXPECT_EQ(f.pool->stats().pinned_bytes, kMiB);
}

TEST(the_cap_is_used_up_to_the_last_slab_that_fits) {
  Fixture f({64 * kMiB, 7 * kMiB});  // 4 + 2 + 1
  auto a = f.pool->try_acquire(7 * kMiB, Layout::pieces);
  REQUIRE(a.has_value());
  EXPECT_EQ(a->pieces().size(), size_t{3});
  EXPECT_EQ(f.pool->stats().pinned_bytes, 7 * kMiB);
  EXPECT(!f.pool->try_acquire(1));
}

TEST(a_buffer_the_cap_cannot_hold_takes_no_slab_at_all) {
  Fixture f({kMiB, 4 * kMiB});
  for (size_t bytes : {5 * kMiB, SIZE_MAX / 2, SIZE_MAX}) {
    for (auto layout : {Layout::one_piece, Layout::pieces})
      EXPECT(!f.pool->try_acquire(bytes, layout));
  }
  EXPECT_EQ(f.pool->stats().slabs, uint64_t{0});
  EXPECT_EQ(f.pool->stats().refusals, uint64_t{6});
}

TEST(pieces_fill_the_gaps_and_cover_the_buffer) {
  Fixture f;
  std::vector<storm::PinnedMemoryBuffer> walls, gaps;
  for (int i = 0; i < 8; ++i) {
    walls.push_back(*f.pool->try_acquire(64 << 10));
    gaps.push_back(*f.pool->try_acquire(64 << 10));
  }
  gaps.clear();
  const auto held = f.pool->stats().pinned_bytes;
  auto a = f.pool->try_acquire(400 << 10, Layout::pieces);
  REQUIRE(a.has_value());
  EXPECT_EQ(f.pool->stats().pinned_bytes, held);
  size_t sum = 0;
  for (auto piece : a->pieces()) sum += piece.bytes;
  EXPECT_EQ(sum, size_t{400 << 10});
  EXPECT_THROWS(a->data(), "no one address");
  f.pool->check_invariants();
  a.reset();
  walls.clear();
  EXPECT_EQ(f.pool->stats().live_bytes, size_t{0});
  f.pool->check_invariants();
}

TEST(memory_that_cannot_be_pinned_is_pageable_and_counted) {
  Fixture f;
  f.memory->fail_pinned = true;
  auto a = f.pool->try_acquire(1000);
  REQUIRE(a.has_value());
  EXPECT(!a->pinned());
  auto stats = f.pool->stats();
  EXPECT_EQ(stats.pin_failures, uint64_t{1});
  EXPECT_EQ(stats.pageable_bytes, size_t{4096});
  EXPECT_EQ(stats.pinned_bytes, size_t{0});
}

TEST(no_memory_at_all_is_an_answer_not_an_error) {
  Fixture f;
  f.memory->fail_pinned = f.memory->fail_pageable = true;
  EXPECT(!f.pool->try_acquire(1000));
  f.memory->fail_pinned = false;
  EXPECT(f.pool->try_acquire(1000).has_value());
  f.pool->check_invariants();
}

TEST(trim_gives_free_slabs_back_and_keeps_used_ones) {
  Fixture f;
  auto a = f.pool->try_acquire(kMiB);
  {
    auto b = f.pool->try_acquire(kMiB);
  }
  f.pool->trim();
  EXPECT_EQ(f.pool->stats().pinned_bytes, kMiB);
  f.pool->check_invariants();
}

TEST(a_slab_size_that_is_no_power_of_two_is_refused) {
  EXPECT_THROWS(Fixture({100000, SIZE_MAX}), "power of two");
}

TEST(moving_a_buffer_moves_the_duty_to_return_it) {
  Fixture f;
  auto a = f.pool->try_acquire(1000);
  auto b = f.pool->try_acquire(1000);
  *a = std::move(*b);
  b.reset();
  EXPECT_EQ(f.pool->stats().live_bytes, size_t{1024});
  a.reset();
  EXPECT_EQ(f.pool->stats().live_bytes, size_t{0});
}

TEST(many_threads_keep_the_books) {
  Fixture f({kMiB, 8 * kMiB});
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      std::vector<storm::PinnedMemoryBuffer> held;
      for (unsigned i = 0; i < 500; ++i) {
        const auto layout = i % 2 ? Layout::pieces : Layout::one_piece;
        if (auto buffer = f.pool->try_acquire(1 + (i * 7919 + seed) % (300 << 10), layout))
          held.push_back(std::move(*buffer));
        if (held.size() > 5 || i % 3 == 0) held.clear();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  f.pool->check_invariants();
  EXPECT_EQ(f.pool->stats().live_bytes, size_t{0});
}

// A thread that is gone may have held it at the fork.
TEST(an_ending_child_does_not_need_the_pools_lock) {
  Fixture f;
  auto buffer = f.pool->try_acquire(kMiB);
  REQUIRE(buffer.has_value());
  std::atomic<bool> stop = false;
  std::thread busy([&] {
    while (!stop) f.pool->stats();
  });
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      signal(SIGALRM, SIG_DFL);
      alarm(5);  // ends a child that waits
      storm::set_process_exiting();
      buffer.reset();
      _exit(0);
    }
    int status = 1;
    REQUIRE(waitpid(child, &status, 0) == child);
    EXPECT_EQ(status, 0);
    if (status != 0) break;
  }
  stop = true;
  busy.join();
}
