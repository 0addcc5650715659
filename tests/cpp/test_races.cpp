// The race detector, fed by hand: no stream runs, no byte is touched.
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "harness.h"
#include "sim/races/access_map.h"
#include "sim/races/detector.h"
#include "sim/races/labels.h"
#include "sim/races/reach.h"
#include "sim/races/site.h"

using namespace storm::sim;

namespace {

constexpr StreamName kMain{0, 0};
constexpr StreamName kSide{0, 1};
constexpr StreamName kThird{0, 2};

char* const kMemory = reinterpret_cast<char*>(uintptr_t{1} << 40);

// Each test has fresh memory, so that none sees another's accesses.
struct Fresh {
  Fresh() {
    detector().turn(true);
    detector().clear_races();
    synchronise();
  }
  static void synchronise() {
    for (const auto& stream : {kMain, kSide, kThird}) {
      detector().host_learns(detector().moment_of(stream));
    }
  }
};

void writes(StreamName stream, char* begin, size_t bytes, const char* name = "write") {
  detector().issued(stream, name, Effects().writes(begin, bytes));
}

void reads(StreamName stream, char* begin, size_t bytes, const char* name = "read") {
  detector().issued(stream, name, Effects().reads(begin, bytes));
}

void waits(StreamName stream, StreamName for_stream) {
  detector().stream_waits(stream, detector().moment_of(for_stream));
}

std::string kinds() {
  std::string all;
  for (const auto& race : detector().races()) all += (all.empty() ? "" : ", ") + race.kind;
  return all;
}

at::Tensor matrix(int64_t rows, int64_t columns) {
  return at::from_blob(kMemory, {rows, columns}, at::kFloat);
}

TEST(two_streams_that_nothing_orders_race) {
  Fresh fresh;
  writes(kMain, kMemory, 64);
  reads(kSide, kMemory, 64);
  EXPECT_EQ(kinds(), "read after write");
  detector().clear_races();
  writes(kThird, kMemory, 64);
  EXPECT_EQ(kinds(), "write after write, write after read");
}

TEST(reads_do_not_race) {
  Fresh fresh;
  reads(kMain, kMemory, 64);
  reads(kSide, kMemory, 64);
  EXPECT_EQ(kinds(), "");
}

TEST(one_stream_does_not_race_with_itself) {
  Fresh fresh;
  writes(kMain, kMemory, 64);
  writes(kMain, kMemory + 32, 64);
  reads(kMain, kMemory, 96);
  EXPECT_EQ(kinds(), "");
}

TEST(an_event_orders_what_came_before_its_record) {
  Fresh fresh;
  writes(kMain, kMemory, 64);
  const Moment moment = detector().moment_of(kMain);
  writes(kMain, kMemory + 64, 64);
  detector().stream_waits(kSide, moment);
  reads(kSide, kMemory, 64);
  EXPECT_EQ(kinds(), "");
  reads(kSide, kMemory + 64, 64);
  EXPECT_EQ(kinds(), "read after write");
}

TEST(order_passes_through_a_third_stream) {
  Fresh fresh;
  writes(kMain, kMemory, 64);
  waits(kThird, kMain);
  waits(kSide, kThird);
  writes(kSide, kMemory, 64);
  EXPECT_EQ(kinds(), "");
}

TEST(waiting_orders_one_way_only) {
  Fresh fresh;
  waits(kMain, kSide);
  writes(kMain, kMemory, 64);
  reads(kSide, kMemory, 64);
  EXPECT_EQ(kinds(), "read after write");
}

TEST(what_the_host_knows_every_later_launch_knows) {
  Fresh fresh;
  writes(kMain, kMemory, 64);
  detector().host_learns(detector().moment_of(kMain));
  reads(kSide, kMemory, 64);
  EXPECT_EQ(kinds(), "");
}

TEST(disjoint_ranges_do_not_race) {
  Fresh fresh;
  writes(kMain, kMemory, 64);
  writes(kSide, kMemory + 64, 64);
  writes(kThird, kMemory + 128, 1);
  EXPECT_EQ(kinds(), "");
}

TEST(a_partial_overlap_counts_the_shared_bytes_once) {
  Fresh fresh;
  writes(kMain, kMemory, 100);
  waits(kThird, kMain);
  reads(kThird, kMemory + 20, 10);  // cuts the write in three
  reads(kSide, kMemory + 10, 50);
  const auto races = detector().races();
  REQUIRE(races.size() == 1);
  EXPECT_EQ(races[0].bytes, 50);
  EXPECT_EQ(races[0].count, 1);
}

TEST(a_write_clears_only_what_it_covers) {
  Fresh fresh;
  writes(kMain, kMemory, 100, "old");
  waits(kSide, kMain);
  writes(kSide, kMemory + 10, 50, "new");
  reads(kThird, kMemory, 100);
  std::set<std::string> firsts;
  for (const auto& race : detector().races()) {
    firsts.insert(race.first.operation + " " + std::to_string(race.bytes));
  }
  EXPECT((firsts == std::set<std::string>{"old 50", "new 50"}));
}

TEST(columns_of_a_matrix_do_not_race) {
  Fresh fresh;
  const auto x = matrix(1000, 64);
  detector().issued(kMain, "fill", Effects().writes(x));
  waits(kSide, kMain);
  waits(kThird, kMain);
  detector().issued(kMain, "left", Effects().writes(x.narrow(1, 0, 32)));
  detector().issued(kSide, "right", Effects().writes(x.narrow(1, 32, 32)));
  EXPECT_EQ(kinds(), "");
  detector().issued(kThird, "one", Effects().writes(x.select(1, 31)));
  const auto races = detector().races();
  REQUIRE(races.size() == 1);
  EXPECT_EQ(races[0].first.operation, "left");
}

TEST(even_and_odd_columns_do_not_race) {
  Fresh fresh;
  const auto x = matrix(1000, 64);
  detector().issued(kMain, "even", Effects().writes(x.slice(1, 0, 64, 2)));
  detector().issued(kSide, "odd", Effects().writes(x.slice(1, 1, 64, 2)));
  EXPECT_EQ(kinds(), "");
  detector().issued(kThird, "every third", Effects().reads(x.slice(1, 0, 64, 3)));
  EXPECT_EQ(kinds(), "read after write, read after write");
}

TEST(a_strided_write_leaves_the_rest_of_its_range_as_it_was) {
  Fresh fresh;
  const auto x = matrix(1000, 64);
  detector().issued(kMain, "fill", Effects().writes(x));
  waits(kSide, kMain);
  detector().issued(kSide, "left", Effects().writes(x.narrow(1, 0, 32)));
  detector().issued(kThird, "right", Effects().reads(x.narrow(1, 32, 32)));
  const auto races = detector().races();
  REQUIRE(races.size() == 1);
  EXPECT_EQ(races[0].first.operation, "fill");
}

TEST(a_block_reused_behind_a_stream_that_is_not_known_to_be_done_is_a_race) {
  Fresh fresh;
  writes(kMain, kMemory, 512);
  waits(kSide, kMain);
  reads(kSide, kMemory, 512, "copy_d2h");
  detector().device_block_taken(kMain, kMemory, 256);
  auto races = detector().races();
  REQUIRE(races.size() == 1);
  EXPECT_EQ(races[0].kind, "reuse");
  EXPECT_EQ(races[0].first.operation, "copy_d2h");
  EXPECT_EQ(races[0].first.actor, "stream 1 of sim:0");
  EXPECT_EQ(races[0].second.operation, "allocation");
  EXPECT_EQ(races[0].bytes, 256);
  writes(kMain, kMemory, 256);  // told once
  EXPECT_EQ(kinds(), "reuse");
}

TEST(a_block_freed_too_early_is_a_race_even_if_it_is_not_reused) {
  Fresh fresh;
  reads(kSide, kMemory, 512, "copy_d2h");
  detector().device_block_freed(kMain, kMemory, 512);
  const auto races = detector().races();
  REQUIRE(races.size() == 1);
  EXPECT_EQ(races[0].kind, "reuse");
  EXPECT_EQ(races[0].second.operation, "free");
  detector().device_block_taken(kMain, kMemory, 512);  // told once
  EXPECT_EQ(kinds(), "reuse");
}

TEST(a_block_freed_after_its_uses_were_recorded_is_not) {
  Fresh fresh;
  reads(kSide, kMemory, 512, "copy_d2h");
  detector().block_over(kMemory, 512, {detector().moment_of(kSide)});
  detector().device_block_freed(kMain, kMemory, 512);
  EXPECT_EQ(kinds(), "");
}

TEST(a_block_freed_when_the_host_knows_its_uses_to_be_over_is_not) {
  Fresh fresh;
  reads(kSide, kMemory, 512);
  detector().host_learns(detector().moment_of(kSide));
  detector().device_block_freed(kMain, kMemory, 512);
  detector().device_block_taken(kMain, kMemory, 512);
  EXPECT_EQ(kinds(), "");
}

TEST(a_block_reused_after_a_wait_is_not) {
  Fresh fresh;
  reads(kSide, kMemory, 512);
  waits(kMain, kSide);
  detector().device_block_taken(kMain, kMemory, 512);
  writes(kMain, kMemory, 512);
  EXPECT_EQ(kinds(), "");
}

TEST(a_block_the_allocator_knows_to_be_done_is_not) {
  Fresh fresh;
  reads(kSide, kMemory, 512);
  detector().block_over(kMemory, 512, {detector().moment_of(kSide)});
  detector().device_block_taken(kMain, kMemory, 512);
  EXPECT_EQ(kinds(), "");
}

TEST(a_new_tensor_used_by_a_stream_that_did_not_wait_for_its_owner_races_with_the_tensor_before) {
  Fresh fresh;
  writes(kMain, kMemory, 512, "old");
  detector().device_block_taken(kMain, kMemory, 512);
  EXPECT_EQ(kinds(), "");
  writes(kSide, kMemory, 512, "new");
  const auto races = detector().races();
  REQUIRE(races.size() == 1);
  EXPECT_EQ(races[0].first.operation, "old");
  EXPECT(races[0].first.tensor.find("earlier tensor") != std::string::npos);
}

TEST(the_host_must_know_a_copy_to_be_over_before_it_reads) {
  Fresh fresh;
  writes(kMain, kMemory, 64, "copy_d2h");
  detector().host_touches("item", Effects().reads(kMemory, 4));
  const auto races = detector().races();
  REQUIRE(races.size() == 1);
  EXPECT_EQ(races[0].second.actor, "host");
  EXPECT(races[0].missing.find("the host must synchronise") != std::string::npos);
  detector().clear_races();
  detector().host_learns(detector().moment_of(kMain));
  detector().host_touches("item", Effects().reads(kMemory, 4));
  EXPECT_EQ(kinds(), "");
}

TEST(the_host_must_not_write_what_a_copy_still_reads) {
  Fresh fresh;
  reads(kMain, kMemory, 64, "copy_h2d");
  detector().host_touches("read", Effects().reads(kMemory, 4));
  EXPECT_EQ(kinds(), "");
  detector().host_touches("fill_", Effects().writes(kMemory, 4));
  EXPECT_EQ(kinds(), "write after read");
}

TEST(a_launch_comes_after_what_the_host_did) {
  Fresh fresh;
  detector().host_touches("fill_", Effects().writes(kMemory, 64));
  reads(kMain, kMemory, 64);
  EXPECT_EQ(kinds(), "");
}

TEST(a_pinned_block_reused_before_its_copy_is_a_race_unless_the_allocator_asked) {
  Fresh fresh;
  reads(kMain, kMemory, 64, "copy_h2d");
  detector().pinned_block_taken(kMemory, 64);
  REQUIRE(detector().races().size() == 1);
  EXPECT_EQ(detector().races()[0].second.actor, "pinned allocator");
  detector().clear_races();
  reads(kMain, kMemory, 64, "copy_h2d");
  detector().allocator_learns(detector().moment_of(kMain));
  detector().pinned_block_taken(kMemory, 64);
  EXPECT_EQ(kinds(), "");
}

TEST(what_the_allocator_knows_the_host_does_not) {
  Fresh fresh;
  writes(kMain, kMemory, 64);
  detector().allocator_learns(detector().moment_of(kMain));
  writes(kSide, kMemory, 64);
  EXPECT_EQ(kinds(), "write after write");
}

TEST(forgotten_memory_races_with_nobody) {
  Fresh fresh;
  writes(kMain, kMemory, 128);
  detector().forget(kMemory, 64);
  writes(kSide, kMemory, 64);
  EXPECT_EQ(kinds(), "");
  writes(kSide, kMemory + 64, 64);
  EXPECT_EQ(kinds(), "write after write");
}

TEST(a_report_names_both_sides_and_a_wait_that_came_too_early) {
  Fresh fresh;
  const auto x = matrix(4, 8);
  waits(kSide, kMain);
  detector().issued(kMain, "aten::add_", Effects().writes(x, "self"));
  detector().issued(kSide, "aten::mm", Effects().reads(x.t(), "mat2"));
  const auto races = detector().races();
  REQUIRE(races.size() == 1);
  const auto& race = races[0];
  EXPECT_EQ(race.first.operation, "aten::add_");
  EXPECT_EQ(race.first.actor, "stream 0 of sim:0");
  EXPECT_EQ(race.first.tensor, "self: Float [4, 8]");
  EXPECT_EQ(race.second.tensor, "mat2: Float [8, 4]");
  EXPECT(race.missing.find("stream 1 of sim:0 must wait for an event recorded on stream 0") == 0);
  EXPECT(race.missing.find("it knows") != std::string::npos);
}

TEST(like_races_are_one_with_a_count) {
  Fresh fresh;
  for (int i = 1; i <= 3; ++i) {
    writes(kMain, kMemory, 64 * static_cast<size_t>(i));
    writes(kSide, kMemory, 64 * static_cast<size_t>(i));
    Fresh::synchronise();
  }
  const auto races = detector().races();
  REQUIRE(races.size() == 1);
  EXPECT_EQ(races[0].count, 3);
  EXPECT_EQ(races[0].bytes, 192);
}

TEST(modules_are_named) {
  Fresh fresh;
  enter_module(name_module("Net"));
  enter_module(name_module("Net.fc"));
  writes(kMain, kMemory, 64);
  leave_module();
  reads(kSide, kMemory, 64);
  leave_module();
  const auto races = detector().races();
  REQUIRE(races.size() == 1);
  EXPECT_EQ(races[0].first.module, "Net.fc");
  EXPECT_EQ(races[0].second.module, "Net");
  writes(kThird, kMemory, 64);
  EXPECT_EQ(detector().races().back().second.module, "");
}

TEST(while_off_nothing_is_kept) {
  Fresh fresh;
  writes(kMain, kMemory, 64);
  detector().turn(false);
  writes(kSide, kMemory, 64);
  EXPECT(detector().moment_of(kMain) == nullptr);
  detector().turn(true);
  writes(kThird, kMemory, 64);
  EXPECT_EQ(kinds(), "");
}

TEST(threads_may_issue_at_the_same_time) {
  Fresh fresh;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      char* const mine = kMemory + t * 4096;
      const StreamName stream{0, 10 + t};
      for (int i = 0; i < 2000; ++i) {
        writes(stream, mine, 512);
        detector().host_learns(detector().moment_of(stream));
        detector().device_block_taken(stream, mine, 512);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(kinds(), "");
}

// --- patterns against a list of bytes

struct Strided {
  uintptr_t begin;
  std::vector<int64_t> sizes, strides;
  size_t itemsize;

  Pattern pattern() const { return Pattern::of(sizes, strides, itemsize); }
  std::set<uintptr_t> bytes() const {
    std::set<uintptr_t> all{begin};
    for (size_t d = 0; d < sizes.size(); ++d) {
      std::set<uintptr_t> wider;
      for (const auto first : all) {
        for (int64_t i = 0; i < sizes[d]; ++i) {
          wider.insert(first + static_cast<uintptr_t>(i * strides[d]) * itemsize);
        }
      }
      all = std::move(wider);
    }
    std::set<uintptr_t> each;
    for (const auto first : all) {
      for (size_t i = 0; i < itemsize; ++i) each.insert(first + i);
    }
    return each;
  }
};

Strided any_strided(std::mt19937_64& random) {
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % n); };
  Strided s{1000 + random() % 40, {}, {}, size_t{1} << below(3)};
  for (int64_t d = below(4); d > 0; --d) {
    s.sizes.push_back(1 + below(4));
    s.strides.push_back(below(12));
  }
  return s;
}

