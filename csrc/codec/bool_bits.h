#pragma once

#include <cstdint>
#include <cstring>

#include "base/host_device.h"

namespace storm::codec {

// Note [Bools as bits]
// torch keeps a bool in a byte. On the wire n of them are ceil(n / 64) * 8 bytes of bits and one
// word of 8 bytes behind them, the *stray word*: 0 if every byte was 0 or 1, else bits cannot say
// what it was, and the word says so. Bool i is bit i % 8 of byte i / 8; bits behind the last are 0.
//
// A kernel's thread takes lanes of 16 bools, 2 bytes of bits, in the usual grid-stride loop; the
// loops below are that loop, so a host that plays every thread of a grid computes what the device
// does, and a host that plays one thread with a step of 1 is the CPU kernel.

constexpr int64_t kLaneBools = 16;
constexpr int64_t kLaneBits = 2;  // bytes

STORM_HOST_DEVICE constexpr int64_t bool_lanes(int64_t bools) {
  return (bools / 64 + (bools % 64 != 0)) * 4;
}
STORM_HOST_DEVICE constexpr int64_t stray_word_at(int64_t bools) {
  return bool_lanes(bools) * kLaneBits;
}
STORM_HOST_DEVICE constexpr int64_t bool_wire_bytes(int64_t bools) {
  return stray_word_at(bools) + 8;
}

// What a kernel reads and writes. It computes next to nothing, so the time to expect of it is this
// over the device's memory bandwidth. The copy over the link is not in it.
constexpr int64_t pack_bool_bytes(int64_t bools) {
  return bools + bool_wire_bytes(bools);
}
constexpr int64_t unpack_bool_bytes(int64_t bools) {
  return stray_word_at(bools) + bools;
}

// How many blocks a kernel has: enough to fill any device of today, few enough to let others in.
constexpr int kBoolThreads = 256;
constexpr int64_t kBoolMostBlocks = 2048;
constexpr int64_t bool_blocks(int64_t bools) {
  const int64_t lanes = bool_lanes(bools);
  const int64_t blocks = lanes / kBoolThreads + (lanes % kBoolThreads != 0);
  return blocks < kBoolMostBlocks ? blocks : kBoolMostBlocks;
}

// --- 8 bools, as one word, and their bits. Any byte order: what one makes the other undoes.

constexpr uint64_t kOnes = 0x0101010101010101;

// The bits by which a byte is neither 0 nor 1.
STORM_HOST_DEVICE constexpr uint64_t stray_bits(uint64_t bools) {
  return bools & ~kOnes;
}
// Each factor's bit moves one byte's lowest bit to its place in the top byte; no two meet.
STORM_HOST_DEVICE constexpr uint8_t pack8(uint64_t bools) {
  return static_cast<uint8_t>(((bools & kOnes) * 0x0102040810204080) >> 56);
}
// Byte i keeps bit i of the copy it got, which the addition carries into its top bit.
STORM_HOST_DEVICE constexpr uint64_t unpack8(uint8_t bits) {
  const uint64_t kept = (bits * kOnes) & 0x8040201008040201;
  return ((kept + 0x7F7F7F7F7F7F7F7F) >> 7) & kOnes;
}

// --- lanes

struct alignas(16) BoolLane {
  uint64_t low, high;
};

// `kAligned`: the address is a multiple of 16, so a device moves the lane at once.
template <bool kAligned>
STORM_HOST_DEVICE inline BoolLane load_lane(const uint8_t* from) {
  BoolLane lane;
  if constexpr (kAligned) {
    std::memcpy(&lane, __builtin_assume_aligned(from, alignof(BoolLane)), sizeof lane);
  } else {
    std::memcpy(&lane, from, sizeof lane);
  }
  return lane;
}
template <bool kAligned>
STORM_HOST_DEVICE inline void store_lane(uint8_t* to, const BoolLane& lane) {
  if constexpr (kAligned) {
    std::memcpy(__builtin_assume_aligned(to, alignof(BoolLane)), &lane, sizeof lane);
  } else {
    std::memcpy(to, &lane, sizeof lane);
  }
}

// Part of a lane, in registers: a copy of a length that is not known would need memory.
STORM_HOST_DEVICE inline BoolLane load_bools(const uint8_t* from, int64_t bools) {
  BoolLane lane{0, 0};
  for (int64_t i = bools; i-- > 0;) {
    (i < 8 ? lane.low : lane.high) <<= 8;
    (i < 8 ? lane.low : lane.high) |= from[i];
  }
  return lane;
}
STORM_HOST_DEVICE inline void store_bools(uint8_t* to, int64_t bools, BoolLane lane) {
  for (int64_t i = 0; i < bools; ++i) {
    to[i] = static_cast<uint8_t>(i < 8 ? lane.low : lane.high);
    (i < 8 ? lane.low : lane.high) >>= 8;
  }
}

// How many bools the lane has: 16, fewer at the end, none in the padding.
STORM_HOST_DEVICE constexpr int64_t bools_in_lane(int64_t lane, int64_t bools) {
  const int64_t rest = bools - lane * kLaneBools;
  return rest > kLaneBools ? kLaneBools : rest < 0 ? 0 : rest;
}

// One thread's share of packing; whether it met a byte that was neither 0 nor 1. Does not touch
// the stray word.
template <bool kAligned>
STORM_HOST_DEVICE inline bool pack_lanes(const uint8_t* bools, int64_t count, uint8_t* bits,
                                         int64_t first, int64_t step) {
  uint64_t stray = 0;
  const int64_t lanes = bool_lanes(count);
  for (int64_t i = first; i < lanes; i += step) {
    const int64_t here = bools_in_lane(i, count);
    BoolLane lane{0, 0};
    if (here == kLaneBools) {
      lane = load_lane<kAligned>(bools + i * kLaneBools);
    } else if (here > 0) {
      lane = load_bools(bools + i * kLaneBools, here);
    }
    stray |= stray_bits(lane.low | lane.high);
    const uint8_t packed[kLaneBits] = {pack8(lane.low), pack8(lane.high)};
    std::memcpy(__builtin_assume_aligned(bits + i * kLaneBits, kLaneBits), packed, kLaneBits);
  }
  return stray != 0;
}

// One thread's share of unpacking.
template <bool kAligned>
STORM_HOST_DEVICE inline void unpack_lanes(const uint8_t* bits, int64_t count, uint8_t* bools,
                                           int64_t first, int64_t step) {
  const int64_t lanes = bool_lanes(count);
  for (int64_t i = first; i < lanes; i += step) {
    const int64_t here = bools_in_lane(i, count);
    if (here == 0) break;  // padding, and so is every later lane
    uint8_t packed[kLaneBits];
    std::memcpy(packed, __builtin_assume_aligned(bits + i * kLaneBits, kLaneBits), kLaneBits);
    const BoolLane lane{unpack8(packed[0]), unpack8(packed[1])};
    if (here == kLaneBools) {
      store_lane<kAligned>(bools + i * kLaneBools, lane);
    } else {
      store_bools(bools + i * kLaneBools, here, lane);
    }
  }
}

}  // namespace storm::codec
