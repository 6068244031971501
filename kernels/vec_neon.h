// 16 lanes for simd_body.h, NEON of AArch64: four registers each. Same interface as vec_avx512.h, where the comments
// are; anonymous namespace for the same reason.
#ifndef QZO_KERNELS_VEC_NEON_H_
#define QZO_KERNELS_VEC_NEON_H_

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#define QZO_VEC inline __attribute__((always_inline))
#define QZO_VEC_LAMBDA __attribute__((always_inline))

namespace qzo::kernels {
namespace {

// 24 accumulators, four panel registers, one broadcast.
constexpr int kTileRows = 6;
constexpr int kTileVectors = 1;
constexpr int kHeadBlock = 2;
constexpr int kHeadVectors = 2;

struct F32x16 {
  float32x4_t v0, v1, v2, v3;
  QZO_VEC F32x16(float32x4_t a, float32x4_t b, float32x4_t c, float32x4_t d) : v0(a), v1(b), v2(c), v3(d) {}
  QZO_VEC explicit F32x16(float value) : v0(vdupq_n_f32(value)), v1(v0), v2(v0), v3(v0) {}
  F32x16() = default;
};

struct U32x16 {
  uint32x4_t v0, v1, v2, v3;
  QZO_VEC U32x16(uint32x4_t a, uint32x4_t b, uint32x4_t c, uint32x4_t d) : v0(a), v1(b), v2(c), v3(d) {}
  QZO_VEC explicit U32x16(uint32_t value) : v0(vdupq_n_u32(value)), v1(v0), v2(v0), v3(v0) {}
  U32x16() = default;
};

// op of each register of a, or of a and b.
template <typename To, typename From, typename Op>
QZO_VEC To Each(From a, Op&& op) {
  return {op(a.v0), op(a.v1), op(a.v2), op(a.v3)};
}
template <typename To, typename From, typename Op>
QZO_VEC To Each(From a, From b, Op&& op) {
  return {op(a.v0, b.v0), op(a.v1, b.v1), op(a.v2, b.v2), op(a.v3, b.v3)};
}

QZO_VEC F32x16 operator+(F32x16 a, F32x16 b) { return {a.v0 + b.v0, a.v1 + b.v1, a.v2 + b.v2, a.v3 + b.v3}; }
QZO_VEC F32x16 operator-(F32x16 a, F32x16 b) { return {a.v0 - b.v0, a.v1 - b.v1, a.v2 - b.v2, a.v3 - b.v3}; }
QZO_VEC F32x16 operator*(F32x16 a, F32x16 b) { return {a.v0 * b.v0, a.v1 * b.v1, a.v2 * b.v2, a.v3 * b.v3}; }
QZO_VEC F32x16 operator/(F32x16 a, F32x16 b) { return {a.v0 / b.v0, a.v1 / b.v1, a.v2 / b.v2, a.v3 / b.v3}; }
QZO_VEC F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {
  return {vfmaq_f32(c.v0, a.v0, b.v0), vfmaq_f32(c.v1, a.v1, b.v1), vfmaq_f32(c.v2, a.v2, b.v2),
          vfmaq_f32(c.v3, a.v3, b.v3)};
}
QZO_VEC F32x16 Sqrt(F32x16 a) {
  return Each<F32x16>(a, [](float32x4_t x) QZO_VEC_LAMBDA { return vsqrtq_f32(x); });
}
// Not vminq and vmaxq: of a NaN and a number those make NaN, x86 whatever is b.
QZO_VEC float32x4_t Min(float32x4_t a, float32x4_t b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
QZO_VEC float32x4_t Max(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
QZO_VEC F32x16 Min(F32x16 a, F32x16 b) { return {Min(a.v0, b.v0), Min(a.v1, b.v1), Min(a.v2, b.v2), Min(a.v3, b.v3)}; }
QZO_VEC F32x16 Max(F32x16 a, F32x16 b) { return {Max(a.v0, b.v0), Max(a.v1, b.v1), Max(a.v2, b.v2), Max(a.v3, b.v3)}; }

QZO_VEC U32x16 operator+(U32x16 a, U32x16 b) { return {a.v0 + b.v0, a.v1 + b.v1, a.v2 + b.v2, a.v3 + b.v3}; }
QZO_VEC U32x16 operator-(U32x16 a, U32x16 b) { return {a.v0 - b.v0, a.v1 - b.v1, a.v2 - b.v2, a.v3 - b.v3}; }
QZO_VEC U32x16 operator&(U32x16 a, U32x16 b) { return {a.v0 & b.v0, a.v1 & b.v1, a.v2 & b.v2, a.v3 & b.v3}; }
QZO_VEC U32x16 operator|(U32x16 a, U32x16 b) { return {a.v0 | b.v0, a.v1 | b.v1, a.v2 | b.v2, a.v3 | b.v3}; }
QZO_VEC U32x16 operator^(U32x16 a, U32x16 b) { return {a.v0 ^ b.v0, a.v1 ^ b.v1, a.v2 ^ b.v2, a.v3 ^ b.v3}; }
QZO_VEC U32x16 operator<<(U32x16 a, int by) { return {a.v0 << by, a.v1 << by, a.v2 << by, a.v3 << by}; }
QZO_VEC U32x16 operator>>(U32x16 a, int by) { return {a.v0 >> by, a.v1 >> by, a.v2 >> by, a.v3 >> by}; }
QZO_VEC U32x16 ShiftLeftEach(U32x16 a, U32x16 by) {
  return {a.v0 << by.v0, a.v1 << by.v1, a.v2 << by.v2, a.v3 << by.v3};
}
QZO_VEC int32x4_t Signed(uint32x4_t a) { return vreinterpretq_s32_u32(a); }
QZO_VEC U32x16 Sar(U32x16 a, int by) {
  return Each<U32x16>(a, [by](uint32x4_t x) QZO_VEC_LAMBDA { return vreinterpretq_u32_s32(Signed(x) >> by); });
}
QZO_VEC U32x16 Sar16(U32x16 a, int by) {
  return Each<U32x16>(
      a, [by](uint32x4_t x) QZO_VEC_LAMBDA { return vreinterpretq_u32_s16(vreinterpretq_s16_u32(x) >> by); });
}
QZO_VEC U32x16 Sub16(U32x16 a, U32x16 b) {
  return Each<U32x16>(a, b, [](uint32x4_t x, uint32x4_t y) QZO_VEC_LAMBDA {
    return vreinterpretq_u32_u16(vreinterpretq_u16_u32(x) - vreinterpretq_u16_u32(y));
  });
}
QZO_VEC U32x16 MaxSigned(U32x16 a, U32x16 b) {
  return Each<U32x16>(a, b, [](uint32x4_t x, uint32x4_t y) QZO_VEC_LAMBDA {
    return vreinterpretq_u32_s32(vmaxq_s32(Signed(x), Signed(y)));
  });
}
QZO_VEC U32x16 Iota() {
  return {uint32x4_t{0, 1, 2, 3}, uint32x4_t{4, 5, 6, 7}, uint32x4_t{8, 9, 10, 11}, uint32x4_t{12, 13, 14, 15}};
}

QZO_VEC U32x16 Bits(F32x16 a) {
  return Each<U32x16>(a, [](float32x4_t x) QZO_VEC_LAMBDA { return vreinterpretq_u32_f32(x); });
}
QZO_VEC F32x16 FromBits(U32x16 a) {
  return Each<F32x16>(a, [](uint32x4_t x) QZO_VEC_LAMBDA { return vreinterpretq_f32_u32(x); });
}
QZO_VEC F32x16 SignedToFloat(U32x16 a) {
  return Each<F32x16>(a, [](uint32x4_t x) QZO_VEC_LAMBDA { return vcvtq_f32_s32(Signed(x)); });
}
QZO_VEC F32x16 HalfToFloat(U32x16 a) {
  return Each<F32x16>(a, [](uint32x4_t x) QZO_VEC_LAMBDA { return vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(x))); });
}

template <int kBias>
QZO_VEC F32x16 NibbleToFloat(U32x16 a) {
  const U32x16 nibble = a & U32x16(15u);
  return SignedToFloat(kBias == 0 ? nibble : nibble - U32x16(uint32_t{kBias}));
}

QZO_VEC F32x16 Load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}; }
QZO_VEC void Store(float* p, F32x16 a) {
  vst1q_f32(p, a.v0);
  vst1q_f32(p + 4, a.v1);
  vst1q_f32(p + 8, a.v2);
  vst1q_f32(p + 12, a.v3);
}
QZO_VEC U32x16 LoadWords(const uint32_t* p) {
  return {vld1q_u32(p), vld1q_u32(p + 4), vld1q_u32(p + 8), vld1q_u32(p + 12)};
}
QZO_VEC void Store(uint32_t* p, U32x16 a) {
  vst1q_u32(p, a.v0);
  vst1q_u32(p + 4, a.v1);
  vst1q_u32(p + 8, a.v2);
  vst1q_u32(p + 12, a.v3);
}
// The low halves of four lanes of a, then of b.
QZO_VEC uint16x8_t LowHalves(uint32x4_t a, uint32x4_t b) {
  return vuzp1q_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b));
}
QZO_VEC void StorePairs(std::byte* p, U32x16 a, U32x16 b) {
  uint16_t* out = reinterpret_cast<uint16_t*>(p);
  for (const U32x16& half : {a, b}) {
    const uint16x8_t first = LowHalves(half.v0, half.v1), second = LowHalves(half.v2, half.v3);
    vst1q_u16(out, vuzp1q_u16(first, second));
    vst1q_u16(out + 8, vuzp2q_u16(first, second));
    out += 16;
  }
}
QZO_VEC void StoreQuads(std::byte* p, U32x16 a, U32x16 b) {
  uint8_t* out = reinterpret_cast<uint8_t*>(p);
  for (const U32x16& half : {a, b}) {
    const uint16x8_t first = LowHalves(half.v0, half.v1), second = LowHalves(half.v2, half.v3);
    vst1q_u8(out, vuzp1q_u8(vreinterpretq_u8_u16(first), vreinterpretq_u8_u16(second)));
    out += 16;
  }
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
  const float32x4_t a = vld1q_f32(p), b = vld1q_f32(p + 4);
  return {vzip1q_f32(a, a), vzip2q_f32(a, a), vzip1q_f32(b, b), vzip2q_f32(b, b)};
}
QZO_VEC F32x16 SwapPairs(F32x16 a) {
  return Each<F32x16>(a, [](float32x4_t x) QZO_VEC_LAMBDA { return vrev64q_f32(x); });
}

