// The ops between matrix products, a block per token row (or several rows a block, where they are short). Results that
// feed a product are rounded to bfloat16 in its order at once (RoundedInput of matmul.h). Sums run over threads in a
// fixed order, so a row depends on itself alone. Grids may be larger than there are rows: counts are in device memory.
#ifndef QZO_KERNELS_CUDA_ROWS_H_
#define QZO_KERNELS_CUDA_ROWS_H_

#include <cstdint>

#include "kernels/activation.h"
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/matrix.h"
#include "kernels/cuda/noise.h"
#include "kernels/exact_math.h"

namespace qzo::kernels::cuda {

inline constexpr int kRowThreads = 256;
inline constexpr int kRowWarps = kRowThreads / 32;

// Where rounded rows go: RoundedInput, to write.
struct RoundedOutput {
  uint16_t* values = nullptr;
  float* sums = nullptr;
  int stretches = 0;
};

// A vector that all rows take, or that each lane has its own of.
struct LaneVector {
  const float* values = nullptr;
  const int32_t* lanes = nullptr;  // of the rows; nullptr: one vector for all
  int64_t stride = 0;              // from a lane's to the next one's
  QZO_DEVICE const float* Of(int64_t row) const { return lanes == nullptr ? values : values + lanes[row] * stride; }
};

// Lane i of a warp has value i of block `block` of a row; 0 past the row's columns.
QZO_DEVICE void StoreRounded(const RoundedOutput& out, int64_t row, int block, int lane, float value) {
  const uint32_t bits = RoundToBf16(value);
  out.values[row * out.stretches * kStretch + block * 32 + FragmentPlace(lane)] = static_cast<uint16_t>(bits);
  const float sum = HalfWarpSum(Bf16ToFloat(bits));
  if (lane % 16 == 0) out.sums[row * out.stretches * 4 + block * 2 + lane / 16] = sum;
}

// Rounds a row, value(k) for its columns k < cols, with all warps of the block.
template <typename Value>
QZO_DEVICE void RoundRow(const RoundedOutput& out, int64_t row, int cols, Value&& value) {
  const int lane = ThreadIndex() % 32;
  for (int block = ThreadIndex() / 32; block < 2 * out.stretches; block += kRowWarps) {
    const int k = block * 32 + lane;
    StoreRounded(out, row, block, lane, k < cols ? value(k) : 0.0f);
  }
}

struct RoundParams {
  const float* x = nullptr;        // [rows, cols]
  const int32_t* order = nullptr;  // [cols] or nullptr: column j of the result is column order[j]
  int cols = 0;
  const int32_t* rows = nullptr;
  RoundedOutput out;
};

QZO_KERNEL(256, 4) RoundKernel(const RoundParams p) {
  const int64_t row = BlockIndexX();
  if (row >= *p.rows) return;
  const float* x = p.x + row * p.cols;
  RoundRow(p.out, row, p.cols, [&](int k) { return x[p.order == nullptr ? k : p.order[k]]; });
}

// Σ value over the block, in a fixed order; `partial` has room for one of each warp.
QZO_DEVICE float BlockSum(float value, float* partial) {
  value = WarpSum(value);
  if (ThreadIndex() % 32 == 0) partial[ThreadIndex() / 32] = value;
  SyncThreads();  // all warps' sums are there
  float sum = 0;
  for (int warp = 0; warp < kRowWarps; ++warp) sum += partial[warp];
  return sum;
}

inline constexpr int kNormShared = 2 * kRowWarps * 4;

struct NormParams {
  const float* x = nullptr;      // [*, dim]
  const int32_t* map = nullptr;  // row i reads row map[i] of x; nullptr: i
  LaneVector weight;
  LaneVector bias;  // of a layer norm
  float epsilon = 0;
  int dim = 0;
  const int32_t* rows = nullptr;
  RoundedOutput out;       // unless values is null
  float* plain = nullptr;  // [rows, dim] in fp32, unless null
  bool add = false;        // to what is in `plain`
};

// y_j = (x_j · s) · weight_j, s = 1 / sqrt(Σ x² / dim + epsilon); with a bias y_j = fma(c_j · s, weight_j, bias_j) of
// c_j = x_j − Σ x / dim in place of x_j.
QZO_KERNEL(256, 4) NormKernel(const NormParams p) {
  const int64_t row = BlockIndexX();
  if (row >= *p.rows) return;
  const float* x = p.x + int64_t{p.map == nullptr ? static_cast<int32_t>(row) : p.map[row]} * p.dim;
  float* partial = reinterpret_cast<float*>(SharedMemory());  // [2, warps]
  const int thread = ThreadIndex();
  const float dim = static_cast<float>(p.dim);
  float mean = 0, sum = 0;
  if (p.bias.values != nullptr) {
    for (int j = thread; j < p.dim; j += kRowThreads) sum += x[j];
    mean = BlockSum(sum, partial) / dim;
    sum = 0;
  }
  for (int j = thread; j < p.dim; j += kRowThreads) sum += (x[j] - mean) * (x[j] - mean);
  const float s = 1.0f / Sqrt(BlockSum(sum, partial + kRowWarps) / dim + p.epsilon);
  const float* weight = p.weight.Of(row);
  const float* bias = p.bias.values == nullptr ? nullptr : p.bias.Of(row);
  const auto value = [&](int j) {
    return bias == nullptr ? (x[j] * s) * weight[j] : Fma((x[j] - mean) * s, weight[j], bias[j]);
  };
  if (p.out.values != nullptr) RoundRow(p.out, row, p.dim, value);
  if (p.plain == nullptr) return;
  for (int j = thread; j < p.dim; j += kRowThreads) {
    float& y = p.plain[row * p.dim + j];
    y = p.add ? y + value(j) : value(j);
  }
}

struct NormHeadsParams {
  float* x = nullptr;  // [rows, heads * head_dim], in place
  LaneVector weight;
  float epsilon = 0;
  int heads = 0;
  int head_dim = 0;
  const int32_t* rows = nullptr;
};

// The same for each head of a row, a warp each.
QZO_KERNEL(256, 4) NormHeadsKernel(const NormHeadsParams p) {
  const int64_t row = BlockIndexX();
  if (row >= *p.rows) return;
  const int lane = ThreadIndex() % 32;
  const float* weight = p.weight.Of(row);
  for (int head = ThreadIndex() / 32; head < p.heads; head += kRowWarps) {
    float* x = p.x + (row * p.heads + head) * p.head_dim;
    float sum = 0;
    for (int j = lane; j < p.head_dim; j += 32) sum += x[j] * x[j];
    sum = WarpSum(sum);
    const float s = 1.0f / Sqrt(sum / static_cast<float>(p.head_dim) + p.epsilon);
    for (int j = lane; j < p.head_dim; j += 32) x[j] = (x[j] * s) * weight[j];
  }
}

struct GateParams {
  const float* gate = nullptr;  // [rows, dim]
  const float* up = nullptr;    // nullptr: the activation alone
  Activation activation = Activation::kSilu;
  int dim = 0;
  const int32_t* rows = nullptr;
  RoundedOutput out;       // unless values is null
  float* plain = nullptr;  // [rows, dim] in fp32, unless null; may be gate
};

QZO_KERNEL(256, 4) GateKernel(const GateParams p) {
  const int64_t row = BlockIndexX();
  if (row >= *p.rows) return;
  const float* gate = p.gate + row * p.dim;
  const float* up = p.up == nullptr ? nullptr : p.up + row * p.dim;
  const auto activated = [&](float x) {
    switch (p.activation) {
      case Activation::kSilu:
        return Silu(x);
      case Activation::kGeluTanh:
        return GeluTanh(x);
      default:
        return Max(0.0f, x);
    }
  };
  const auto value = [&](int j) { return up == nullptr ? activated(gate[j]) : activated(gate[j]) * up[j]; };
  if (p.out.values != nullptr) RoundRow(p.out, row, p.dim, value);
  if (p.plain == nullptr) return;
  for (int j = ThreadIndex(); j < p.dim; j += kRowThreads) p.plain[row * p.dim + j] = value(j);
}

struct RotateParams {
  const float* x = nullptr;  // [rows, heads * head_dim]
  const int32_t* positions = nullptr;
  const float* cos = nullptr;  // [positions, rotary_dim / 2]; nullptr: nothing is rotated
  const float* sin = nullptr;
  int heads = 0;
  int head_dim = 0;  // even
  int rotary_dim = 0;
  bool adjacent = false;  // pairs (2i, 2i+1), else (i, i + rotary_dim/2)
  const int32_t* rows = nullptr;
  uint16_t* out = nullptr;  // the same shape, bfloat16
};

// Rotary embedding as in kernels.h, rounded to what attention takes.
QZO_KERNEL(256, 4) RotateKernel(const RotateParams p) {
  const int64_t row = BlockIndexX();
  if (row >= *p.rows) return;
  const int pairs = p.head_dim / 2, half = p.rotary_dim / 2;
  const int64_t table = p.cos == nullptr ? 0 : int64_t{p.positions[row]} * half;
  for (int i = ThreadIndex(); i < p.heads * pairs; i += kRowThreads) {
    const int pair = i % pairs;
    const int64_t head = row * p.heads * p.head_dim + int64_t{i / pairs} * p.head_dim;
    const bool rotated = p.cos != nullptr && pair < half;
    const bool neighbours = p.adjacent || !rotated;
    const int64_t first = head + (neighbours ? 2 * pair : pair), second = neighbours ? first + 1 : first + half;
    float a = p.x[first], b = p.x[second];
    if (rotated) {
      const float cos = p.cos[table + pair], sin = p.sin[table + pair];
      const float turned = Fma(a, cos, -(b * sin));
      b = Fma(b, cos, a * sin);
      a = turned;
    }
    p.out[first] = static_cast<uint16_t>(RoundToBf16(a));
    p.out[second] = static_cast<uint16_t>(RoundToBf16(b));
  }
}

struct EmbedParams {
  DeviceMatrix table;
  const int32_t* tokens = nullptr;
  const int32_t* rows = nullptr;
  float* out = nullptr;  // [rows, cols]
  float scale = 1;
  int first = 0;     // row of the table that token 0 has
  bool add = false;  // to what is in `out`
  Deltas deltas;     // of the table's values, and in which directions
  const LaneNoise* lanes = nullptr;
  const int32_t* row_lanes = nullptr;  // [rows]
};

// Value (row, k) of a matrix, from its planes.
QZO_DEVICE float StoredValue(const DeviceMatrix& w, int row, int k) {
  const int stretch = k / kStretch, b = k % kStretch / 32, i = k % 32, t = i % 16 / 4;
  const std::byte* codes = w.codes + (int64_t{row} * w.stretches + stretch) * CodeBytes(w.format.codes) +
                           t * (CodeBytes(w.format.codes) / 4);
  int code = 0;
  if (w.format.codes == Codes::kBf16) {
    const int pair = FragmentPlace(i) / 8;
    return Bf16ToFloat(reinterpret_cast<const uint16_t*>(codes)[8 * b + 2 * pair + FragmentPlace(i) % 2]);
  } else if (w.format.codes == Codes::kByte) {
    code = reinterpret_cast<const int8_t*>(codes)[8 * b + i / 16 * 4 + i % 4];
  } else {
    code = static_cast<int>(codes[4 * b + i % 4]) >> i / 16 * 4 & 15;
  }
  const int64_t at = int64_t{stretch >> RecordShift(w.format.scales)} * w.rows + row;
  const std::byte* record = w.records + at * RecordBytes(w.format.scales);
  const uint16_t* halves = reinterpret_cast<const uint16_t*>(record);
  const float* floats = reinterpret_cast<const float*>(record);
  const int32_t* words = reinterpret_cast<const int32_t*>(record);
  const auto value = [&](float scale, float minimum) { return Fma(scale, static_cast<float>(code), minimum); };
  switch (w.format.scales) {
    case Scales::kHalf:
      return HalfBitsToFloat(halves[b]) * static_cast<float>(w.format.codes == Codes::kNibble ? code - 8 : code);
    case Scales::kHalfMin:
      return value(HalfBitsToFloat(halves[2 * b]), HalfBitsToFloat(halves[2 * b + 1]));
    case Scales::kSuper: {
      const uint16_t* super = reinterpret_cast<const uint16_t*>(w.supers) + (int64_t{stretch / 4} * w.rows + row) * 2;
      const float scale = HalfBitsToFloat(super[0]) * static_cast<float>(static_cast<int>(record[2 * b]));
      return value(scale, -(HalfBitsToFloat(super[1]) * static_cast<float>(static_cast<int>(record[2 * b + 1]))));
    }
    case Scales::kZero:
      return floats[0] * static_cast<float>(code - words[1]);
    case Scales::kZeros:
      return floats[2 * b] * static_cast<float>(code - words[2 * b + 1]);
    case Scales::kFloat:
      return value(floats[2 * b], floats[2 * b + 1]);
    default:
      return value(floats[4 * b + i / 16 * 2], floats[4 * b + i / 16 * 2 + 1]);
  }
}

QZO_KERNEL(256, 4) EmbedKernel(const EmbedParams p) {
  const int64_t row = BlockIndexX();
  if (row >= *p.rows) return;
  const int token = p.tokens[row] + p.first;
  const bool trained = p.deltas.values != nullptr;
  const LaneNoise lane = trained ? p.lanes[p.row_lanes[row]] : LaneNoise{};
  NoiseCursor noise;
  for (int k = ThreadIndex(); k < p.table.cols; k += kRowThreads) {
    float value = StoredValue(p.table, token, k);
    if (trained)
      value +=
          noise.Delta(p.deltas, lane,
                      static_cast<uint32_t>(token) * static_cast<uint32_t>(p.table.cols) + static_cast<uint32_t>(k));
    float& out = p.out[row * p.table.cols + k];
    out = p.add ? out + p.scale * value : p.scale * value;
  }
}

struct SoftCapParams {
  float* x = nullptr;  // [rows, n], in place
  int n = 0;
  const int32_t* rows = nullptr;
  float cap = 0;
};

QZO_KERNEL(256, 4) SoftCapKernel(const SoftCapParams p) {
  const int64_t row = BlockIndexX();
  if (row >= *p.rows) return;
  float* x = p.x + row * p.n;
  for (int j = ThreadIndex(); j < p.n; j += kRowThreads) x[j] = SoftCap(x[j], p.cap);
}

struct GatherParams {
  const float* x = nullptr;  // [*, dim]
  const int32_t* map = nullptr;
  int dim = 0;
  const int32_t* rows = nullptr;
  float* out = nullptr;  // [rows, dim]: row map[i] of x
};

QZO_KERNEL(256, 4) GatherKernel(const GatherParams p) {
  const int64_t row = BlockIndexX();
  if (row >= *p.rows) return;
  const float* x = p.x + int64_t{p.map[row]} * p.dim;
  for (int j = ThreadIndex(); j < p.dim; j += kRowThreads) p.out[row * p.dim + j] = x[j];
}

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_ROWS_H_
