// 16 lanes for simd_body.h, AVX2 + FMA + F16C: two registers each, lanes 0–7 and 8–15. Same interface as vec_avx512.h,
// where the comments are; anonymous namespace for the same reason.
#ifndef QZO_KERNELS_VEC_AVX2_H_
#define QZO_KERNELS_VEC_AVX2_H_

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#define QZO_VEC inline __attribute__((always_inline))
#define QZO_VEC_LAMBDA __attribute__((always_inline))

namespace qzo::kernels {
namespace {

// 12 accumulators, two panel registers, one broadcast.
constexpr int kTileRows = 6;
constexpr int kTileVectors = 1;
constexpr int kHeadBlock = 2;
constexpr int kHeadVectors = 2;

struct F32x16 {
  __m256 low, high;
  QZO_VEC F32x16(__m256 l, __m256 h) : low(l), high(h) {}
  QZO_VEC explicit F32x16(float value) : low(_mm256_set1_ps(value)), high(low) {}
  F32x16() = default;
};

struct U32x16 {
  __m256i low, high;
  QZO_VEC U32x16(__m256i l, __m256i h) : low(l), high(h) {}
  QZO_VEC explicit U32x16(uint32_t value) : low(_mm256_set1_epi32(static_cast<int>(value))), high(low) {}
  U32x16() = default;
};

QZO_VEC F32x16 operator+(F32x16 a, F32x16 b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
QZO_VEC F32x16 operator-(F32x16 a, F32x16 b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
QZO_VEC F32x16 operator*(F32x16 a, F32x16 b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
QZO_VEC F32x16 operator/(F32x16 a, F32x16 b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
QZO_VEC F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
QZO_VEC F32x16 Sqrt(F32x16 a) { return {_mm256_sqrt_ps(a.low), _mm256_sqrt_ps(a.high)}; }
QZO_VEC F32x16 Min(F32x16 a, F32x16 b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
QZO_VEC F32x16 Max(F32x16 a, F32x16 b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }

QZO_VEC U32x16 operator+(U32x16 a, U32x16 b) {
  return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}
QZO_VEC U32x16 operator-(U32x16 a, U32x16 b) {
  return {_mm256_sub_epi32(a.low, b.low), _mm256_sub_epi32(a.high, b.high)};
}
QZO_VEC U32x16 operator&(U32x16 a, U32x16 b) {
  return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)};
}
QZO_VEC U32x16 operator|(U32x16 a, U32x16 b) {
  return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)};
}
QZO_VEC U32x16 operator^(U32x16 a, U32x16 b) {
  return {_mm256_xor_si256(a.low, b.low), _mm256_xor_si256(a.high, b.high)};
}
QZO_VEC U32x16 operator<<(U32x16 a, int by) { return {_mm256_slli_epi32(a.low, by), _mm256_slli_epi32(a.high, by)}; }
QZO_VEC U32x16 operator>>(U32x16 a, int by) { return {_mm256_srli_epi32(a.low, by), _mm256_srli_epi32(a.high, by)}; }
QZO_VEC U32x16 ShiftLeftEach(U32x16 a, U32x16 by) {
  return {_mm256_sllv_epi32(a.low, by.low), _mm256_sllv_epi32(a.high, by.high)};
}
QZO_VEC U32x16 Sar(U32x16 a, int by) { return {_mm256_srai_epi32(a.low, by), _mm256_srai_epi32(a.high, by)}; }
QZO_VEC U32x16 Sar16(U32x16 a, int by) { return {_mm256_srai_epi16(a.low, by), _mm256_srai_epi16(a.high, by)}; }
QZO_VEC U32x16 Sub16(U32x16 a, U32x16 b) { return {_mm256_sub_epi16(a.low, b.low), _mm256_sub_epi16(a.high, b.high)}; }
QZO_VEC U32x16 MaxSigned(U32x16 a, U32x16 b) {
  return {_mm256_max_epi32(a.low, b.low), _mm256_max_epi32(a.high, b.high)};
}
QZO_VEC U32x16 Iota() {
  return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}

QZO_VEC U32x16 Bits(F32x16 a) { return {_mm256_castps_si256(a.low), _mm256_castps_si256(a.high)}; }
QZO_VEC F32x16 FromBits(U32x16 a) { return {_mm256_castsi256_ps(a.low), _mm256_castsi256_ps(a.high)}; }
QZO_VEC F32x16 SignedToFloat(U32x16 a) { return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)}; }
QZO_VEC F32x16 HalfToFloat(U32x16 a) {
  // Packing works within 128-bit parts: the permutation puts the quarters back in order.
  const __m256i halves = _mm256_permute4x64_epi64(_mm256_packus_epi32(a.low, a.high), 0xd8);
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(halves)), _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1))};
}