QZO_VEC uint32x4_t LoadPart(const std::byte* p) {
  return vreinterpretq_u32_u8(vld1q_u8(reinterpret_cast<const uint8_t*>(p)));
}
QZO_VEC U32x16 LoadParts(const std::byte* a, const std::byte* b, const std::byte* c, const std::byte* d) {
  return {LoadPart(a), LoadPart(b), LoadPart(c), LoadPart(d)};
}
QZO_VEC void Transpose4x4(uint32x4_t& a, uint32x4_t& b, uint32x4_t& c, uint32x4_t& d) {
  const uint64x2_t even_ab = vreinterpretq_u64_u32(vtrn1q_u32(a, b)), odd_ab = vreinterpretq_u64_u32(vtrn2q_u32(a, b));
  const uint64x2_t even_cd = vreinterpretq_u64_u32(vtrn1q_u32(c, d)), odd_cd = vreinterpretq_u64_u32(vtrn2q_u32(c, d));
  a = vreinterpretq_u32_u64(vzip1q_u64(even_ab, even_cd));
  b = vreinterpretq_u32_u64(vzip1q_u64(odd_ab, odd_cd));
  c = vreinterpretq_u32_u64(vzip2q_u64(even_ab, even_cd));
  d = vreinterpretq_u32_u64(vzip2q_u64(odd_ab, odd_cd));
}
QZO_VEC void Transpose4x4(U32x16 (&r)[4]) {
  Transpose4x4(r[0].v0, r[1].v0, r[2].v0, r[3].v0);
  Transpose4x4(r[0].v1, r[1].v1, r[2].v1, r[3].v1);
  Transpose4x4(r[0].v2, r[1].v2, r[2].v2, r[3].v2);
  Transpose4x4(r[0].v3, r[1].v3, r[2].v3, r[3].v3);
}
QZO_VEC U32x16 BroadcastPart(const std::byte* p) {
  const uint32x4_t part = LoadPart(p);
  return {part, part, part, part};
}
QZO_VEC U32x16 LookUpBytes(U32x16 table, U32x16 index) {
  return Each<U32x16>(table, index, [](uint32x4_t t, uint32x4_t i) QZO_VEC_LAMBDA {
    return vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(t), vreinterpretq_u8_u32(i)));
  });
}

