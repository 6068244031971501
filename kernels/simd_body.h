// Every op over the 16-lane types of QZO_VEC_HEADER and the integer products of QZO_DOT_HEADER, which the including
// file defines: one text for all instruction sets. Included by the x86_*.cc files only; the anonymous namespace gives
// each its own copy. Order of operations: kernels.h.
#ifndef QZO_KERNELS_SIMD_BODY_H_
#define QZO_KERNELS_SIMD_BODY_H_

#include "kernels/noise.h"
#include "kernels/simd_integer.h"
#include "kernels/simd_matmul.h"
#include "kernels/simd_round.h"
#include "kernels/weights.h"

namespace qzo::kernels {
namespace {

// The scalar ones of exact_math.h, which those of the vectors hide in this namespace.
using kernels::Fma;
using kernels::Sqrt;

constexpr float kInfinity = __builtin_inff();

// body(i, lanes) for i = 0, 16, …: lanes is 16 but for a shorter last step. Two copies, so that the first needs no
// masks.
template <typename Body>
QZO_VEC void ForVectors(int64_t n, Body&& body) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) body(i, int64_t{16});
  if (i < n) body(i, n - i);
}

void RmsNorm(const float* x, int64_t ldx, const float* weight, float epsilon, int64_t rows, int64_t dim, float* y,
             int64_t ldy) {
  for (int64_t row = 0; row < rows; ++row, x += ldx, y += ldy) {
    F32x16 squares(0.0f);
    ForVectors(dim, [&](int64_t i, int64_t lanes) QZO_VEC_LAMBDA {
      const F32x16 value = LoadFirst(x + i, lanes, 0);
      squares = squares + value * value;
    });
    const F32x16 s(1.0f / Sqrt(TreeSum(squares) / static_cast<float>(dim) + epsilon));
    ForVectors(dim, [&](int64_t i, int64_t lanes) QZO_VEC_LAMBDA {
      StoreFirst(y + i, lanes, LoadFirst(x + i, lanes, 0) * s * LoadFirst(weight + i, lanes, 0));
    });
  }
}

// Elementwise, so the compiler's own vectors serve.
QZO_VEC void Rotate(float* first, float* second, float cos, float sin) {
  const float a = *first, b = *second;
  *first = Fma(a, cos, -(b * sin));
  *second = Fma(a, sin, b * cos);
}

void Rope(const RopeArgs& args, int64_t row_begin, int64_t row_end) {
  const int half = args.rotary_dim / 2;
  for (int64_t row = row_begin; row < row_end; ++row) {
    const int64_t angles = int64_t{args.positions[static_cast<size_t>(row)]} * half;
    const float* cos = args.cos + angles;
    const float* sin = args.sin + angles;
    for (int head = 0; head < args.heads; ++head) {
      float* x = args.x + row * args.ldx + int64_t{head} * args.head_dim;
      if (args.layout == RopeLayout::kAdjacent) {
        for (int i = 0; i < half; ++i) Rotate(x + 2 * i, x + 2 * i + 1, cos[i], sin[i]);
      } else {
        for (int i = 0; i < half; ++i) Rotate(x + i, x + half + i, cos[i], sin[i]);
      }
    }
  }
}

// --- Attention ---

// p[0 … keys) = exp(p − max), p[keys … next multiple of 16) = 0; returns tree16 of p.
QZO_VEC float SoftmaxNumerators(float* p, int64_t keys) {
  for (int64_t j = keys; j % 16 != 0; ++j) p[j] = -kInfinity;  // no maximum, and its exp is 0
  F32x16 largest(-kInfinity);
  for (int64_t j = 0; j < keys; j += 16) largest = Max(largest, Load(p + j));
  const F32x16 max(LargestLane(largest));
  F32x16 sum(0.0f);
  for (int64_t j = 0; j < keys; j += 16) {
    const F32x16 value = Exp(Load(p + j) - max);
    Store(p + j, value);
    sum = sum + value;
  }
  return TreeSum(sum);
}

// One row of queries that share a kv head.
struct HeadGroup {
  const float* q;  // [heads, dim], dense
  const float* k;  // column of the kv head in row 0
  const float* v;
  int64_t ldkv;
  KeySpan span;
  int64_t dim;
  float scale;
  float* scores;  // [heads, stride]
  int64_t stride;
  const float* sums;  // [heads]
  float* out;         // [heads, dim], dense
};

