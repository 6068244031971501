// Cosines and sines of rotary embeddings, the same bits on every machine.
#ifndef QZO_KERNELS_ROPE_TABLE_H_
#define QZO_KERNELS_ROPE_TABLE_H_

#include <cstdint>
#include <span>
#include <vector>

namespace qzo::kernels {

// [positions, rotary_dim / 2] each, row-major, as RopeArgs expects.
struct RopeTable {
  std::vector<float> cos;
  std::vector<float> sin;
};

// Angle of (position, i) = position · base^(−2i/rotary_dim) / divisors[i], in double, its cosine and sine times
// `magnitude` rounded to fp32. `divisors` is empty or has rotary_dim / 2 values (the rope_freqs tensor of Llama 3).
// positions <= 2^30.
RopeTable BuildRopeTable(int64_t positions, int rotary_dim, double base, std::span<const float> divisors = {},
                         double magnitude = 1);

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_ROPE_TABLE_H_
