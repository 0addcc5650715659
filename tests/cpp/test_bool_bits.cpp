// The kernels' own element code and loops against formulas written down another way.
#include <sys/mman.h>

#include <array>
#include <random>
#include <vector>

#include "codec/bool_bits.h"
#include "harness.h"

using namespace storm::codec;

namespace {

struct Wire {
  std::vector<uint8_t> bits;
  bool stray = false;
  bool operator==(const Wire&) const = default;
};

struct Grid {
  int64_t blocks, threads;
};

// Bool by bool.
Wire reference(const uint8_t* bools, int64_t count) {
  Wire wire{std::vector<uint8_t>(static_cast<size_t>((count + 63) / 64 * 8)), false};
  for (int64_t i = 0; i < count; ++i) {
    wire.bits[i / 8] |= static_cast<uint8_t>((bools[i] & 1) << (i % 8));
    wire.stray |= bools[i] > 1;
  }
  return wire;
}

// Memory at a chosen distance from a multiple of 16, between bytes that nobody may touch.
class Bytes {
 public:
  Bytes(int64_t bytes, int64_t misalignment) : bytes_(bytes), room_(bytes + 64, kFence) {
    const auto base = reinterpret_cast<uintptr_t>(room_.data());
    begin_ = static_cast<int64_t>((16 - base % 16) % 16) + 16 + misalignment;
  }
  uint8_t* data() { return room_.data() + begin_; }
  bool fences_hold() const {
    for (int64_t i = 0; i < static_cast<int64_t>(room_.size()); ++i) {
      if ((i < begin_ || i >= begin_ + bytes_) && room_[i] != kFence) return false;
    }
    return true;
  }

 private:
  static constexpr uint8_t kFence = 0xA5;
  int64_t bytes_, begin_;
  std::vector<uint8_t> room_;
};

// Every thread of every block, as the kernel's index arithmetic has them.
template <typename Thread>
void play(Grid grid, const Thread& thread) {
  for (int64_t block = 0; block < grid.blocks; ++block) {
    for (int64_t in_block = 0; in_block < grid.threads; ++in_block)
      thread(block * grid.threads + in_block, grid.blocks * grid.threads);
  }
}

Wire packed(uint8_t* bools, int64_t count, Grid grid, bool aligned) {
  Bytes bits(stray_word_at(count), 0);
  Wire wire;
  play(grid, [&](int64_t first, int64_t step) {
    wire.stray |= aligned ? pack_lanes<true>(bools, count, bits.data(), first, step)
                          : pack_lanes<false>(bools, count, bits.data(), first, step);
  });
  EXPECT(bits.fences_hold());
  wire.bits.assign(bits.data(), bits.data() + stray_word_at(count));
  return wire;
}

bool unpacks_to(Wire wire, const uint8_t* bools, int64_t count, Grid grid, int64_t misalignment) {
  Bytes back(count, misalignment);
  play(grid, [&](int64_t first, int64_t step) {
    if (misalignment == 0) {
      unpack_lanes<true>(wire.bits.data(), count, back.data(), first, step);
    } else {
      unpack_lanes<false>(wire.bits.data(), count, back.data(), first, step);
    }
  });
  return back.fences_hold() &&
         (count == 0 || std::memcmp(back.data(), bools, static_cast<size_t>(count)) == 0);
}

constexpr std::array<Grid, 4> kGrids{{{1, 1}, {1, 32}, {3, 2}, {2, 256}}};

}  // namespace

TEST(eight_bools_are_the_bits_of_a_byte_and_back_for_every_byte) {
  for (int bits = 0; bits < 256; ++bits) {
    uint8_t bools[8];
    for (int i = 0; i < 8; ++i) bools[i] = (bits >> i) & 1;
    uint64_t word = 0;
    std::memcpy(&word, bools, 8);
    EXPECT_EQ(int{pack8(word)}, bits);
    EXPECT_EQ(unpack8(static_cast<uint8_t>(bits)), word);
    EXPECT_EQ(stray_bits(word), uint64_t{0});
  }
}

TEST(every_byte_value_in_every_place_is_a_bool_or_is_noticed) {
  for (int place = 0; place < 8; ++place) {
    for (uint64_t value = 0; value < 256; ++value) {
      const uint64_t word = value << (8 * place);
      EXPECT_EQ(stray_bits(word) != 0, value > 1);
      EXPECT_EQ(int{pack8(word)}, static_cast<int>((value & 1) << place));
      EXPECT_EQ(int{pack8(~uint64_t{0} - (uint64_t{255} << (8 * place)) + word)},
                255 - (1 << place) + static_cast<int>((value & 1) << place));
    }
  }
}