QZO_VEC int64_t KeyRow(const KeySpan& span, int64_t j) {
  const int64_t prefix = span.prefix_end - span.prefix_begin;
  return j < prefix ? span.prefix_begin + j : span.own_begin + (j - prefix);
}

// partial[i] += q · k[i], elements [d, d + 16 · kVectors).
template <int kVectors>
QZO_VEC void AddProducts(const float* q, const float* const (&k)[16], int64_t d, F32x16 (&partial)[16]) {
  F32x16 values[kVectors];
  Unroll<kVectors>([&](auto v) QZO_VEC_LAMBDA { values[v] = Load(q + d + 16 * v); });
  Unroll<16>([&](auto i) QZO_VEC_LAMBDA {
    Unroll<kVectors>([&](auto v) QZO_VEC_LAMBDA { partial[i] = partial[i] + values[v] * Load(k[i] + d + 16 * v); });
  });
}

void Scores(const HeadGroup& group, int heads, int64_t keys) {
  for (int64_t j = 0; j < keys; j += 16) {
    const int64_t count = Smaller<int64_t>(16, keys - j);
    const float* k[16];
    for (int64_t i = 0; i < 16; ++i) k[i] = group.k + KeyRow(group.span, j + Smaller(i, count - 1)) * group.ldkv;
    for (int head = 0; head < heads; ++head) {
      const float* q = group.q + head * group.dim;
      F32x16 partial[16];
      Unroll<16>([&](auto i) QZO_VEC_LAMBDA { partial[i] = F32x16(0.0f); });
      int64_t d = 0;
      for (; d + 64 <= group.dim; d += 64) AddProducts<4>(q, k, d, partial);
      for (; d < group.dim; d += 16) AddProducts<1>(q, k, d, partial);
      Store(group.scores + head * group.stride + j, F32x16(group.scale) * TreeSums(partial));
    }
  }
}

// out[head] = fma chain over the keys of p_j · v_j, divided by the sum, for kHeads heads and 16 · kVectors elements
// from d.
template <int kHeads, int kVectors>
void WeightedValues(const HeadGroup& group, int first_head, int64_t d) {
  F32x16 acc[kHeads][kVectors];
  Unroll<kHeads * kVectors>([&](auto i) QZO_VEC_LAMBDA { acc[i / kVectors][i % kVectors] = F32x16(0.0f); });
  const float* p = group.scores + first_head * group.stride;
  const auto add = [&](int64_t begin, int64_t end) QZO_VEC_LAMBDA {
    for (int64_t row = begin; row < end; ++row, ++p) {
      F32x16 v[kVectors];
      Unroll<kVectors>([&](auto i) QZO_VEC_LAMBDA { v[i] = Load(group.v + row * group.ldkv + d + 16 * i); });
      Unroll<kHeads>([&](auto head) QZO_VEC_LAMBDA {
        const F32x16 weight(p[head * group.stride]);
        Unroll<kVectors>([&](auto i) QZO_VEC_LAMBDA { acc[head][i] = Fma(weight, v[i], acc[head][i]); });
      });
    }
  };
  add(group.span.prefix_begin, group.span.prefix_end);
  add(group.span.own_begin, group.span.own_end);
  Unroll<kHeads>([&](auto head) QZO_VEC_LAMBDA {
    const F32x16 sum(group.sums[first_head + head]);
    Unroll<kVectors>([&](auto i) QZO_VEC_LAMBDA {
      Store(group.out + (first_head + head) * group.dim + d + 16 * i, acc[head][i] / sum);
    });
  });
}

template <int kVectors, int... kIndex>
void WeightedValuesOf(int heads, const HeadGroup& group, int first_head, int64_t d,
                      std::integer_sequence<int, kIndex...>) {
  constexpr void (*kRun[])(const HeadGroup&, int, int64_t) = {WeightedValues<kIndex + 1, kVectors>...};
  kRun[heads - 1](group, first_head, d);
}

