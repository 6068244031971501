// The op contracts. Each op has a plain reference and one variant per instruction set; a caller holds a `Kernels` table
// and never sees which. Variants of one arithmetic mode are *bit-identical*: the order of every accumulation is part of
// the contract below, and the tests of this folder hold every variant to the reference bit for bit.
//
// Shared rules
//   - All arithmetic is IEEE binary32 round-to-nearest with denormals kept, unless a double is named. fma(a,b,c) rounds
//     once.
//   - "tree16(v_0 … v_{n-1})": 16 partial sums, v_j goes to partial j mod 16 in ascending j starting from +0; then
//     partials are added pairwise: p_i += p_{i+8} (i<8), p_i += p_{i+4} (i<4), p_i += p_{i+2} (i<2), p_0 + p_1.
//   - exp, log, silu, tanh, gelu, softcap are those of exact_math.h (polynomials of exact operations, no libm).
//   - The value of an output element depends on its own operands only: never on how many rows, lanes or threads share a
//     call, nor on the tile it fell in (batch invariance).
// Thread contract: every function is pure apart from its output range; disjoint ranges may run at once.
#ifndef QZO_KERNELS_KERNELS_H_
#define QZO_KERNELS_KERNELS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "kernels/integer.h"

namespace qzo::kernels {

// How the elements of a weight matrix are stored: GGUF's layouts (docs/formats.md).
enum class WeightType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kIQ4_NL,
  kMXFP4,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_XS,
  kTQ1_0,
  kTQ2_0,
  kIQ1_S,
  kIQ1_M,
  kIQ2_XXS,
  kIQ2_XS,
  kIQ2_S,
  kIQ3_XXS,
  kIQ3_S,
  // Not GGUF's: codes of 2, 3, 4 or 8 bits in blocks of 32 or 128 with an fp32 scale and a zero (weights_packed.cc).
  kU2x32,
  kU3x32,
  kU4x32,
  kU8x32,
  kU2x128,
  kU3x128,
  kU4x128,
  kU8x128,
  // Neither: codes that stand for entries of a codebook, which comes with the matrix (weights_book.cc). An entry is one
  // value (kBook4: 4 bits) or eight: those of one code of 8 or 16 bits, or the sum of two of 8 bits.
  kBook4,
  kBook1x8,
  kBook2x8,
  kBook1x16,
};

// Values per block, bytes per block. Plain types are blocks of one value. K must be a multiple of the block size.
int64_t BlockValues(WeightType type);
int64_t BlockBytes(WeightType type);
// Values that share one stored scale: a block, or a part of it of 16 or 32. 1 for plain types, which have none.
int64_t GroupValues(WeightType type);
std::string_view WeightTypeName(WeightType type);
std::optional<WeightType> FindWeightType(std::string_view name);
// Whether matmul_rounded takes rows of `cols` values of this type: quantized, but not packed bytes nor of a codebook;
// whole blocks of 32.
bool SupportsRounded(WeightType type, int64_t cols);
inline bool HasCodebook(WeightType type) { return type >= WeightType::kBook4; }

// W [rows = N, cols = K], row-major, borrowed, any alignment.
struct WeightMatrix {
  WeightType type = WeightType::kF32;
  const std::byte* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t group = 0;  // values of a scale group where they are several blocks, which divides cols; 0: GroupValues(type)
  // [cols] or nullptr: which column of the layer's input each column takes. For the caller: ops take x in this order.
  const int32_t* order = nullptr;
  // Of types with a codebook, whose value is scale · entry and whose `group` is given: scales [rows, cols / group] and
  // codebooks [1 or 2, entries, values of an entry] of a plain type, any alignment; kF32 of kBook4, else kF16 or kBF16.
  const float* scales = nullptr;
  const std::byte* codebook = nullptr;
  WeightType codebook_type = WeightType::kF32;
};
inline int64_t GroupSize(const WeightMatrix& w) { return w.group != 0 ? w.group : GroupValues(w.type); }

enum class Granularity : uint8_t { kChannel, kGroup };

