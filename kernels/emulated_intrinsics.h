// The AVX-512 intrinsics of vec_avx512.h and dot_avx512.h for AVX2: SIMDe's, and from the processor's manual those that
// its version 0.7.4 lacks. A file that is tested on emulated instructions includes this before it includes them.
#ifndef QZO_KERNELS_EMULATED_INTRINSICS_H_
#define QZO_KERNELS_EMULATED_INTRINSICS_H_

#include <immintrin.h>

#include <cstring>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

// A call instead of a register's name is as long as a function: inlined everywhere they would take g++ minutes.
#define QZO_VEC inline
#define QZO_VEC_LAMBDA
#define QZO_EMULATED_INSTRUCTIONS

static_assert(SIMDE_NATURAL_VECTOR_SIZE == 256);
#ifndef SIMDE_X86_FMA_NATIVE
#error "SIMDe would round products before it adds them"
#endif

namespace qzo::kernels {
namespace {

struct EmulatedFloats {
  float lane[16];
};
struct EmulatedInts {
  int32_t lane[16];
};
template <typename To, typename From>
inline To BitsAs(const From& from) {
  To to;
  static_assert(sizeof(to) == sizeof(from));
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

inline __m256i CvtEpi32Epi16(__m512i a) {
  const EmulatedInts ints = BitsAs<EmulatedInts>(a);
  int16_t words[16];
  for (int i = 0; i < 16; ++i) words[i] = static_cast<int16_t>(ints.lane[i]);
  return BitsAs<__m256i>(words);
}
inline __m128i CvtEpi32Epi8(__m512i a) {
  const EmulatedInts ints = BitsAs<EmulatedInts>(a);
  int8_t bytes[16];
  for (int i = 0; i < 16; ++i) bytes[i] = static_cast<int8_t>(ints.lane[i]);
  return BitsAs<__m128i>(bytes);
}
inline __m512 CvtEpi32Ps(__m512i a) {
  EmulatedFloats floats;
  for (int i = 0; i < 16; ++i) floats.lane[i] = static_cast<float>(BitsAs<EmulatedInts>(a).lane[i]);
  return BitsAs<__m512>(floats);
}
inline __m512 CvtPhPs(__m256i a) {
  EmulatedFloats floats;
  _mm256_storeu_ps(floats.lane, _mm256_cvtph_ps(_mm256_castsi256_si128(a)));
  _mm256_storeu_ps(floats.lane + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1)));
  return BitsAs<__m512>(floats);
}
inline __m512d CvtPsPd(__m256 a) {
  double doubles[8];
  _mm256_storeu_pd(doubles, _mm256_cvtps_pd(_mm256_castps256_ps128(a)));
  _mm256_storeu_pd(doubles + 4, _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)));
  return BitsAs<__m512d>(doubles);
}
inline __m256 ExtractF32x8(__m512 a, int half) { return _mm256_loadu_ps(BitsAs<EmulatedFloats>(a).lane + 8 * half); }
// Memory of lanes that are masked off is not touched.
inline __m512 MaskLoadPs(__m512 from, __mmask16 mask, const float* p) {
  EmulatedFloats floats = BitsAs<EmulatedFloats>(from);
  for (int i = 0; i < 16; ++i) {
    if ((mask >> i & 1) != 0) floats.lane[i] = p[i];
  }
  return BitsAs<__m512>(floats);
}
inline void MaskStorePs(float* p, __mmask16 mask, __m512 a) {
  const EmulatedFloats floats = BitsAs<EmulatedFloats>(a);
  for (int i = 0; i < 16; ++i) {
    if ((mask >> i & 1) != 0) p[i] = floats.lane[i];
  }
}
inline __m512 PermutePs(__m512 a, int order) {
  const EmulatedFloats from = BitsAs<EmulatedFloats>(a);
  EmulatedFloats to;
  for (int i = 0; i < 16; ++i) to.lane[i] = from.lane[i / 4 * 4 + (order >> i % 4 * 2 & 3)];
  return BitsAs<__m512>(to);
}
inline __m512i SraiEpi32(__m512i a, unsigned by) {
  EmulatedInts ints = BitsAs<EmulatedInts>(a);
  for (int32_t& lane : ints.lane) lane >>= by > 31 ? 31 : by;
  return BitsAs<__m512i>(ints);
}
// Not instructions, these: compilers halve the lanes until one is left.
template <typename Lanes, typename Register>
inline auto ReduceMax(Register a) {
  Lanes lanes = BitsAs<Lanes>(a);
  for (int half = 8; half >= 1; half /= 2) {
    for (int i = 0; i < half; ++i) {
      if (!(lanes.lane[i] > lanes.lane[i + half])) lanes.lane[i] = lanes.lane[i + half];
    }
  }
  return lanes.lane[0];
}

}  // namespace
}  // namespace qzo::kernels

#undef _mm512_cvtepi32_epi16
#undef _mm512_cvtepi32_epi8
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtph_ps
#undef _mm512_cvtps_pd
#undef _mm512_extractf32x8_ps
#undef _mm512_madd_epi16
#undef _mm512_mask_loadu_ps
#undef _mm512_mask_storeu_ps
#undef _mm512_permute_ps
#undef _mm512_reduce_max_epi32
#undef _mm512_reduce_max_ps
#undef _mm512_shuffle_f32x4
#undef _mm512_srai_epi32
#define _mm512_cvtepi32_epi16 CvtEpi32Epi16
#define _mm512_cvtepi32_epi8 CvtEpi32Epi8
#define _mm512_cvtepi32_ps CvtEpi32Ps
#define _mm512_cvtph_ps CvtPhPs
#define _mm512_cvtps_pd CvtPsPd
#define _mm512_extractf32x8_ps ExtractF32x8
#define _mm512_madd_epi16 simde_mm512_madd_epi16
#define _mm512_mask_loadu_ps MaskLoadPs
#define _mm512_mask_storeu_ps MaskStorePs
#define _mm512_permute_ps PermutePs
#define _mm512_reduce_max_epi32 ReduceMax<EmulatedInts>
#define _mm512_reduce_max_ps ReduceMax<EmulatedFloats>
#define _mm512_shuffle_f32x4 simde_mm512_shuffle_f32x4
#define _mm512_srai_epi32 SraiEpi32

#endif  // QZO_KERNELS_EMULATED_INTRINSICS_H_
