#include "host/best_fit.h"

#include <random>
#include <vector>

#include "harness.h"

using storm::BestFit;

namespace {

std::byte* address(size_t value) {
  return reinterpret_cast<std::byte*>(value);
}

}  // namespace

TEST(the_smallest_range_that_fits_is_taken) {
  BestFit fit;
  fit.add_span(address(1 << 20), 64 << 10);
  auto* a = fit.allocate(8 << 10);
  auto* wall = fit.allocate(512);
  auto* b = fit.allocate(2 << 10);
  fit.allocate(512);
  fit.release(a);
  fit.release(b);
  EXPECT(fit.allocate(2 << 10) == b);
  EXPECT(fit.allocate(4 << 10) == a);
  EXPECT(wall != nullptr);
  fit.check_invariants();
}

TEST(nothing_is_rounded_beyond_the_granule) {
  BestFit fit;
  fit.add_span(address(1 << 20), 64 << 10);
  fit.allocate(33 * 1024 + 1);
  EXPECT_EQ(fit.used_bytes(), size_t{33 * 1024 + 512});
}

TEST(what_is_missing_is_what_pieces_cannot_hold) {
  BestFit fit;
  EXPECT_EQ(fit.missing(1, 512), size_t{512});
  fit.add_span(address(1 << 20), 8192);
  fit.add_span(address(1 << 21), 4096);
  fit.add_span(address(1 << 22), 1024);
  EXPECT_EQ(fit.missing(8192, SIZE_MAX), size_t{0});  // fits into one range: pieces do not matter
  EXPECT_EQ(fit.missing(8193, SIZE_MAX), size_t{8704});
  EXPECT_EQ(fit.missing(12288, 4096), size_t{0});
  EXPECT_EQ(fit.missing(13312, 4096), size_t{0});  // the last piece may be small
  EXPECT_EQ(fit.missing(14336, 4096), size_t{2048});
  EXPECT_EQ(fit.missing(14336, 512), size_t{1024});
}

TEST(freed_neighbours_join_and_spans_do_not) {
  BestFit fit;
  fit.add_span(address(1 << 20), 4096);
  fit.add_span(address((1 << 20) + 4096), 4096);  // touches the first
  auto* a = fit.allocate(4096);
  auto* b = fit.allocate(4096);
  fit.release(a);
  fit.release(b);
  fit.check_invariants();
  EXPECT_EQ(fit.largest_free(), size_t{4096});
  EXPECT(fit.allocate(8192) == nullptr);
  EXPECT(fit.remove_span(address(1 << 20)));
  EXPECT_EQ(fit.free_bytes(), size_t{4096});
}

TEST(a_span_in_use_is_not_removed) {
  BestFit fit;
  fit.add_span(address(1 << 20), 4096);
  auto* a = fit.allocate(512);
  EXPECT(!fit.remove_span(address(1 << 20)));
  fit.release(a);
  EXPECT(fit.remove_span(address(1 << 20)));
  fit.check_invariants();
}

TEST(a_range_released_twice_is_refused) {
  BestFit fit;
  fit.add_span(address(1 << 20), 4096);
  auto* a = fit.allocate(512);
  fit.release(a);
  EXPECT_THROWS(fit.release(a), "not in use");
}

TEST(any_sequence_keeps_the_books) {
  std::mt19937 random(7);
  BestFit fit;
  for (size_t i = 0; i < 4; ++i) fit.add_span(address((i + 1) << 24), size_t{1} << 20);
  std::vector<std::byte*> live;
  for (int step = 0; step < 4000; ++step) {
    if (live.empty() || random() % 3 != 0) {
      if (auto* range = fit.allocate(1 + random() % (200 << 10))) live.push_back(range);
    } else {
      size_t i = random() % live.size();
      fit.release(live[i]);
      live[i] = live.back();
      live.pop_back();
    }
    if (step % 50 == 0) fit.check_invariants();
  }
  for (auto* range : live) fit.release(range);
  fit.check_invariants();
  EXPECT_EQ(fit.used_bytes(), size_t{0});
  EXPECT_EQ(fit.largest_free(), size_t{1} << 20);
}
