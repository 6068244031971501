// The instructions that the dot_*.h are made of, as inline assembly: given intrinsics, g++ 12 begins so many products
// at once that it keeps the sums in memory, and copies two registers around each VNNI instruction, which halves the
// speed where the front end is the limit. Plain code instead where QZO_EMULATED_INSTRUCTIONS is defined: for tests, on
// machines that lack them. `Register` is __m256i or __m512i.
#ifndef QZO_KERNELS_DOT_INSTRUCTIONS_H_
#define QZO_KERNELS_DOT_INSTRUCTIONS_H_

#include QZO_VEC_HEADER

#ifdef QZO_EMULATED_INSTRUCTIONS
#include <cstring>
#endif

namespace qzo::kernels {
namespace {

#ifdef QZO_EMULATED_INSTRUCTIONS

// In each lane of the size of Sum kProducts products are added up, clamped if that is 16 bits, and added to the sum,
// which wraps.
template <typename Sum, typename W, typename X, int kProducts, typename Register>
void AddDots(Register& acc, Register w, Register x) {
  constexpr int kLanes = sizeof(Register) / sizeof(Sum);
  Sum sums[kLanes];
  W ws[kLanes * kProducts];
  X xs[kLanes * kProducts];
  static_assert(sizeof(ws) == sizeof(w) && sizeof(xs) == sizeof(x));
  std::memcpy(sums, &acc, sizeof(sums));
  std::memcpy(ws, &w, sizeof(ws));
  std::memcpy(xs, &x, sizeof(xs));
  for (int lane = 0; lane < kLanes; ++lane) {
    uint32_t dot = 0;
    for (int i = lane * kProducts; i < (lane + 1) * kProducts; ++i) dot += static_cast<uint32_t>(ws[i] * xs[i]);
    if constexpr (sizeof(Sum) == 2) {
      const int32_t value = static_cast<int32_t>(dot);
      dot = static_cast<uint32_t>(value < -0x8000 ? -0x8000 : value > 0x7fff ? 0x7fff : value);
    }
    sums[lane] = static_cast<Sum>(static_cast<uint32_t>(sums[lane]) + dot);
  }
  std::memcpy(&acc, sums, sizeof(sums));
}
template <typename Register>
QZO_VEC void MultiplyAddPairs(Register& acc, Register w, Register x) {
  AddDots<int32_t, int16_t, int16_t, 2>(acc, w, x);
}
template <typename Register>
QZO_VEC void MultiplyAddBytes(Register& sums, Register w, Register x) {
  AddDots<int16_t, uint8_t, int8_t, 2>(sums, w, x);
}
template <typename Register>
QZO_VEC void VnniPairs(Register& acc, Register w, Register x) {
  AddDots<int32_t, int16_t, int16_t, 2>(acc, w, x);
}
template <typename Register>
QZO_VEC void VnniQuads(Register& acc, Register w, Register x) {
  AddDots<int32_t, uint8_t, int8_t, 4>(acc, w, x);
}

#else

// acc += two products of signed 16-bit values per lane of 32 bits.
template <typename Register>
QZO_VEC void MultiplyAddPairs(Register& acc, Register w, Register x) {
  Register product;
  asm("vpmaddwd %2, %3, %1\n\tvpaddd %1, %0, %0" : "+v"(acc), "=&v"(product) : "v"(x), "v"(w));
}
// sums += two products of unsigned bytes of w and signed ones of x per lane of 16 bits; the two together are clamped.
template <typename Register>
QZO_VEC void MultiplyAddBytes(Register& sums, Register w, Register x) {
  Register product;
  asm("vpmaddubsw %2, %3, %1\n\tvpaddw %1, %0, %0" : "+v"(sums), "=&v"(product) : "v"(x), "v"(w));
}
// acc += as MultiplyAddPairs does, or four products of unsigned bytes of w and signed ones of x per lane of 32 bits.
template <typename Register>
QZO_VEC void VnniPairs(Register& acc, Register w, Register x) {
  if constexpr (sizeof(Register) == 64) {
    asm("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(x));
  } else {
    asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(acc) : "x"(w), "x"(x));
  }
}
template <typename Register>
QZO_VEC void VnniQuads(Register& acc, Register w, Register x) {
  if constexpr (sizeof(Register) == 64) {
    asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(x));
  } else {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(w), "x"(x));
  }
}

#endif

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_DOT_INSTRUCTIONS_H_
