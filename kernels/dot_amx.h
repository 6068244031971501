// The tile registers of AMX (TILE, INT8) for simd_amx.h. dot_amx_emulated.h has the same in plain code, for tests.
// Inline assembly: the intrinsics of g++ 12 take a register's number as text, which no template has, and do not say
// that they read memory.
#ifndef QZO_KERNELS_DOT_AMX_H_
#define QZO_KERNELS_DOT_AMX_H_

#include <cstdint>

#include "kernels/vec_avx512.h"

namespace qzo::kernels {
namespace {

constexpr uint32_t kByteFlip = 0;

// `config`: 64 bytes, the memory operand of LDTILECFG. All registers become 0.
QZO_VEC void ConfigureTiles(const void* config) { asm volatile("ldtilecfg (%0)" : : "r"(config) : "memory"); }
// Until then the system saves 8 KiB of registers whenever it switches threads.
QZO_VEC void ReleaseTiles() { asm volatile("tilerelease"); }

template <int kTile>
QZO_VEC void ClearTile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
}
// Rows `stride` bytes apart, as many and as long as the register is configured to have.
template <int kTile>
QZO_VEC void LoadTile(const void* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
QZO_VEC void StoreTile(void* to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
}

// sums[m][n] += Σ over k of the four products x[m][4k + i] · codes[k][4n + i], of signed bytes, or unsigned ones of x.
template <int kSums, int kX, int kCodes>
QZO_VEC void DotSignedTiles() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kX), "i"(kCodes));
}
template <int kSums, int kX, int kCodes>
QZO_VEC void DotUnsignedTiles() {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kX), "i"(kCodes));
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_DOT_AMX_H_
