// Multipliers and deltas with their noise on the fly, and the update: the bits of kernels.h's noise, perturb and
// update.
#ifndef QZO_KERNELS_CUDA_NOISE_H_
#define QZO_KERNELS_CUDA_NOISE_H_

#include <cstdint>

#include "base/philox.h"
#include "kernels/cuda/gpu.h"
#include "kernels/exact_math.h"
#include "kernels/kernels.h"
#include "kernels/noise.h"

namespace qzo::kernels::cuda {

// Which direction a lane is perturbed in, and how far. signed_epsilon 0: multipliers and deltas as they are.
struct LaneNoise {
  uint64_t seed = 0;
  uint32_t step = 0;
  uint32_t probe = 0;
  float signed_epsilon = 0;
  NoiseKind kind = NoiseKind::kRademacher;
  float signed_delta_epsilon = 0;  // the same of deltas, times their unit
};

// The trained state of one matrix. No multipliers: all ones, without noise.
struct Multipliers {
  const float* k = nullptr;     // [rows] or [rows, groups]
  const float* unit = nullptr;  // likewise, nullptr: all ones
  uint32_t tensor = 0;          // ordinal in the partition
  uint32_t first = 0;  // of the tensor's multipliers, where the matrix is a part of it: k and unit are the tensor's
};

// The trained state of an unquantized tensor, a delta for every value. No deltas: it is not trained.
struct Deltas {
  const float* values = nullptr;
  uint32_t tensor = 0;  // ordinal in the partition
};

QZO_DEVICE uint32_t SelectWord(const base::PhiloxWords& words, uint32_t i) {  // no indexing: words stay in registers
  const uint32_t low = (i & 1) == 0 ? words.w[0] : words.w[1], high = (i & 1) == 0 ? words.w[2] : words.w[3];
  return (i & 2) == 0 ? low : high;
}

// z at ascending indices of one tensor in one direction: a word of Philox serves 32 signs.
class NoiseCursor {
 public:
  QZO_DEVICE float At(const LaneNoise& lane, uint32_t tensor, uint32_t index) {
    if (lane.kind == NoiseKind::kGaussian) {
      const base::PhiloxWords words = Words(lane, tensor, index / kGaussianPerBlock);
      float first, second;
      BoxMuller(SelectWord(words, index & 2), SelectWord(words, (index & 2) + 1), &first, &second);
      return index % 2 == 0 ? first : second;
    }
    return Sign(lane, tensor, index);
  }

  // z at `index`, a multiple of four, and at the three after it.
  QZO_DEVICE void Four(const LaneNoise& lane, uint32_t tensor, uint32_t index, float (&z)[4]) {
    static_assert(kGaussianPerBlock == 4);
    if (lane.kind == NoiseKind::kGaussian) {
      const base::PhiloxWords words = Words(lane, tensor, index / kGaussianPerBlock);
      BoxMuller(words.w[0], words.w[1], &z[0], &z[1]);
      BoxMuller(words.w[2], words.w[3], &z[2], &z[3]);
      return;
    }
    QZO_UNROLL
    for (uint32_t i = 0; i < 4; ++i) z[i] = Sign(lane, tensor, index + i);
  }

  // The lane's multiplier `index` of the matrix.
  QZO_DEVICE float Multiplier(const Multipliers& m, const LaneNoise& lane, uint32_t index) {
    if (m.k == nullptr) return 1.0f;
    index += m.first;
    if (lane.signed_epsilon == 0) return m.k[index];
    const float unit = m.unit == nullptr ? 1.0f : m.unit[index];
    return Fma(lane.signed_epsilon * unit, At(lane, m.tensor, index), m.k[index]);
  }

  // What the lane adds to value `index` of a tensor.
  QZO_DEVICE float Delta(const Deltas& d, const LaneNoise& lane, uint32_t index) {
    if (lane.signed_epsilon == 0) return d.values[index];
    return Fma(lane.signed_delta_epsilon, At(lane, d.tensor, index), d.values[index]);
  }