// Rows [begin, end) of x and y belong to one lane, which sees W scaled by `multipliers`:
// kChannel [N], kGroup [N, K / GroupSize] row-major, nullptr = all ones (bit-identical to an array of ones).
struct LaneRows {
  int64_t begin = 0;
  int64_t end = 0;
  const float* multipliers = nullptr;
};

struct MatMulArgs {
  const float* x = nullptr;  // [M, K], row stride ldx
  int64_t ldx = 0;
  WeightMatrix w;
  Granularity granularity = Granularity::kChannel;
  std::span<const LaneRows> lanes;  // ascending, together exactly [0, M)
  float* y = nullptr;               // [M, N], row stride ldy; must not overlap x
  int64_t ldy = 0;
  bool accumulate = false;  // y += result instead of y = result (one rounded addition)
};

// As MatMulArgs, with activations that round_rows has rounded. SupportsRounded(w.type, w.cols) holds.
struct RoundedMatMulArgs {
  RoundedRows x;  // [M, K]
  WeightMatrix w;
  Granularity granularity = Granularity::kChannel;
  std::span<const LaneRows> lanes;
  float* y = nullptr;
  int64_t ldy = 0;
  bool accumulate = false;
};

// The keys that a row attends to, in this order: [prefix_begin, prefix_end) then [own_begin, own_end). A prompt shared
// by several branches is the prefix of each; a row without branch has an empty prefix.
struct KeySpan {
  int32_t prefix_begin = 0;
  int32_t prefix_end = 0;
  int32_t own_begin = 0;
  int32_t own_end = 0;
};

struct AttentionArgs {
  const float* q = nullptr;  // [rows, heads * head_dim], row stride ldq
  int64_t ldq = 0;
  const float* k = nullptr;  // [key rows, kv_heads * head_dim], row stride ldkv
  const float* v = nullptr;  // same shape and stride
  int64_t ldkv = 0;
  std::span<const KeySpan> spans;  // one per query row, at least one key each
  int heads = 0;
  int kv_heads = 0;  // divides heads; head h reads kv head h / (heads / kv_heads)
  int head_dim = 0;
  float scale = 1;
  float softcap = 0;     // 0: none
  float* out = nullptr;  // [rows, heads * head_dim], row stride ldo; may be q with the same stride
  int64_t ldo = 0;
};

// Rotary embedding: which two elements of a head form a pair.
enum class RopeLayout : uint8_t { kAdjacent, kHalves };  // (2i, 2i+1) or (i, i + rotary_dim/2)

struct RopeArgs {
  float* x = nullptr;  // [rows, heads * head_dim], row stride ldx, rotated in place
  int64_t ldx = 0;
  std::span<const int32_t> positions;  // one per row
  int heads = 0;
  int head_dim = 0;
  int rotary_dim = 0;  // even, <= head_dim; elements past it stay
  RopeLayout layout = RopeLayout::kAdjacent;
  const float* cos = nullptr;  // [max position + 1, rotary_dim / 2]
  const float* sin = nullptr;
};

enum class NoiseKind : uint8_t { kRademacher, kGaussian };

// Which direction: z is a pure function of these (docs/formats.md, "Noise").
struct NoiseKey {
  NoiseKind kind = NoiseKind::kRademacher;
  uint64_t seed = 0;  // job seed
  uint32_t step = 0;
  uint32_t probe = 0;
  uint32_t tensor = 0;  // ordinal in the partition
};

struct Kernels {
  std::string_view name;  // "reference", "avx2", "avxvnni", "avx512", "avx512vnni", "amx"
  bool (*supported)();    // whether this machine can run it

  // Columns [n_begin, n_end) of y = x · Wᵀ, multiplied per lane. w_k is the stored value decoded to fp32: fma(scale,
  // code, minimum) of weights.h, or scale · entry.
  //   kChannel: acc = fma(x_k, w_k, acc) in ascending k from +0; result = multiplier · acc
  //   kGroup:   part likewise within each scale group; total = fma(multiplier_g, part_g, total) in ascending g from +0
  void (*matmul)(const MatMulArgs& args, int64_t n_begin, int64_t n_end);

