// How much more than the peak of live bytes the pool takes from the system, over 100 steps of
// sequences of sizes as networks save them.

#include <bit>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "harness.h"
#include "host/pinned_pool.h"

using storm::Layout;
using storm::PinnedMemoryBuffer;
using storm::PinnedMemoryPool;

namespace {

constexpr size_t kKiB = size_t{1} << 10, kMiB = size_t{1} << 20;
using Sizes = std::vector<size_t>;

// Address space only: the pool never touches the bytes.
class Addresses final : public storm::HostMemorySource {
 public:
  at::DataPtr allocate_pinned(size_t bytes) override {
    EXPECT(std::has_single_bit(bytes));  // torch would round up, and the pool not know
    auto* data = reinterpret_cast<void*>(next_);
    next_ += bytes + 4096;
    return at::DataPtr(data, at::kCPU);
  }
  at::DataPtr allocate_pageable(size_t bytes) override { return allocate_pinned(bytes); }

 private:
  size_t next_ = size_t{1} << 40;
};

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  size_t between(size_t least, size_t most) { return least + engine_() % (most - least + 1); }
  double normal() {  // by hand: the library's differ between implementations
    double sum = 0;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(engine_()) / 4294967296.0;
    return sum - 6;
  }

 private:
  std::mt19937 engine_;
};

// What a pre-norm block saves: norm, qkv, attention's output and log-sum, norm, both of the MLP.
Sizes transformer(size_t layers, size_t batch, size_t length, size_t width, size_t heads,
                  size_t vocabulary, size_t item) {
  const size_t x = batch * length * width * item;
  Sizes sizes{batch * length * 8};
  for (size_t i = 0; i < layers; ++i) {
    const size_t sums = batch * heads * length * 4;
    for (size_t bytes : {x, x, 3 * x, x, sums, x, x, 4 * x, 4 * x}) sizes.push_back(bytes);
  }
  sizes.push_back(x);
  if (vocabulary > 0) sizes.push_back(batch * length * vocabulary * item);
  return sizes;
}

Sizes unet(size_t batch, size_t height, size_t width, size_t channels, int levels, size_t item) {
  Sizes sizes;
  size_t bytes = batch * channels * height * width * item;
  for (int level = 0; level < levels; ++level, bytes /= 2) {
    sizes.insert(sizes.end(), {bytes, bytes, bytes, bytes, bytes / 4 / item * 8});
  }
  sizes.insert(sizes.end(), 4, bytes);
  for (int level = 0; level < levels; ++level) {
    bytes *= 2;
    sizes.insert(sizes.end(), {2 * bytes, bytes, bytes, bytes, bytes});
  }
  return sizes;
}

struct Outcome {
  storm::PoolStats stats;
  size_t most_pieces = 0;
};

// Backward gives back what forward took, in reverse; the last three are still being copied when the
// next step begins.
template <typename Step>
Outcome train(Step&& sizes_of_step, storm::PoolConfig config = {}) {
  auto pool = PinnedMemoryPool::create(std::make_shared<Addresses>(), config);
  Outcome outcome;
  std::vector<PinnedMemoryBuffer> late;
  for (size_t step = 0; step < 100; ++step) {
    std::vector<PinnedMemoryBuffer> held;
    for (size_t bytes : sizes_of_step(step)) {
      auto buffer = pool->try_acquire(bytes, Layout::pieces);
      REQUIRE(buffer.has_value());
      outcome.most_pieces = std::max(outcome.most_pieces, buffer->pieces().size());
      held.push_back(std::move(*buffer));
      if (held.size() == 3) late.clear();
    }
    while (held.size() > 3) held.pop_back();
    late = std::move(held);
  }
  pool->check_invariants();
  outcome.stats = pool->stats();
  return outcome;
}

// At most 10 % above the peak of live bytes, in few slabs, whatever the lengths were.
template <typename Step>
void expect_bound(const char* name, Step&& step) {
  for (unsigned seed = 0; seed < 3; ++seed) {
    Random random(seed);
    const auto outcome = train([&](size_t i) { return step(random, i); });
    const auto& stats = outcome.stats;
    const double ratio = double(stats.peak_slab_bytes) / double(stats.peak_live_bytes);
    std::printf("  %-34s %7zu MiB live, %.3f pinned, %3zu slabs, up to %zu pieces\n", name,
                stats.peak_live_bytes / kMiB, ratio, size_t(stats.slabs), outcome.most_pieces);
    EXPECT(stats.peak_slab_bytes * 100 <= stats.peak_live_bytes * 110);
    // Full slabs, and as many as the growth towards the first of them takes.
    const size_t growth = 16 * std::bit_width(stats.peak_live_bytes / (256 * kKiB));
    EXPECT(stats.slabs <= stats.peak_live_bytes / (64 * kMiB) + growth);
  }
}

}  // namespace

