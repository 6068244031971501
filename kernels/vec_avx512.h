// 16 lanes for simd_body.h, AVX-512 (F, BW, VL, DQ): one register each. Same interface as vec_avx2.h. Included by one
// file only, hence the anonymous namespace: nothing in here may be shared with files compiled for another instruction
// set.
#ifndef QZO_KERNELS_VEC_AVX512_H_
#define QZO_KERNELS_VEC_AVX512_H_

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#ifndef QZO_VEC  // emulated_intrinsics.h has its own
#define QZO_VEC inline __attribute__((always_inline))
#define QZO_VEC_LAMBDA __attribute__((always_inline))
#endif

namespace qzo::kernels {
namespace {

// Register tile of the matrix product: 28 accumulators, two panel vectors, broadcasts from memory.
constexpr int kTileRows = 14;
constexpr int kTileVectors = 2;
// Tile of attention's weighted values: query heads that share a kv head, vectors of the head.
constexpr int kHeadBlock = 4;
constexpr int kHeadVectors = 4;

struct F32x16 {
  __m512 v;
  QZO_VEC F32x16(__m512 value) : v(value) {}
  QZO_VEC explicit F32x16(float value) : v(_mm512_set1_ps(value)) {}
  F32x16() = default;
};

struct U32x16 {
  __m512i v;
  QZO_VEC U32x16(__m512i value) : v(value) {}
  QZO_VEC explicit U32x16(uint32_t value) : v(_mm512_set1_epi32(static_cast<int>(value))) {}
  U32x16() = default;
};

QZO_VEC F32x16 operator+(F32x16 a, F32x16 b) { return _mm512_add_ps(a.v, b.v); }
QZO_VEC F32x16 operator-(F32x16 a, F32x16 b) { return _mm512_sub_ps(a.v, b.v); }
QZO_VEC F32x16 operator*(F32x16 a, F32x16 b) { return _mm512_mul_ps(a.v, b.v); }
QZO_VEC F32x16 operator/(F32x16 a, F32x16 b) { return _mm512_div_ps(a.v, b.v); }
QZO_VEC F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) { return _mm512_fmadd_ps(a.v, b.v, c.v); }
QZO_VEC F32x16 Sqrt(F32x16 a) { return _mm512_sqrt_ps(a.v); }
QZO_VEC F32x16 Min(F32x16 a, F32x16 b) { return _mm512_min_ps(a.v, b.v); }
QZO_VEC F32x16 Max(F32x16 a, F32x16 b) { return _mm512_max_ps(a.v, b.v); }

QZO_VEC U32x16 operator+(U32x16 a, U32x16 b) { return _mm512_add_epi32(a.v, b.v); }
QZO_VEC U32x16 operator-(U32x16 a, U32x16 b) { return _mm512_sub_epi32(a.v, b.v); }
QZO_VEC U32x16 operator&(U32x16 a, U32x16 b) { return _mm512_and_si512(a.v, b.v); }
QZO_VEC U32x16 operator|(U32x16 a, U32x16 b) { return _mm512_or_si512(a.v, b.v); }
QZO_VEC U32x16 operator^(U32x16 a, U32x16 b) { return _mm512_xor_si512(a.v, b.v); }
QZO_VEC U32x16 operator<<(U32x16 a, int by) { return _mm512_slli_epi32(a.v, static_cast<unsigned>(by)); }
QZO_VEC U32x16 operator>>(U32x16 a, int by) { return _mm512_srli_epi32(a.v, static_cast<unsigned>(by)); }
QZO_VEC U32x16 ShiftLeftEach(U32x16 a, U32x16 by) { return _mm512_sllv_epi32(a.v, by.v); }
QZO_VEC U32x16 Sar(U32x16 a, int by) { return _mm512_srai_epi32(a.v, static_cast<unsigned>(by)); }
// Signed, and of each half of a lane.
QZO_VEC U32x16 Sar16(U32x16 a, int by) { return _mm512_srai_epi16(a.v, static_cast<unsigned>(by)); }
QZO_VEC U32x16 Sub16(U32x16 a, U32x16 b) { return _mm512_sub_epi16(a.v, b.v); }
QZO_VEC U32x16 MaxSigned(U32x16 a, U32x16 b) { return _mm512_max_epi32(a.v, b.v); }
QZO_VEC U32x16 Iota() { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }

QZO_VEC U32x16 Bits(F32x16 a) { return _mm512_castps_si512(a.v); }
QZO_VEC F32x16 FromBits(U32x16 a) { return _mm512_castsi512_ps(a.v); }
QZO_VEC F32x16 SignedToFloat(U32x16 a) { return _mm512_cvtepi32_ps(a.v); }
// Of the low 16 bits of each lane; the others must be 0.
QZO_VEC F32x16 HalfToFloat(U32x16 a) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a.v)); }

