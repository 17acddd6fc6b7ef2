// The scales of a Q4_K block, and the search for good ones.
//
// A block is 256 elements in eight parts of 32: x = d · s_j · q − m · t_j with q of 4 bits, s_j and t_j of 6
// bits, d and m in half precision.
#pragma once

#include <array>
#include <cstdint>

namespace natrix {

constexpr int kLarge = 256;  // elements of a block of Q4_K, Q5_K and Q6_K

struct ScaleAndOffset {
  uint8_t scale = 0, offset = 0;  // of 6 bits
};

/// The scales of part j out of twelve bytes, and back. Parts 0 to 3 have six bits of bytes 0 to 3 (scales) and
/// 4 to 7 (offsets). Parts 4 to 7 have their low four bits in bytes 8 to 11, and their high two in the upper
/// bits of the first eight. Packing needs bytes that are zero at first.
ScaleAndOffset unpack_scale(const uint8_t* twelve, int j);
void pack_scale(ScaleAndOffset s, int j, uint8_t* twelve);

struct Q4KFit {
  uint16_t d = 0, m = 0;  // half precision
  std::array<ScaleAndOffset, 8> parts;
  std::array<uint8_t, kLarge> q{};  // 0 to 15
};

/// A block with a small squared error for 256 values. For each part several first scales are tried; from each,
/// rounding q and fitting scale and offset to it by least squares take turns. Then the eight parts' scales are
/// rounded to 6 bits, d and m are fitted to those by least squares, and q is rounded once more. Values that are
/// not finite give a block of no particular value.
Q4KFit fit_q4_k(const float* x);

}  // namespace natrix