TEST(patterns_meet_exactly_if_they_share_a_byte) {
  std::mt19937_64 random(1);
  int met = 0;
  for (int i = 0; i < 20000; ++i) {
    const Strided a = any_strided(random), b = any_strided(random);
    const auto of_a = a.bytes(), of_b = b.bytes();
    std::vector<uintptr_t> shared;
    std::set_intersection(of_a.begin(), of_a.end(), of_b.begin(), of_b.end(),
                          std::back_inserter(shared));
    const bool expected = !shared.empty();
    met += expected;
    EXPECT_EQ(meet(a.begin, a.pattern(), b.begin, b.pattern()), expected);
  }
  EXPECT(met > 5000 && met < 15000);
}

TEST(large_interleaved_patterns_are_told_apart_at_once) {
  const std::vector<int64_t> sizes{1 << 15, 1 << 15}, strides{1 << 16, 2};
  const auto half = Pattern::of(sizes, strides, 2);
  EXPECT(!meet(0, half, 2, half));
  EXPECT(meet(0, half, 4, half));
  const auto third = Pattern::of({1 << 15, 1 << 14}, {1 << 16, 3}, 2);
  EXPECT(meet(0, half, 2, third));
}

// --- the map against one that keeps everything, byte by byte

struct Naive {
  struct Kept {
    Actor actor;
    uint64_t tick;
    bool writes;
  };
  std::map<uintptr_t, std::vector<Kept>> bytes;