// The low four bits of each lane, less kBias. A table look-up ignores the bits above.
template <int kBias>
QZO_VEC F32x16 NibbleToFloat(U32x16 a) {
  const F32x16 table = SignedToFloat(Iota() - U32x16(uint32_t{kBias}));
  return _mm512_permutexvar_ps(a.v, table.v);
}

QZO_VEC F32x16 Load(const float* p) { return _mm512_loadu_ps(p); }
QZO_VEC void Store(float* p, F32x16 a) { _mm512_storeu_ps(p, a.v); }
QZO_VEC U32x16 LoadWords(const uint32_t* p) { return _mm512_loadu_si512(p); }
QZO_VEC void Store(uint32_t* p, U32x16 a) { _mm512_storeu_si512(p, a.v); }
// A block of rounded values, a before b, in the orders of rounding.h.
QZO_VEC void StorePairs(std::byte* p, U32x16 a, U32x16 b) {
  // Packing works within 128-bit parts, which each get a word of each half's even and odd values.
  const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
  const __m512i words = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i packed = _mm512_shuffle_epi8(_mm512_packs_epi32(a.v, b.v), order);
  _mm512_storeu_si512(p, _mm512_permutexvar_epi32(words, packed));
}
QZO_VEC void StoreQuads(std::byte* p, U32x16 a, U32x16 b) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a.v));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 16), _mm512_cvtepi32_epi8(b.v));
}
QZO_VEC __mmask16 FirstLanes(int64_t lanes) { return static_cast<__mmask16>((1u << lanes) - 1); }
// The first `lanes` lanes, 0 to 16; the others are `fill`.
QZO_VEC F32x16 LoadFirst(const float* p, int64_t lanes, float fill) {
  return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), FirstLanes(lanes), p);
}
QZO_VEC void StoreFirst(float* p, int64_t lanes, F32x16 a) { _mm512_mask_storeu_ps(p, FirstLanes(lanes), a.v); }

// Lanes 2i and 2i + 1 = p[i].
QZO_VEC F32x16 LoadPairs(const float* p) {
  const __m512i index = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  return _mm512_permutexvar_ps(index, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}
QZO_VEC F32x16 SwapPairs(F32x16 a) { return _mm512_permute_ps(a.v, 0xb1); }

// 16 bytes each.
QZO_VEC U32x16 LoadParts(const std::byte* a, const std::byte* b, const std::byte* c, const std::byte* d) {
  const __m512i low = _mm512_castsi128_si512(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a)));
  const __m512i two = _mm512_inserti32x4(low, _mm_loadu_si128(reinterpret_cast<const __m128i*>(b)), 1);
  const __m512i three = _mm512_inserti32x4(two, _mm_loadu_si128(reinterpret_cast<const __m128i*>(c)), 2);
  return _mm512_inserti32x4(three, _mm_loadu_si128(reinterpret_cast<const __m128i*>(d)), 3);
}

// Transposes the 4×4 words of each 128-bit part.
QZO_VEC void Transpose4x4(U32x16 (&r)[4]) {
  const __m512i a = _mm512_unpacklo_epi32(r[0].v, r[1].v), b = _mm512_unpackhi_epi32(r[0].v, r[1].v);
  const __m512i c = _mm512_unpacklo_epi32(r[2].v, r[3].v), d = _mm512_unpackhi_epi32(r[2].v, r[3].v);
  r[0] = _mm512_unpacklo_epi64(a, c);
  r[1] = _mm512_unpackhi_epi64(a, c);
  r[2] = _mm512_unpacklo_epi64(b, d);
  r[3] = _mm512_unpackhi_epi64(b, d);
}
// The 16 bytes at p, four times.
QZO_VEC U32x16 BroadcastPart(const std::byte* p) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// Byte `index`, 0 … 15, of the 128-bit part of `table` that it is in, for every byte.
QZO_VEC U32x16 LookUpBytes(U32x16 table, U32x16 index) { return _mm512_shuffle_epi8(table.v, index.v); }