QZO_VEC void StoreInterleaved(float* p, F32x16 a, F32x16 b, F32x16 c, F32x16 d) {
  vst4q_f32(p, float32x4x4_t{{a.v0, b.v0, c.v0, d.v0}});
  vst4q_f32(p + 16, float32x4x4_t{{a.v1, b.v1, c.v1, d.v1}});
  vst4q_f32(p + 32, float32x4x4_t{{a.v2, b.v2, c.v2, d.v2}});
  vst4q_f32(p + 48, float32x4x4_t{{a.v3, b.v3, c.v3, d.v3}});
}

QZO_VEC void MultiplyWide(uint32x4_t a, uint32_t by, uint32x4_t* high, uint32x4_t* low) {
  const uint32x4_t first = vreinterpretq_u32_u64(vmull_n_u32(vget_low_u32(a), by));
  const uint32x4_t second = vreinterpretq_u32_u64(vmull_high_n_u32(a, by));
  *high = vuzp2q_u32(first, second);
  *low = vuzp1q_u32(first, second);
}
QZO_VEC void MultiplyWide(U32x16 a, uint32_t by, U32x16* high, U32x16* low) {
  MultiplyWide(a.v0, by, &high->v0, &low->v0);
  MultiplyWide(a.v1, by, &high->v1, &low->v1);
  MultiplyWide(a.v2, by, &high->v2, &low->v2);
  MultiplyWide(a.v3, by, &high->v3, &low->v3);
}

