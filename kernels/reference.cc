// Plain loops in the order that kernels.h prescribes: the truth for every variant, and what a machine without AVX2
// runs.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/exact_math.h"
#include "kernels/kernels.h"
#include "kernels/noise.h"
#include "kernels/rounding.h"
#include "kernels/scratch.h"
#include "kernels/weights.h"

namespace qzo::kernels {
namespace {

template <typename T, typename Value>
T Tree16(int64_t n, Value&& value) {
  T p[16] = {};
  for (int64_t j = 0; j < n; ++j) p[j % 16] += value(j);
  for (int half = 8; half >= 1; half /= 2) {
    for (int i = 0; i < half; ++i) p[i] += p[i + half];
  }
  return p[0];
}

float Dot(const float* x, const float* w, int64_t n) {
  float acc = 0;
  for (int64_t k = 0; k < n; ++k) acc = Fma(x[k], w[k], acc);
  return acc;
}

void MatMul(const MatMulArgs& args, int64_t n_begin, int64_t n_end) {
  const int64_t k = args.w.cols;
  const int64_t block = GroupSize(args.w);
  const int64_t groups = k / block;
  float* w = ThreadScratch(Scratch::kPanel, k);
  for (int64_t n = n_begin; n < n_end; ++n) {
    DequantizeRow(args.w, n, w);
    for (const LaneRows& lane : args.lanes) {
      for (int64_t m = lane.begin; m < lane.end; ++m) {
        const float* x = args.x + m * args.ldx;
        float result = 0;
        if (args.granularity == Granularity::kChannel) {
          result = (lane.multipliers == nullptr ? 1.0f : lane.multipliers[n]) * Dot(x, w, k);
        } else {
          for (int64_t g = 0; g < groups; ++g) {
            const float multiplier = lane.multipliers == nullptr ? 1.0f : lane.multipliers[n * groups + g];
            result = Fma(multiplier, Dot(x + g * block, w + g * block, block), result);
          }
        }
        float& y = args.y[m * args.ldy + n];
        y = args.accumulate ? y + result : result;
      }
    }
  }
}

void RoundRows(const float* x, int64_t ldx, int64_t row_begin, int64_t row_end, RoundedRows* out) {
  const bool pairs = out->arithmetic == Arithmetic::kInt16;
  for (int64_t row = row_begin; row < row_end; ++row) {
    for (int64_t b = 0; b < out->cols / kRoundedBlock; ++b) {
      const float* block = x + row * ldx + b * kRoundedBlock;
      std::byte* codes = out->block(row, b);
      uint32_t largest = 0;
      for (int i = 0; i < kRoundedBlock; ++i) largest = std::max(largest, Bits(block[i]) & 0x7fffffffu);
      const BlockRounding rounding = RoundingOf(largest, RoundingLimit(pairs));
      int32_t halves[2] = {};
      for (int i = 0; i < kRoundedBlock; ++i) {
        const int32_t code = static_cast<int32_t>(RoundProduct(block[i], rounding.factor) & rounding.keep);
        halves[i / 16] += code;
        if (pairs) {
          const int16_t value = static_cast<int16_t>(code);
          std::memcpy(codes + 2 * PairPlace(i), &value, sizeof(value));
        } else {
          codes[i] = static_cast<std::byte>(code);
        }
      }
      BlockSums sums{.scale = rounding.scale};
      const int32_t totals[3] = {halves[0] + halves[1], halves[0], halves[1]};
      for (int i = 0; i < 3; ++i) {
        sums.sums[i] = rounding.scale * static_cast<float>(totals[i]);
        sums.starts[i] = -128 * totals[i];
      }
      std::memcpy(codes + out->code_bytes(), &sums, static_cast<size_t>(out->block_bytes() - out->code_bytes()));
    }
  }
}

int32_t RoundedCode(const std::byte* codes, bool pairs, int i) {
  if (!pairs) return std::to_integer<int8_t>(codes[i]);
  int16_t value;
  std::memcpy(&value, codes + 2 * PairPlace(i), sizeof(value));
  return value;
}

// One output element: row m of x times a decoded row of weights. multipliers: of its groups, or nullptr.
float RoundedDot(const RoundedMatMulArgs& args, int64_t m, std::span<const CodeBlock> weights,
                 const float* multipliers) {
  const bool pairs = args.x.arithmetic == Arithmetic::kInt16;
  const int64_t group = GroupSize(args.w);
  const int part_values = GroupValues(args.w.type) == 16 ? 16 : 32;
  float acc = 0;
  for (size_t b = 0; b < weights.size(); ++b) {
    const std::byte* x = args.x.block(m, static_cast<int64_t>(b));
    BlockSums sums;
    std::memcpy(&sums, x + args.x.code_bytes(), offsetof(BlockSums, starts));
    for (int i = 0; i < kRoundedBlock; i += part_values) {
      int32_t p = 0;
      for (int j = i; j < i + part_values; ++j) p += RoundedCode(x, pairs, j) * weights[b].codes[j];
      const int64_t k = static_cast<int64_t>(b) * kRoundedBlock + i;
      const float multiplier = multipliers == nullptr ? 1.0f : multipliers[k / group];
      acc = Fma(static_cast<float>(p), sums.scale * (multiplier * weights[b].scale[i / 16]), acc);
      const float sum = sums.sums[part_values == 16 ? 1 + i / 16 : 0];
      if (HasMinimum(args.w.type)) acc = Fma(sum, multiplier * weights[b].minimum[i / 16], acc);
    }
  }
  return acc;
}

void MatMulRounded(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end) {
  const bool grouped = args.granularity == Granularity::kGroup;
  const int64_t groups = args.w.cols / GroupSize(args.w);
  const int64_t row_bytes = args.w.cols / BlockValues(args.w.type) * BlockBytes(args.w.type);
  thread_local std::vector<CodeBlock> weights;  // keeps its capacity
  weights.resize(static_cast<size_t>(args.w.cols / kRoundedBlock));
  for (int64_t n = n_begin; n < n_end; ++n) {
    for (size_t b = 0; b < weights.size(); ++b) {
      DecodeCodes(args.w.type, args.w.data + n * row_bytes, static_cast<int64_t>(b) * kRoundedBlock, &weights[b]);
    }
    for (const LaneRows& lane : args.lanes) {
      const bool ones = lane.multipliers == nullptr;
      for (int64_t m = lane.begin; m < lane.end; ++m) {
        float result = RoundedDot(args, m, weights, ones || !grouped ? nullptr : lane.multipliers + n * groups);
        if (!ones && !grouped) result = lane.multipliers[n] * result;
        float& y = args.y[m * args.ldy + n];
        y = args.accumulate ? y + result : result;
      }
    }
  }
}

void RmsNorm(const float* x, int64_t ldx, const float* weight, float epsilon, int64_t rows, int64_t dim, float* y,
             int64_t ldy) {
  for (int64_t row = 0; row < rows; ++row, x += ldx, y += ldy) {
    const float sum = Tree16<float>(dim, [&](int64_t j) { return x[j] * x[j]; });
    const float s = 1.0f / Sqrt(sum / static_cast<float>(dim) + epsilon);
    for (int64_t j = 0; j < dim; ++j) y[j] = (x[j] * s) * weight[j];
  }
}

void LayerNorm(const float* x, int64_t ldx, const float* weight, const float* bias, float epsilon, int64_t rows,
               int64_t dim, float* y, int64_t ldy) {
  for (int64_t row = 0; row < rows; ++row, x += ldx, y += ldy) {
    const float mean = Tree16<float>(dim, [&](int64_t j) { return x[j]; }) / static_cast<float>(dim);
    const float squares = Tree16<float>(dim, [&](int64_t j) { return (x[j] - mean) * (x[j] - mean); });
    const float s = 1.0f / Sqrt(squares / static_cast<float>(dim) + epsilon);
    for (int64_t j = 0; j < dim; ++j) y[j] = Fma((x[j] - mean) * s, weight[j], bias[j]);
  }
}

void Add(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = y[i] + x[i];
}

void Rope(const RopeArgs& args, int64_t row_begin, int64_t row_end) {
  const int half = args.rotary_dim / 2;
  const bool adjacent = args.layout == RopeLayout::kAdjacent;
  for (int64_t row = row_begin; row < row_end; ++row) {
    const float* cos = args.cos + int64_t{args.positions[static_cast<size_t>(row)]} * half;
    const float* sin = args.sin + int64_t{args.positions[static_cast<size_t>(row)]} * half;
    for (int head = 0; head < args.heads; ++head) {
      float* x = args.x + row * args.ldx + int64_t{head} * args.head_dim;
      for (int i = 0; i < half; ++i) {
        float& first = x[adjacent ? 2 * i : i];
        float& second = x[adjacent ? 2 * i + 1 : i + half];
        const float a = first, b = second;
        first = Fma(a, cos[i], -(b * sin[i]));
        second = Fma(b, cos[i], a * sin[i]);
      }
    }
  }
}

void Attention(const AttentionArgs& args, int64_t row_begin, int64_t row_end) {
  const int64_t dim = args.head_dim;
  for (int64_t row = row_begin; row < row_end; ++row) {
    const KeySpan& span = args.spans[static_cast<size_t>(row)];
    const int64_t prefix = span.prefix_end - span.prefix_begin;
    const int64_t keys = prefix + (span.own_end - span.own_begin);
    const auto key_row = [&](int64_t j) { return j < prefix ? span.prefix_begin + j : span.own_begin + (j - prefix); };
    float* p = ThreadScratch(Scratch::kAttention, keys);
    for (int head = 0; head < args.heads; ++head) {
      const float* q = args.q + row * args.ldq + head * dim;
      float* out = args.out + row * args.ldo + head * dim;
      const int64_t kv_offset = head / (args.heads / args.kv_heads) * dim;
      for (int64_t j = 0; j < keys; ++j) {
        p[j] = args.scale * Dot(q, args.k + key_row(j) * args.ldkv + kv_offset, dim);
        if (args.softcap != 0) p[j] = SoftCap(p[j], args.softcap);
      }
      const float max = *std::max_element(p, p + keys);
      for (int64_t j = 0; j < keys; ++j) p[j] = Exp(p[j] - max);
      const float sum = Tree16<float>(keys, [&](int64_t j) { return p[j]; });
      std::fill(out, out + dim, 0.0f);
      for (int64_t j = 0; j < keys; ++j) {
        const float* v = args.v + key_row(j) * args.ldkv + kv_offset;
        for (int64_t i = 0; i < dim; ++i) out[i] = Fma(p[j], v[i], out[i]);
      }
      const float inverse = 1.0f / sum;
      for (int64_t i = 0; i < dim; ++i) out[i] *= inverse;
    }
  }
}

void SiluGate(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = Silu(gate[i]) * up[i];
}

void GeluGate(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = GeluTanh(gate[i]) * (up == nullptr ? 1.0f : up[i]);
}

void Relu(float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = Max(0.0f, x[i]);
}

void SoftCapAll(float* x, int64_t n, float cap) {
  for (int64_t i = 0; i < n; ++i) x[i] = SoftCap(x[i], cap);
}

double LogSumExp(const float* x, int64_t n) {
  const float max = *std::max_element(x, x + n);
  return max + Log(Tree16<double>(n, [&](int64_t j) { return double{Exp(x[j] - max)}; }));
}

void Noise(const NoiseKey& key, int64_t begin, int64_t count, float* z) {
  if (key.kind == NoiseKind::kRademacher) {
    for (int64_t i = 0; i < count; i += kRademacherPerBlock) {
      const base::PhiloxWords words = NoiseWords(key, static_cast<uint32_t>((begin + i) / kRademacherPerBlock));
      for (int64_t j = 0; j < std::min<int64_t>(kRademacherPerBlock, count - i); ++j) {
        z[i + j] = (words.w[j / 32] >> (j % 32) & 1) == 0 ? 1.0f : -1.0f;
      }
    }
    return;
  }
  for (int64_t i = 0; i < count; i += kGaussianPerBlock) {
    const base::PhiloxWords words = NoiseWords(key, static_cast<uint32_t>((begin + i) / kGaussianPerBlock));
    float normals[kGaussianPerBlock];
    BoxMuller(words.w[0], words.w[1], &normals[0], &normals[1]);
    BoxMuller(words.w[2], words.w[3], &normals[2], &normals[3]);
    std::copy_n(normals, std::min<int64_t>(kGaussianPerBlock, count - i), z + i);
  }
}

constexpr int64_t kChunk = 1024;  // multipliers whose noise is held at once; a multiple of 128

void Perturb(const NoiseKey& key, int64_t begin, int64_t count, const float* k, const float* unit, float signed_epsilon,
             float* out) {
  float z[kChunk];
  for (int64_t at = 0; at < count; at += kChunk) {
    const int64_t n = std::min(kChunk, count - at);
    Noise(key, begin + at, n, z);
    for (int64_t i = 0; i < n; ++i) {
      out[at + i] = Fma(signed_epsilon * (unit == nullptr ? 1.0f : unit[at + i]), z[i], k[at + i]);
    }
  }
}

void Update(std::span<const NoiseKey> keys, std::span<const float> coefficients, int64_t begin, int64_t count,
            const float* unit, float* k) {
  float z[kChunk];
  for (int64_t at = 0; at < count; at += kChunk) {
    const int64_t n = std::min(kChunk, count - at);
    for (size_t probe = 0; probe < keys.size(); ++probe) {
      if (coefficients[probe] == 0) continue;
      Noise(keys[probe], begin + at, n, z);
      for (int64_t i = 0; i < n; ++i) {
        const float u = unit == nullptr ? 1.0f : unit[at + i];
        const float floor = unit == nullptr ? 0x1p-6f : 1e-7f * std::fabs(u);
        k[at + i] = Max(floor, Fma(-(coefficients[probe] * u), z[i], k[at + i]));
      }
    }
  }
}

}  // namespace

extern const Kernels kReferenceKernels;
const Kernels kReferenceKernels = {
    .name = "reference",
    .supported = [] { return true; },
    .matmul = MatMul,
    .matmul_rounded = MatMulRounded,
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
    .update = Update,
};

}  // namespace qzo::kernels