template <int kBias>
QZO_VEC F32x16 NibbleToFloat(U32x16 a) {
  const U32x16 nibble = a & U32x16(15u);
  return SignedToFloat(kBias == 0 ? nibble : nibble - U32x16(uint32_t{kBias}));
}

QZO_VEC F32x16 Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
QZO_VEC void Store(float* p, F32x16 a) {
  _mm256_storeu_ps(p, a.low);
  _mm256_storeu_ps(p + 8, a.high);
}
QZO_VEC U32x16 LoadWords(const uint32_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8))};
}
QZO_VEC void Store(uint32_t* p, U32x16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.low);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), a.high);
}
// Packing works within 128-bit parts: word i of the result belongs at the place that the permutation gives it.
QZO_VEC void StoreWords(std::byte* p, __m256i packed) {
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permutevar8x32_epi32(packed, order));
}
QZO_VEC void StorePairs(std::byte* p, U32x16 a, U32x16 b) {
  const __m256i order =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
  StoreWords(p, _mm256_shuffle_epi8(_mm256_packs_epi32(a.low, a.high), order));
  StoreWords(p + 32, _mm256_shuffle_epi8(_mm256_packs_epi32(b.low, b.high), order));
}
QZO_VEC void StoreQuads(std::byte* p, U32x16 a, U32x16 b) {
  StoreWords(p, _mm256_packs_epi16(_mm256_packs_epi32(a.low, a.high), _mm256_packs_epi32(b.low, b.high)));
}
QZO_VEC F32x16 LoadFirst(const float* p, int64_t lanes, float fill) {
  if (lanes == 16) return Load(p);
  float buffer[16];
  Store(buffer, F32x16(fill));
  std::memcpy(buffer, p, static_cast<size_t>(lanes) * sizeof(float));
  return Load(buffer);
}
QZO_VEC void StoreFirst(float* p, int64_t lanes, F32x16 a) {
  if (lanes == 16) return Store(p, a);
  float buffer[16];
  Store(buffer, a);
  std::memcpy(p, buffer, static_cast<size_t>(lanes) * sizeof(float));
}

QZO_VEC F32x16 LoadPairs(const float* p) {
  const __m256 a = _mm256_loadu_ps(p);
  const __m256 outer = _mm256_unpacklo_ps(a, a), inner = _mm256_unpackhi_ps(a, a);  // of each 128-bit part
  return {_mm256_permute2f128_ps(outer, inner, 0x20), _mm256_permute2f128_ps(outer, inner, 0x31)};
}
QZO_VEC F32x16 SwapPairs(F32x16 a) { return {_mm256_permute_ps(a.low, 0xb1), _mm256_permute_ps(a.high, 0xb1)}; }

QZO_VEC __m256i Load128(const std::byte* a, const std::byte* b) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a))),
                                 _mm_loadu_si128(reinterpret_cast<const __m128i*>(b)), 1);
}

QZO_VEC void Transpose4x4(__m256i (&r)[4]) {
  const __m256i a = _mm256_unpacklo_epi32(r[0], r[1]), b = _mm256_unpackhi_epi32(r[0], r[1]);
  const __m256i c = _mm256_unpacklo_epi32(r[2], r[3]), d = _mm256_unpackhi_epi32(r[2], r[3]);
  r[0] = _mm256_unpacklo_epi64(a, c);
  r[1] = _mm256_unpackhi_epi64(a, c);
  r[2] = _mm256_unpacklo_epi64(b, d);
  r[3] = _mm256_unpackhi_epi64(b, d);
}

QZO_VEC U32x16 LoadParts(const std::byte* a, const std::byte* b, const std::byte* c, const std::byte* d) {
  return {Load128(a, b), Load128(c, d)};
}
QZO_VEC void Transpose4x4(U32x16 (&r)[4]) {
  __m256i low[4] = {r[0].low, r[1].low, r[2].low, r[3].low};
  __m256i high[4] = {r[0].high, r[1].high, r[2].high, r[3].high};
  Transpose4x4(low);
  Transpose4x4(high);
  for (int i = 0; i < 4; ++i) r[i] = {low[i], high[i]};
}
QZO_VEC U32x16 BroadcastPart(const std::byte* p) {
  const __m256i part = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return {part, part};
}
QZO_VEC U32x16 LookUpBytes(U32x16 table, U32x16 index) {
  return {_mm256_shuffle_epi8(table.low, index.low), _mm256_shuffle_epi8(table.high, index.high)};
}