TEST(transformers_of_random_lengths) {
  expect_bound("12 layers, uniform", [](Random& random, size_t) {
    return transformer(12, 8, random.between(64, 1024), 768, 12, 0, 2);
  });
  expect_bound("12 layers, logits", [](Random& random, size_t) {
    return transformer(12, 8, random.between(64, 1024), 768, 12, 50257, 2);
  });
  expect_bound("12 layers, log-normal", [](Random& random, size_t) {
    const double length = 16 + std::exp(5 + random.normal());
    return transformer(12, 8, static_cast<size_t>(length), 768, 12, 0, 4);
  });
  expect_bound("48 layers, batch 1", [](Random& random, size_t) {
    return transformer(48, 1, random.between(512, 8192), 1600, 25, 50257, 2);
  });
  expect_bound("4 layers, tiny", [](Random& random, size_t) {
    return transformer(4, 16, random.between(16, 256), 64, 4, 256, 4);
  });
  expect_bound("12 layers, growing",
               [](Random&, size_t i) { return transformer(12, 8, 64 + 10 * i, 768, 12, 0, 2); });
}

TEST(unets_of_random_sizes) {
  expect_bound("4 levels", [](Random& random, size_t) {
    return unet(2, 32 * random.between(4, 16), 32 * random.between(4, 16), 64, 4, 4);
  });
  expect_bound("5 levels", [](Random& random, size_t) {
    return unet(4, 64 * random.between(4, 12), 64 * random.between(4, 12), 64, 5, 2);
  });
}

TEST(few_and_awkward_tensors) {
  expect_bound("one of 33 MiB", [](Random&, size_t) { return Sizes{33 * kMiB}; });
  expect_bound("50 of 33 MiB", [](Random&, size_t) { return Sizes(50, 33 * kMiB); });
  expect_bound("8 of 100 to 1000 MiB", [](Random& random, size_t) {
    Sizes sizes(8);
    for (auto& bytes : sizes) bytes = random.between(100 * kMiB, 1000 * kMiB);
    return sizes;
  });
  expect_bound("3 of 700 MiB", [](Random&, size_t) { return Sizes(3, 700 * kMiB); });
}

TEST(sizes_without_any_pattern) {
  expect_bound("20 to 100 of 64 KiB to 8 MiB", [](Random& random, size_t) {
    Sizes sizes(random.between(20, 100));
    for (auto& bytes : sizes) bytes = random.between(64 * kKiB, 8 * kMiB);
    return sizes;
  });
  expect_bound("300 of 1 to 512 KiB", [](Random& random, size_t) {
    Sizes sizes(300);
    for (auto& bytes : sizes) bytes = random.between(kKiB, 512 * kKiB);
    return sizes;
  });
}

TEST(buffers_that_come_back_in_any_order) {
  auto pool = PinnedMemoryPool::create(std::make_shared<Addresses>(), {});
  Random random(11);
  std::vector<PinnedMemoryBuffer> held;
  size_t most_pieces = 0;
  for (int i = 0; i < 20000; ++i) {
    if (held.size() < 200 || random.between(0, 1)) {
      auto buffer = pool->try_acquire(random.between(16 * kKiB, 4 * kMiB), Layout::pieces);
      REQUIRE(buffer.has_value());
      most_pieces = std::max(most_pieces, buffer->pieces().size());
      held.push_back(std::move(*buffer));
    }
    if (held.size() >= 200) {
      std::swap(held[random.between(0, held.size() - 1)], held.back());
      held.pop_back();
    }
  }
  pool->check_invariants();
  const auto stats = pool->stats();
  std::printf("  churn: %zu MiB live, %.3f pinned, %zu slabs, up to %zu pieces\n",
              stats.peak_live_bytes / kMiB,
              double(stats.peak_slab_bytes) / double(stats.peak_live_bytes), size_t(stats.slabs),
              most_pieces);
  EXPECT(stats.peak_slab_bytes * 100 <= stats.peak_live_bytes * 110);
}

TEST(large_slabs_are_asked_for_only_as_large_as_allowed) {
  const auto outcome = train([](size_t) { return Sizes(20, 3 * kMiB); }, {kMiB, SIZE_MAX});
  EXPECT_EQ(outcome.stats.peak_slab_bytes, 60 * kMiB);
  EXPECT_EQ(outcome.stats.slabs, uint64_t{60});
}