// Partial sums 8 and then 4 apart, added up.
QZO_VEC float32x4_t FourSums(F32x16 a) { return (a.v0 + a.v2) + (a.v1 + a.v3); }
QZO_VEC float32x4_t LowHalf(float32x4_t a, float32x4_t b) { return vcombine_f32(vget_low_f32(a), vget_low_f32(b)); }
QZO_VEC float32x4_t HighHalf(float32x4_t a, float32x4_t b) { return vcombine_f32(vget_high_f32(a), vget_high_f32(b)); }
// Of four vectors: those 2 and 1 apart, too.
QZO_VEC float32x4_t TreeSums4(const F32x16* v) {
  const float32x4_t a = FourSums(v[0]), b = FourSums(v[1]), c = FourSums(v[2]), d = FourSums(v[3]);
  return vpaddq_f32(LowHalf(a, b) + HighHalf(a, b), LowHalf(c, d) + HighHalf(c, d));
}
QZO_VEC F32x16 TreeSums(const F32x16 (&v)[16]) {
  return {TreeSums4(v), TreeSums4(v + 4), TreeSums4(v + 8), TreeSums4(v + 12)};
}
QZO_VEC float TreeSum(F32x16 a) {
  const float32x4_t four = FourSums(a);
  return vpadds_f32(vget_low_f32(four) + vget_high_f32(four));
}

QZO_VEC float LargestLane(F32x16 a) {
  const float32x4_t four = Max(Max(a.v0, a.v2), Max(a.v1, a.v3));
  const float32x4_t two = Max(four, HighHalf(four, four));
  return vgetq_lane_f32(Max(two, vdupq_laneq_f32(two, 1)), 0);
}
QZO_VEC int32_t LargestLane(U32x16 a) {
  return vmaxvq_s32(vmaxq_s32(vmaxq_s32(Signed(a.v0), Signed(a.v1)), vmaxq_s32(Signed(a.v2), Signed(a.v3))));
}

struct F64x16 {
  float64x2_t eighth[8];
};

QZO_VEC F64x16 AddWidened(F64x16 sum, F32x16 a) {
  const float32x4_t quarter[4] = {a.v0, a.v1, a.v2, a.v3};
  for (int i = 0; i < 4; ++i) {
    sum.eighth[2 * i] = sum.eighth[2 * i] + vcvt_f64_f32(vget_low_f32(quarter[i]));
    sum.eighth[2 * i + 1] = sum.eighth[2 * i + 1] + vcvt_high_f64_f32(quarter[i]);
  }
  return sum;
}

QZO_VEC double TreeSum(F64x16 a) {
  float64x2_t four[4];
  for (int i = 0; i < 4; ++i) four[i] = a.eighth[i] + a.eighth[i + 4];
  return vpaddd_f64((four[0] + four[2]) + (four[1] + four[3]));
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_VEC_NEON_H_