  // Columns [n_begin, n_end) of the product of integer.h, and what rounds rows [row_begin, row_end) of x [M, K] for it;
  // x points at row 0. Both for x.arithmetic of kInt16 or kInt8.
  void (*matmul_rounded)(const RoundedMatMulArgs& args, int64_t n_begin, int64_t n_end);
  void (*round_rows)(const float* x, int64_t ldx, int64_t row_begin, int64_t row_end, RoundedRows* out);

  // out[0 … cols) = row `row` of w, decoded.
  void (*dequantize_row)(const WeightMatrix& w, int64_t row, float* out);

  // y_j = (x_j · s) · weight_j, s = 1 / sqrt(tree16(x_j²) / dim + epsilon); x_j² is rounded before it is added. x may
  // be y.
  void (*rms_norm)(const float* x, int64_t ldx, const float* weight, float epsilon, int64_t rows, int64_t dim, float* y,
                   int64_t ldy);

  // y_j = fma(c_j · s, weight_j, bias_j), c_j = x_j − tree16(x_j) / dim, s = 1 / sqrt(tree16(c_j²) / dim + epsilon);
  // c_j² is rounded before it is added. x may be y.
  void (*layer_norm)(const float* x, int64_t ldx, const float* weight, const float* bias, float epsilon, int64_t rows,
                     int64_t dim, float* y, int64_t ldy);

  // y_i = y_i + x_i.
  void (*add)(const float* x, int64_t n, float* y);

  // a' = fma(a, cos, −(b · sin)), b' = fma(b, cos, a · sin), products rounded.
  void (*rope)(const RopeArgs& args, int64_t row_begin, int64_t row_end);

  // s_j = scale · (fma chain over i of q_i · k_ji, from +0), with a softcap c softcap(s_j, c) of that; p_j = exp(s_j −
  // max s); out_i = (fma chain over j of p_j · v_ji, from +0) · (1 / tree16(p_j)), j running over the row's keys in
  // span order.
  void (*attention)(const AttentionArgs& args, int64_t row_begin, int64_t row_end);

  // out_i = silu(gate_i) · up_i; out may be gate or up.
  void (*silu_gate)(const float* gate, const float* up, int64_t n, float* out);

  // out_i = gelu(gate_i) · up_i, by the tanh approximation; without up gelu(gate_i). out may be gate or up.
  void (*gelu_gate)(const float* gate, const float* up, int64_t n, float* out);

  // x_i = max(0, x_i); NaN stays.
  void (*relu)(float* x, int64_t n);

  // x_i = softcap(x_i, cap).
  void (*softcap)(float* x, int64_t n, float cap);

  // max + log(tree16 of exp(x_j − max), the exps in fp32, summed in double), as a double.
  double (*log_sum_exp)(const float* x, int64_t n);

  // z[0 … count) = noise of multipliers [begin, begin + count); begin is a multiple of 128.
  void (*noise)(const NoiseKey& key, int64_t begin, int64_t count, float* z);

  // out_i = fma(signed_epsilon · unit_i, z_i, k_i): one lane's multipliers. unit may be nullptr: all ones. begin as
  // above; k, unit and out point at multiplier `begin`; out may be k.
  void (*perturb)(const NoiseKey& key, int64_t begin, int64_t count, const float* k, const float* unit,
                  float signed_epsilon, float* out);

  // For each key in order: k_i = max(fma(−(c · unit_i), z_i, k_i), floor_i), floor_i = 2⁻⁶ without unit, 1e-7f ·
  // |unit_i| with one. A coefficient of 0 leaves k as it is. begin as above; k and unit point at multiplier `begin`.
  void (*update)(std::span<const NoiseKey> keys, std::span<const float> coefficients, int64_t begin, int64_t count,
                 const float* unit, float* k);
};

// Every variant compiled in, the reference first, the fastest last; some may not be supported by this machine.
std::span<const Kernels* const> AllKernels();

// The fastest supported variant, or the one called `name` (nullptr when it does not exist or is not supported).
const Kernels& BestKernels();
const Kernels* FindKernels(std::string_view name);

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_KERNELS_H_