QZO_VEC void StoreInterleaved(float* p, F32x16 a, F32x16 b, F32x16 c, F32x16 d) {
  U32x16 r[4] = {Bits(a), Bits(b), Bits(c), Bits(d)};
  Transpose4x4(r);
  for (int i = 0; i < 4; ++i) {
    __m128i* out = reinterpret_cast<__m128i*>(p + 4 * i);
    _mm_storeu_si128(out, _mm256_castsi256_si128(r[i].low));
    _mm_storeu_si128(out + 4, _mm256_extracti128_si256(r[i].low, 1));
    _mm_storeu_si128(out + 8, _mm256_castsi256_si128(r[i].high));
    _mm_storeu_si128(out + 12, _mm256_extracti128_si256(r[i].high, 1));
  }
}

QZO_VEC void MultiplyWide(__m256i a, __m256i factor, __m256i* high, __m256i* low) {
  const __m256i even = _mm256_mul_epu32(a, factor);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), factor);
  *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
  *low = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
}
QZO_VEC void MultiplyWide(U32x16 a, uint32_t by, U32x16* high, U32x16* low) {
  const __m256i factor = _mm256_set1_epi64x(by);
  MultiplyWide(a.low, factor, &high->low, &low->low);
  MultiplyWide(a.high, factor, &high->high, &low->high);
}

// Sums of eight vectors of eight partial sums each, halves 4, 2, 1 apart, in lane order.
QZO_VEC __m256 TreeSums8(const __m256 (&v)[8]) {
  __m256 pairs[4];  // pairs[i]: partial sums of v[i] in the low part, of v[i + 4] in the high one
  for (int i = 0; i < 4; ++i) {
    pairs[i] =
        _mm256_add_ps(_mm256_permute2f128_ps(v[i], v[i + 4], 0x20), _mm256_permute2f128_ps(v[i], v[i + 4], 0x31));
  }
  const __m256 x =
      _mm256_add_ps(_mm256_shuffle_ps(pairs[0], pairs[1], 0x44), _mm256_shuffle_ps(pairs[0], pairs[1], 0xee));
  const __m256 y =
      _mm256_add_ps(_mm256_shuffle_ps(pairs[2], pairs[3], 0x44), _mm256_shuffle_ps(pairs[2], pairs[3], 0xee));
  return _mm256_add_ps(_mm256_shuffle_ps(x, y, 0x88), _mm256_shuffle_ps(x, y, 0xdd));
}
QZO_VEC F32x16 TreeSums(const F32x16 (&v)[16]) {
  __m256 first[8], second[8];
  for (int i = 0; i < 8; ++i) {
    first[i] = _mm256_add_ps(v[i].low, v[i].high);
    second[i] = _mm256_add_ps(v[i + 8].low, v[i + 8].high);
  }
  return {TreeSums8(first), TreeSums8(second)};
}

QZO_VEC float TreeSum(F32x16 a) {
  const __m256 eight = _mm256_add_ps(a.low, a.high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

QZO_VEC float LargestLane(F32x16 a) {
  const __m256 eight = _mm256_max_ps(a.low, a.high);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

QZO_VEC int32_t LargestLane(U32x16 a) {
  const __m256i eight = _mm256_max_epi32(a.low, a.high);
  const __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xb1)));
}

struct F64x16 {
  __m256d quarter[4];
};

QZO_VEC F64x16 AddWidened(F64x16 sum, F32x16 a) {
  return {{_mm256_add_pd(sum.quarter[0], _mm256_cvtps_pd(_mm256_castps256_ps128(a.low))),
           _mm256_add_pd(sum.quarter[1], _mm256_cvtps_pd(_mm256_extractf128_ps(a.low, 1))),
           _mm256_add_pd(sum.quarter[2], _mm256_cvtps_pd(_mm256_castps256_ps128(a.high))),
           _mm256_add_pd(sum.quarter[3], _mm256_cvtps_pd(_mm256_extractf128_ps(a.high, 1)))}};
}

QZO_VEC double TreeSum(F64x16 a) {
  const __m256d four =
      _mm256_add_pd(_mm256_add_pd(a.quarter[0], a.quarter[2]), _mm256_add_pd(a.quarter[1], a.quarter[3]));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_VEC_AVX2_H_
