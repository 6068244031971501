// gpu.h for ordinary compilers: the operations of device.h on the emulator's threads, with its checks. Tests only.
#ifndef QZO_KERNELS_CUDA_HOST_DEVICE_H_
#define QZO_KERNELS_CUDA_HOST_DEVICE_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/cuda/host/emulator.h"
#include "kernels/weights.h"

#define QZO_KERNEL(threads, blocks_per_multiprocessor) inline void
#define QZO_DEVICE inline
#define QZO_UNROLL
#define QZO_NO_UNROLL

namespace qzo::kernels::cuda {

inline int ThreadIndex() { return emulator::CurrentThread(); }
inline int BlockIndexX() { return emulator::CurrentBlock().x; }
inline int BlockIndexY() { return emulator::CurrentBlock().y; }
inline int GridSizeX() { return emulator::CurrentGrid().x; }
inline void SyncThreads() { emulator::Barrier(); }
inline std::byte* SharedMemory() { return emulator::Shared(); }

inline float ShuffleXor(float value, int mask) {
  const uint32_t words[2] = {std::bit_cast<uint32_t>(value), static_cast<uint32_t>(mask)};
  return std::bit_cast<float>(*emulator::Exchange(emulator::WarpOp::kShuffleXor, words, 2));
}

inline float FloatFromBits(uint32_t bits) { return std::bit_cast<float>(bits); }
inline float HalfBitsToFloat(uint32_t bits) { return HalfToFloat(static_cast<uint16_t>(bits)); }
inline uint32_t RoundToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (value != value) return 0x7fff;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
inline uint32_t Bf16Fma2(uint32_t a, uint32_t b, uint32_t c) {
  const auto half = [&](int shift) {
    const auto value = [shift](uint32_t pair) { return FloatFromBits((pair >> shift & 0xffff) << 16); };
    // The product of two 8-bit significands is exact in double, and so is the sum for exponents of ordinary size.
    return RoundToBf16(static_cast<float>(double{value(a)} * double{value(b)} + double{value(c)}));
  };
  return half(0) | half(16) << 16;
}
inline uint32_t PickBytes(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = a | uint64_t{b} << 32;
  uint32_t picked = 0;
  for (int i = 0; i < 4; ++i) {
    picked |= static_cast<uint32_t>(bytes >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
  }
  return picked;
}

inline void CopyAsync16(void* shared, const void* global) { emulator::CopyAsync(shared, global, 16); }
inline void CopyAsyncCommit() { emulator::CopyCommit(); }
template <int kPending>
void CopyAsyncWait() {
  emulator::CopyWait(kPending);
}
inline void LoadMatrices(uint32_t (&r)[4], const void* row) { emulator::LoadMatrices(r, row, false); }
inline void LoadMatricesTransposed(uint32_t (&r)[4], const void* row) { emulator::LoadMatrices(r, row, true); }
inline void MmaBf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  uint32_t words[10] = {a[0], a[1], a[2], a[3], b0, b1};
  std::memcpy(words + 6, d, sizeof(d));
  std::memcpy(d, emulator::Exchange(emulator::WarpOp::kMma, words, 10), sizeof(d));
}

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_HOST_DEVICE_H_