  bool touch(const std::set<uintptr_t>& where, Actor actor, uint64_t tick, bool writes,
             const VectorClock& knows) {
    bool races = false;
    for (const auto byte : where) {
      for (const auto& kept : bytes[byte]) {
        races |= kept.actor != actor && (kept.writes || writes) && kept.tick > knows.of(kept.actor);
      }
      bytes[byte].push_back({actor, tick, writes});
    }
    return races;
  }
};

// Up to the first race both must agree at each access; behind it order has no meaning.
bool agree_until_the_first_race(std::mt19937_64& random, int& races) {
  const auto below = [&](uint64_t n) { return random() % n; };
  constexpr size_t kActors = 4;
  Naive naive;
  Labels labels;
  AccessMap map(labels);
  std::vector<VectorClock> clocks(kActors);
  VectorClock host;
  for (int step = 0; step < 60; ++step) {
    const auto self = static_cast<Actor>(below(kActors));
    const auto other = static_cast<Actor>(below(kActors));
    if (below(20) == 0) host.join(clocks[other]);
    if (below(2) == 0) clocks[self].join(clocks[other]);
    clocks[self].join(host);
    const Strided s = any_strided(random);
    const auto tensor = at::from_blob(reinterpret_cast<void*>(s.begin), s.sizes, s.strides,
                                      s.itemsize == 1   ? at::kByte
                                      : s.itemsize == 2 ? at::kHalf
                                                        : at::kFloat);
    const bool writes = below(3) == 0;
    Effects effects;
    writes ? effects.writes(tensor) : effects.reads(tensor);
    if (effects.touches().empty()) continue;
    const Touch& touch = effects.touches()[0];
    Access access;
    access.tick = clocks[self].tick(self);
    access.begin = s.begin;
    access.actor = self;
    access.label = labels.of("op", touch);
    access.writes = writes;
    access.dense = labels[access.label].dense();
    std::vector<Conflict> conflicts;
    map.touch(range_of(touch.begin, touch.bytes), access, clocks[self], host, conflicts);
    const bool expected = naive.touch(s.bytes(), self, access.tick, writes, clocks[self]);
    if (conflicts.empty() == expected) return false;
    races += expected;
    if (expected) break;
  }
  return true;
}

