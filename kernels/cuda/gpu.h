// What a kernel of this folder may use of a GPU: threads, barriers, shared memory, warp exchanges, asynchronous copies
// and tensor-core products. nvcc maps them to instructions (device.h), any other compiler to an emulator (host/): the
// kernels are the same source in both, so what the tests run on a CPU is what a GPU runs.
//
// Rules for kernels: whole warps (block sizes are multiples of 32, no thread leaves before the others); shared memory
// is dynamic only; barriers and warp operations are reached by all threads of the block or warp.
#ifndef QZO_KERNELS_CUDA_GPU_H_
#define QZO_KERNELS_CUDA_GPU_H_

#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#include "kernels/cuda/device.h"
#else
#include "kernels/cuda/host/device.h"
#endif

namespace qzo::kernels::cuda {

// What every device from compute capability 8.0 on launches: bytes of shared memory of a block (8.6, 8.9 and 12.0 have
// the least) and blocks of a grid in y. In x there may be 2^31 − 1; none at all is an error.
inline constexpr int kMostShared = 99 * 1024;
inline constexpr int kMostGridY = 65535;

// bfloat16 (the upper half of a binary32) to binary32, exact.
QZO_DEVICE float Bf16ToFloat(uint32_t bits) { return FloatFromBits(bits << 16); }

// Two bfloat16 numbers in a word, `low` in the lower half; round to nearest even. NaN stays NaN.
QZO_DEVICE uint32_t PackBf16(float low, float high) { return RoundToBf16(low) | RoundToBf16(high) << 16; }

// Two bfloat16 numbers 128 + nibble, exact, of the nibbles at bits 0 and 16.
QZO_DEVICE uint32_t NibblesPlus128(uint32_t word) { return (word & 0x000f000fu) | 0x43004300u; }

// Sum over the 16 lanes of a half warp, in a fixed order; every lane gets it.
QZO_DEVICE float HalfWarpSum(float value) {
  for (int offset = 8; offset >= 1; offset /= 2) value += ShuffleXor(value, offset);
  return value;
}
QZO_DEVICE float WarpSum(float value) {
  for (int offset = 16; offset >= 1; offset /= 2) value += ShuffleXor(value, offset);
  return value;
}
QZO_DEVICE float WarpMax(float value) {
  for (int offset = 16; offset >= 1; offset /= 2) {
    const float other = ShuffleXor(value, offset);
    value = other > value || other != other ? other : value;  // NaN wins
  }
  return value;
}

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_GPU_H_