TEST(each_length_and_alignment_is_packed_and_unpacked_by_every_grid) {
  std::mt19937 random(1);
  for (int64_t count = 0; count <= 200; ++count) {
    for (int64_t misalignment = 0; misalignment < 16; ++misalignment) {
      Bytes bools(count, misalignment);
      const auto pattern = random() % 4;
      for (int64_t i = 0; i < count; ++i) {
        const uint8_t values[] = {0, 1, static_cast<uint8_t>(i & 1),
                                  static_cast<uint8_t>(random() & 1)};
        bools.data()[i] = values[pattern];
      }
      const auto expected = reference(bools.data(), count);
      EXPECT(!expected.stray);
      for (const auto& grid : kGrids) {
        EXPECT(packed(bools.data(), count, grid, misalignment == 0) == expected);
        EXPECT(unpacks_to(expected, bools.data(), count, grid, misalignment));
      }
    }
  }
}

TEST(any_bytes_at_all_are_packed_as_the_formula_says) {
  std::mt19937 random(2);
  for (int round = 0; round < 200; ++round) {
    const int64_t count = random() % 2000;
    Bytes bools(count, round % 16);
    for (int64_t i = 0; i < count; ++i) bools.data()[i] = static_cast<uint8_t>(random());
    const auto expected = reference(bools.data(), count);
    for (const auto& grid : kGrids)
      EXPECT(packed(bools.data(), count, grid, round % 16 == 0) == expected);
  }
}

TEST(one_stray_byte_is_noticed_wherever_it_lies) {
  for (int64_t count : {int64_t{1}, int64_t{15}, int64_t{16}, int64_t{17}, int64_t{130}}) {
    for (int64_t at = 0; at < count; ++at) {
      Bytes bools(count, 0);
      std::memset(bools.data(), 1, static_cast<size_t>(count));
      EXPECT(!packed(bools.data(), count, {2, 4}, true).stray);
      bools.data()[at] = 0x80;
      EXPECT(packed(bools.data(), count, {2, 4}, true).stray);
    }
  }
}

TEST(sizes_beyond_32_bits_are_counted_right) {
  constexpr int64_t kMany = (int64_t{1} << 33) + 5;
  static_assert(stray_word_at(0) == 0 && bool_wire_bytes(0) == 8 && bool_blocks(0) == 0);
  static_assert(stray_word_at(1) == 8 && stray_word_at(64) == 8 && stray_word_at(65) == 16);
  static_assert(stray_word_at(kMany) == (int64_t{1} << 30) + 8);
  static_assert(bool_wire_bytes(kMany) == (int64_t{1} << 30) + 16);
  static_assert(pack_bool_bytes(kMany) == kMany + bool_wire_bytes(kMany));
  static_assert(unpack_bool_bytes(kMany) == kMany + stray_word_at(kMany));
  static_assert(bools_in_lane(kMany / 16, kMany) == 5);
  static_assert(bools_in_lane(kMany / 16 + 1, kMany) == 0);
  static_assert(bool_blocks(16 * kBoolThreads) == 1 && bool_blocks(16 * kBoolThreads + 1) == 2);
  static_assert(bool_blocks(kMany) == kBoolMostBlocks);
  static_assert(bool_lanes(INT64_MAX) > 0);
}

// Address space only: one thread touches the last lanes, as the last one of a large grid would.
TEST(the_last_bools_of_more_than_2_to_the_32_are_reached) {
  constexpr int64_t kMany = (int64_t{1} << 32) + 67;
  const auto reserve = [](int64_t bytes) {
    void* memory = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    return static_cast<uint8_t*>(memory);
  };
  uint8_t *bools = reserve(kMany), *back = reserve(kMany), *bits = reserve(stray_word_at(kMany));
  const int64_t last = kMany / kLaneBools;
  bools[kMany - 1] = bools[kMany - 3] = 1;
  EXPECT(!pack_lanes<true>(bools, kMany, bits, last, bool_lanes(kMany)));
  EXPECT_EQ(int{bits[last * kLaneBits]}, 0b101);
  unpack_lanes<true>(bits, kMany, back, last, bool_lanes(kMany));
  EXPECT_EQ(int{back[kMany - 1]}, 1);
  EXPECT_EQ(int{back[kMany - 2]}, 0);
  EXPECT_EQ(int{back[kMany - 3]}, 1);
  munmap(bools, kMany);
  munmap(back, kMany);
  munmap(bits, stray_word_at(kMany));
}