TEST(the_map_finds_what_a_full_record_finds) {
  int races = 0;
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    std::mt19937_64 random(seed);
    const bool agree = agree_until_the_first_race(random, races);
    if (!agree) std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    REQUIRE(agree);
  }
  EXPECT(races > 1000);
}

// Prints what a touch costs; fails only if it is out of all proportion.
TEST(a_touch_is_cheap) {
  Fresh fresh;
  constexpr int kTensors = 4000, kSteps = 10;
  constexpr size_t kBytes = 1 << 20;
  std::vector<at::Tensor> tensors;
  for (int i = 0; i < kTensors; ++i) {
    tensors.push_back(
        at::from_blob(kMemory + static_cast<size_t>(i) * kBytes, {512, 512}, at::kFloat));
  }
  const std::clock_t begin = std::clock();  // this process alone, however busy the computer is
  for (int step = 0; step < kSteps; ++step) {
    for (int i = 3; i < kTensors; ++i) {
      const auto at = [&](int k) { return tensors[static_cast<size_t>((i * 7 + k) % kTensors)]; };
      detector().device_block_taken(kMain, at(3).const_data_ptr(), kBytes);
      detector().issued(kMain, "op",
                        Effects().reads(at(0)).reads(at(1)).reads(at(2)).writes(at(3)));
    }
  }
  const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  const double each = 1e9 * seconds / (4.0 * kTensors * kSteps);
  std::printf("a touch: %.0f ns\n", each);
  EXPECT(each < 50'000);
  EXPECT_EQ(kinds(), "");
}

}  // namespace