void Attention(const AttentionArgs& args, int64_t row_begin, int64_t row_end) {
  const int heads = args.heads / args.kv_heads;
  constexpr auto kHeadCounts = std::make_integer_sequence<int, kHeadBlock>{};
  for (int64_t row = row_begin; row < row_end; ++row) {
    const KeySpan& span = args.spans[static_cast<size_t>(row)];
    const int64_t keys = int64_t{span.prefix_end} - span.prefix_begin + span.own_end - span.own_begin;
    const int64_t stride = (keys + 15) / 16 * 16;
    float* scores = ThreadScratch(Scratch::kScores, heads * (stride + 1));
    float* sums = scores + heads * stride;
    for (int kv_head = 0; kv_head < args.kv_heads; ++kv_head) {
      const int64_t dim = args.head_dim, offset = int64_t{kv_head} * heads * dim;
      const HeadGroup group{.q = args.q + row * args.ldq + offset,
                            .k = args.k + kv_head * dim,
                            .v = args.v + kv_head * dim,
                            .ldkv = args.ldkv,
                            .span = span,
                            .dim = dim,
                            .scale = args.scale,
                            .scores = scores,
                            .stride = stride,
                            .sums = sums,
                            .out = args.out + row * args.ldo + offset};
      Scores(group, heads, keys);
      for (int head = 0; head < heads; ++head) sums[head] = SoftmaxNumerators(scores + head * stride, keys);
      for (int head = 0; head < heads; head += kHeadBlock) {
        const int count = Smaller(kHeadBlock, heads - head);
        int64_t d = 0;
        for (; d + 16 * kHeadVectors <= dim; d += 16 * kHeadVectors) {
          WeightedValuesOf<kHeadVectors>(count, group, head, d, kHeadCounts);
        }
        for (; d < dim; d += 16) WeightedValuesOf<1>(count, group, head, d, kHeadCounts);
      }
    }
  }
}

// --- Elementwise and loss ---

void SiluGate(const float* gate, const float* up, int64_t n, float* out) {
  ForVectors(n, [&](int64_t i, int64_t lanes) QZO_VEC_LAMBDA {
    StoreFirst(out + i, lanes, Silu(LoadFirst(gate + i, lanes, 0)) * LoadFirst(up + i, lanes, 0));
  });
}

double LogSumExp(const float* x, int64_t n) {
  F32x16 largest(-kInfinity);
  ForVectors(
      n, [&](int64_t i, int64_t lanes) QZO_VEC_LAMBDA { largest = Max(largest, LoadFirst(x + i, lanes, -kInfinity)); });
  const float max = LargestLane(largest);
  F64x16 sum{};
  ForVectors(n, [&](int64_t i, int64_t lanes)
                    QZO_VEC_LAMBDA { sum = AddWidened(sum, Exp(LoadFirst(x + i, lanes, -kInfinity) - F32x16(max))); });
  return max + Log(TreeSum(sum));
}

// --- Noise, perturbation, update ---

constexpr int64_t kChunk = 16 * kRademacherPerBlock;  // multipliers whose noise is held at once: a vector of blocks