// p[4·i + 0 … 3] = lane i of a, b, c, d.
QZO_VEC void StoreInterleaved(float* p, F32x16 a, F32x16 b, F32x16 c, F32x16 d) {
  U32x16 r[4] = {Bits(a), Bits(b), Bits(c), Bits(d)};
  Transpose4x4(r);  // part L of r[i] now holds lane 4L + i of the four
  for (int i = 0; i < 4; ++i) {
    __m128i* out = reinterpret_cast<__m128i*>(p + 4 * i);
    _mm_storeu_si128(out, _mm512_castsi512_si128(r[i].v));
    _mm_storeu_si128(out + 4, _mm512_extracti32x4_epi32(r[i].v, 1));
    _mm_storeu_si128(out + 8, _mm512_extracti32x4_epi32(r[i].v, 2));
    _mm_storeu_si128(out + 12, _mm512_extracti32x4_epi32(r[i].v, 3));
  }
}

// The 64-bit products of each lane with a constant.
QZO_VEC void MultiplyWide(U32x16 a, uint32_t by, U32x16* high, U32x16* low) {
  const __m512i factor = _mm512_set1_epi64(by);
  const __m512i even = _mm512_mul_epu32(a.v, factor);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a.v, 32), factor);
  *high = _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
  *low = _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
}

// The pairwise additions of tree16: halves 8, 4, 2, 1 apart. Lane i of the result is the sum of v[i]; the order in
// which vectors are paired is the one that leaves the sums in lane order.
QZO_VEC F32x16 TreeSums(const F32x16 (&v)[16]) {
  __m512 quads[4];
  for (int q = 0; q < 4; ++q) {
    const __m512 ab_low = _mm512_shuffle_f32x4(v[q].v, v[4 + q].v, 0x44);
    const __m512 ab_high = _mm512_shuffle_f32x4(v[q].v, v[4 + q].v, 0xee);
    const __m512 cd_low = _mm512_shuffle_f32x4(v[8 + q].v, v[12 + q].v, 0x44);
    const __m512 cd_high = _mm512_shuffle_f32x4(v[8 + q].v, v[12 + q].v, 0xee);
    const __m512 ab = _mm512_add_ps(ab_low, ab_high), cd = _mm512_add_ps(cd_low, cd_high);
    quads[q] = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  }
  const __m512 x =
      _mm512_add_ps(_mm512_shuffle_ps(quads[0], quads[1], 0x44), _mm512_shuffle_ps(quads[0], quads[1], 0xee));
  const __m512 y =
      _mm512_add_ps(_mm512_shuffle_ps(quads[2], quads[3], 0x44), _mm512_shuffle_ps(quads[2], quads[3], 0xee));
  return _mm512_add_ps(_mm512_shuffle_ps(x, y, 0x88), _mm512_shuffle_ps(x, y, 0xdd));
}

QZO_VEC __m256 HighHalf(__m512 a) { return _mm512_extractf32x8_ps(a, 1); }
QZO_VEC float TreeSum(F32x16 a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), HighHalf(a.v));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

QZO_VEC float LargestLane(F32x16 a) { return _mm512_reduce_max_ps(a.v); }
QZO_VEC int32_t LargestLane(U32x16 a) { return _mm512_reduce_max_epi32(a.v); }  // signed

// 16 partial sums in double.
struct F64x16 {
  __m512d low, high;
};

QZO_VEC F64x16 AddWidened(F64x16 sum, F32x16 a) {
  return {_mm512_add_pd(sum.low, _mm512_cvtps_pd(_mm512_castps512_ps256(a.v))),
          _mm512_add_pd(sum.high, _mm512_cvtps_pd(HighHalf(a.v)))};
}

QZO_VEC double TreeSum(F64x16 a) {
  const __m512d eight = _mm512_add_pd(a.low, a.high);
  const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_VEC_AVX512_H_