 private:
  QZO_DEVICE float Sign(const LaneNoise& lane, uint32_t tensor, uint32_t index) {
    if (index / 32 != signs_of_) {
      signs_of_ = index / 32;
      signs_ = SelectWord(Words(lane, tensor, index / kRademacherPerBlock), signs_of_ % 4);
    }
    return (signs_ >> index % 32 & 1) == 0 ? 1.0f : -1.0f;
  }
  QZO_DEVICE static base::PhiloxWords Words(const LaneNoise& lane, uint32_t tensor, uint32_t block) {
    return base::Philox4x32(lane.seed, {{block, tensor, lane.probe, lane.step}});
  }

  uint32_t signs_of_ = 0xffffffffu;  // beyond the last one: tensors have fewer than 2^32 values
  uint32_t signs_ = 0;
};

// Where a tensor's multipliers or deltas are among those of all, and the first block of threads that updates them.
struct UpdateTensor {
  int64_t begin = 0;
  uint32_t count = 0;
  uint32_t ordinal = 0;  // in the partition
  int32_t first_block = 0;
  bool deltas = false;
  int64_t unit = 0;  // where a multiplier's units begin among those of all
};

struct UpdateParams {
  float* k = nullptr;  // of all tensors
  const float* unit = nullptr;
  float delta_unit = 0;                   // of every delta
  const UpdateTensor* tensors = nullptr;  // in the order of their blocks
  int tensor_count = 0;
  int blocks = 0;
  const LaneNoise* probes = nullptr;    // directions; their epsilons are not read
  const float* coefficients = nullptr;  // [probe_count]
  int probe_count = 0;
};

inline constexpr int kUpdateThreads = 256;

constexpr int UpdateBlocks(uint32_t count) {
  return static_cast<int>(count / kUpdateThreads + (count % kUpdateThreads != 0 ? 1 : 0));
}
// Which value of a tensor a thread of its block `block` has: there may be 2^32 of them.
QZO_HOST_DEVICE constexpr uint32_t UpdateIndex(int block, int thread) {
  return static_cast<uint32_t>(block) * kUpdateThreads + static_cast<uint32_t>(thread);
}

// The last tensor that begins at a block or before.
QZO_DEVICE UpdateTensor TensorOf(const UpdateTensor* tensors, int count, int block) {
  int low = 0, high = count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (tensors[middle].first_block <= block) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return tensors[low];
}

QZO_KERNEL(256, 4) UpdateKernel(const UpdateParams p) {
  const UpdateTensor tensor = TensorOf(p.tensors, p.tensor_count, BlockIndexX());
  const uint32_t i = UpdateIndex(BlockIndexX() - tensor.first_block, ThreadIndex());
  if (i >= tensor.count) return;
  const float unit = tensor.deltas ? p.delta_unit : p.unit == nullptr ? 1.0f : p.unit[tensor.unit + i];
  const float floor = p.unit == nullptr ? 0x1p-6f : 1e-7f * FromBits(Bits(unit) & 0x7fffffffu);
  float k = p.k[tensor.begin + i];
  for (int probe = 0; probe < p.probe_count; ++probe) {
    const float coefficient = p.coefficients[probe];
    if (coefficient == 0) continue;
    NoiseCursor noise;
    const float moved = Fma(-(coefficient * unit), noise.At(p.probes[probe], tensor.ordinal, i), k);
    k = tensor.deltas ? moved : Max(floor, moved);
  }
  p.k[tensor.begin + i] = k;
}

struct PerturbParams {
  Multipliers multipliers;
  LaneNoise lane;
  uint32_t count = 0;
  float* out = nullptr;  // [count]
};

// What the matrix products see of a lane, for tests of the noise on a device.
QZO_KERNEL(256, 4) PerturbKernel(const PerturbParams p) {
  const uint32_t i = UpdateIndex(BlockIndexX(), ThreadIndex());
  if (i >= p.count) return;
  NoiseCursor noise;
  p.out[i] = noise.Multiplier(p.multipliers, p.lane, i);
}

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_NOISE_H_