// 16 Philox blocks from `block` on, one per lane.
QZO_VEC void PhiloxBlocks(const NoiseKey& key, uint32_t block, U32x16 (&words)[4]) {
  U32x16 c0 = U32x16(block) + Iota(), c1(key.tensor), c2(key.probe), c3(key.step);
  uint32_t k0 = static_cast<uint32_t>(key.seed), k1 = static_cast<uint32_t>(key.seed >> 32);
  for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {  // base/philox.h
    U32x16 high0, low0, high1, low1;
    MultiplyWide(c0, 0xD2511F53u, &high0, &low0);
    MultiplyWide(c2, 0xCD9E8D57u, &high1, &low1);
    c0 = high1 ^ c1 ^ U32x16(k0);
    c1 = low1;
    c2 = high0 ^ c3 ^ U32x16(k1);
    c3 = low0;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

// z[0 … kChunk), of which the first `count` are wanted and the others may be anything.
void FillNoise(const NoiseKey& key, int64_t begin, int64_t count, float* z) {
  U32x16 words[4];
  if (key.kind == NoiseKind::kGaussian) {
    for (int64_t i = 0; i < count; i += 16 * kGaussianPerBlock) {
      PhiloxBlocks(key, static_cast<uint32_t>((begin + i) / kGaussianPerBlock), words);
      F32x16 n[4];
      BoxMuller(words[0], words[1], &n[0], &n[1]);
      BoxMuller(words[2], words[3], &n[2], &n[3]);
      StoreInterleaved(z + i, n[0], n[1], n[2], n[3]);
    }
    return;
  }
  PhiloxBlocks(key, static_cast<uint32_t>(begin / kRademacherPerBlock), words);
  alignas(64) uint32_t lanes[4][16];
  for (int word = 0; word < 4; ++word) Store(lanes[word], words[word]);
  const U32x16 to_sign = U32x16(31u) - Iota();  // shifts bit i of lane i to the top
  const U32x16 one(0x3f800000u), sign(0x80000000u);
  for (int64_t i = 0; i < count; i += 32) {
    const uint32_t bits = lanes[i / 32 % 4][i / kRademacherPerBlock];
    Store(z + i, FromBits((ShiftLeftEach(U32x16(bits), to_sign) & sign) | one));
    Store(z + i + 16, FromBits((ShiftLeftEach(U32x16(bits >> 16), to_sign) & sign) | one));
  }
}

void Noise(const NoiseKey& key, int64_t begin, int64_t count, float* z) {
  alignas(64) float chunk[kChunk];
  for (int64_t at = 0; at < count; at += kChunk) {
    const int64_t n = Smaller(kChunk, count - at);
    FillNoise(key, begin + at, n, chunk);
    std::memcpy(z + at, chunk, static_cast<size_t>(n) * sizeof(float));
  }
}

void Perturb(const NoiseKey& key, int64_t begin, int64_t count, const float* k, const float* unit, float signed_epsilon,
             float* out) {
  alignas(64) float z[kChunk];
  for (int64_t at = 0; at < count; at += kChunk) {
    const int64_t n = Smaller(kChunk, count - at);
    FillNoise(key, begin + at, n, z);
    ForVectors(n, [&](int64_t i, int64_t lanes) QZO_VEC_LAMBDA {
      F32x16 length(signed_epsilon);
      if (unit != nullptr) length = length * LoadFirst(unit + at + i, lanes, 0);
      StoreFirst(out + at + i, lanes, Fma(length, Load(z + i), LoadFirst(k + at + i, lanes, 0)));
    });
  }
}

void Update(std::span<const NoiseKey> keys, std::span<const float> coefficients, int64_t begin, int64_t count,
            const float* unit, float* k) {
  alignas(64) float z[kChunk];
  for (int64_t at = 0; at < count; at += kChunk) {
    const int64_t n = Smaller(kChunk, count - at);
    for (size_t probe = 0; probe < keys.size(); ++probe) {
      if (coefficients[probe] == 0) continue;
      FillNoise(keys[probe], begin + at, n, z);
      ForVectors(n, [&](int64_t i, int64_t lanes) QZO_VEC_LAMBDA {
        F32x16 length(-coefficients[probe]), floor(0x1p-6f);
        if (unit != nullptr) {
          const F32x16 u = LoadFirst(unit + at + i, lanes, 0);
          length = length * u;
          floor = F32x16(1e-7f) * FromBits(Bits(u) & U32x16(0x7fffffffu));
        }
        float* at_k = k + at + i;
        StoreFirst(at_k, lanes, Max(floor, Fma(length, Load(z + i), LoadFirst(at_k, lanes, 0))));
      });
    }
  }
}

// dequantize_row serves embedding look-ups: too little work to have a second version of.
constexpr Kernels MakeKernels(std::string_view name, bool (*supported)(),
                              decltype(Kernels::matmul_rounded) matmul_rounded) {
  return {.name = name,
          .supported = supported,
          .matmul = MatMul,
          .matmul_rounded = matmul_rounded,
          .round_rows = RoundRows,
          .dequantize_row = DequantizeRow,
          .rms_norm = RmsNorm,
          .rope = Rope,
          .attention = Attention,
          .silu_gate = SiluGate,
          .log_sum_exp = LogSumExp,
          .noise = Noise,
          .perturb = Perturb,
          .update = Update};
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_BODY_H_
