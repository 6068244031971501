// Every op over the 16-lane types of QZO_VEC_HEADER and the integer products of QZO_DOT_HEADER, which the including
// file defines: one text for all instruction sets. Included by the x86_*.cc files only; the anonymous namespace gives
// each its own copy. Order of operations: kernels.h.
#ifndef QZO_KERNELS_SIMD_BODY_H_
#define QZO_KERNELS_SIMD_BODY_H_

#include "kernels/noise.h"
#include "kernels/simd_attention.h"
#include "kernels/simd_dots.h"
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

void LayerNorm(const float* x, int64_t ldx, const float* weight, const float* bias, float epsilon, int64_t rows,
               int64_t dim, float* y, int64_t ldy) {
  for (int64_t row = 0; row < rows; ++row, x += ldx, y += ldy) {
    F32x16 sum(0.0f), squares(0.0f);
    ForVectors(dim, [&](int64_t i, int64_t lanes) QZO_VEC_LAMBDA { sum = sum + LoadFirst(x + i, lanes, 0); });
    const F32x16 mean(TreeSum(sum) / static_cast<float>(dim));
    ForVectors(dim, [&](int64_t i, int64_t lanes) QZO_VEC_LAMBDA {
      const F32x16 centered = LoadFirst(x + i, lanes, 0) - mean;
      squares = squares + KeepFirst(centered * centered, lanes);
    });
    const F32x16 s(1.0f / Sqrt(TreeSum(squares) / static_cast<float>(dim) + epsilon));
    ForVectors(dim, [&](int64_t i, int64_t lanes) QZO_VEC_LAMBDA {
      const F32x16 normed = (LoadFirst(x + i, lanes, 0) - mean) * s;
      StoreFirst(y + i, lanes, Fma(normed, LoadFirst(weight + i, lanes, 0), LoadFirst(bias + i, lanes, 0)));
    });
  }
}

void Add(const float* x, int64_t n, float* y) {
  ForVectors(n, [&](int64_t i, int64_t lanes) QZO_VEC_LAMBDA {
    StoreFirst(y + i, lanes, LoadFirst(y + i, lanes, 0) + LoadFirst(x + i, lanes, 0));
  });
}

// Elementwise, so the compiler's own vectors serve where pairs are halves apart.
QZO_VEC void Rotate(float* first, float* second, float cos, float sin) {
  const float a = *first, b = *second;
  *first = Fma(a, cos, -(b * sin));
  *second = Fma(b, cos, a * sin);
}

// Pairs of neighbours, 16 elements at a time for all heads. Returns how many elements of a head that were.
QZO_VEC int RotateNeighbours(float* x, const RopeArgs& args, const float* cos, const float* sin) {
  const U32x16 first_sign = ((Iota() & U32x16(1u)) ^ U32x16(1u)) << 31;
  int i = 0;
  for (; i + 16 <= args.rotary_dim; i += 16) {
    const F32x16 c = LoadPairs(cos + i / 2);
    const F32x16 s = FromBits(Bits(LoadPairs(sin + i / 2)) ^ first_sign);
    for (int head = 0; head < args.heads; ++head) {
      float* at = x + int64_t{head} * args.head_dim + i;
      const F32x16 value = Load(at);
      Store(at, Fma(value, c, SwapPairs(value) * s));
    }
  }
  return i;
}

void Rope(const RopeArgs& args, int64_t row_begin, int64_t row_end) {
  const int half = args.rotary_dim / 2;
  for (int64_t row = row_begin; row < row_end; ++row) {
    const int64_t angles = int64_t{args.positions[static_cast<size_t>(row)]} * half;
    const float* cos = args.cos + angles;
    const float* sin = args.sin + angles;
    float* x = args.x + row * args.ldx;
    const bool adjacent = args.layout == RopeLayout::kAdjacent;
    const int done = adjacent ? RotateNeighbours(x, args, cos, sin) / 2 : 0;
    for (int head = 0; head < args.heads; ++head, x += args.head_dim) {
      for (int i = done; i < half; ++i) {
        if (adjacent) {
          Rotate(x + 2 * i, x + 2 * i + 1, cos[i], sin[i]);
        } else {
          Rotate(x + i, x + half + i, cos[i], sin[i]);
        }
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

void GeluGate(const float* gate, const float* up, int64_t n, float* out) {
  ForVectors(n, [&](int64_t i, int64_t lanes) QZO_VEC_LAMBDA {
    const F32x16 factor = up == nullptr ? F32x16(1.0f) : LoadFirst(up + i, lanes, 0);
    StoreFirst(out + i, lanes, GeluTanh(LoadFirst(gate + i, lanes, 0)) * factor);
  });
}

void Relu(float* x, int64_t n) {
  ForVectors(n, [&](int64_t i, int64_t lanes)
                    QZO_VEC_LAMBDA { StoreFirst(x + i, lanes, Max(F32x16(0.0f), LoadFirst(x + i, lanes, 0))); });
}

void SoftCapAll(float* x, int64_t n, float cap) {
  ForVectors(n, [&](int64_t i, int64_t lanes)
                    QZO_VEC_LAMBDA { StoreFirst(x + i, lanes, SoftCap(LoadFirst(x + i, lanes, 0), F32x16(cap))); });
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
          .layer_norm = LayerNorm,
          .add = Add,
          .rope = Rope,
          .attention = Attention,
          .silu_gate = SiluGate,
          .gelu_gate = GeluGate,
          .relu = Relu,
          .softcap = SoftCapAll,
          .log_sum_exp = LogSumExp,
          .noise = Noise,
          .perturb = Perturb,
          .update = Update};
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_BODY_H_
