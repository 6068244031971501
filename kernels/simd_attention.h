// Attention of simd_body.h. Rows with the same first keys form a group, whose keys are packed transposed and whose
// values are packed dense once per kv head; scores and weighted values are then products of small matrices in
// registers. Vector lanes are keys in the first and elements of the head in the second, so each chain of fmas is the
// one in kernels.h. For a row alone (a token that is generated) nothing is packed.
#ifndef QZO_KERNELS_SIMD_ATTENTION_H_
#define QZO_KERNELS_SIMD_ATTENTION_H_

#include "kernels/simd_matmul.h"

namespace qzo::kernels {
namespace {

constexpr int64_t kGroupRows = 4 * kTileRows;  // enough to pay for packing
constexpr int64_t kMinRowsInCommon = 4;        // with fewer, too few chains run at once along one head

// Keys [0, keys) of some rows for one kv head, and working memory for a tile of those rows.
struct PackedKeys {
  int64_t dim;     // of a head
  int64_t padded;  // dim in whole vectors
  int64_t stride;  // keys in whole panels
  float* k;        // [stride / kPanel, dim, kPanel]
  float* v;        // [keys, padded]
  float* scores;   // [kTileRows, heads, stride]
  float* sums;     // [kTileRows, heads]: of the softmax numerators that replace the scores
  float* partial;  // [kTileRows, heads, padded]: weighted values of the keys that all rows of a tile have
};

template <typename T>
QZO_VEC T Larger(T a, T b) {
  return a < b ? b : a;
}

QZO_VEC int64_t KeyRow(const KeySpan& span, int64_t j) {
  const int64_t prefix = span.prefix_end - span.prefix_begin;
  return j < prefix ? span.prefix_begin + j : span.own_begin + (j - prefix);
}

QZO_VEC int64_t KeyCount(const KeySpan& span) {
  return int64_t{span.prefix_end} - span.prefix_begin + span.own_end - span.own_begin;
}

// a with +0 in all but the first `lanes` lanes.
QZO_VEC F32x16 KeepFirst(F32x16 a, int64_t lanes) {
  alignas(64) static constexpr uint32_t kMasks[32] = {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u,
                                                      ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u};
  return FromBits(Bits(a) & LoadWords(kMasks + 16 - lanes));
}

// p[0 … keys) = exp(p − max), p capped before where there is a softcap; returns tree16 of them. p[keys … next multiple
// of 16) is working memory.
QZO_VEC float SoftmaxNumerators(float* p, int64_t keys, float softcap) {
  // Not −∞, which has no influence on the maximum either: the exp of that is a denormal on its way to 0, and slow.
  for (int64_t j = keys; j % 16 != 0; ++j) p[j] = p[0];
  for (int64_t j = 0; softcap != 0 && j < keys; j += 16) Store(p + j, SoftCap(Load(p + j), F32x16(softcap)));
  F32x16 largest = Load(p);
  for (int64_t j = 16; j < keys; j += 16) largest = Max(largest, Load(p + j));
  const F32x16 max(LargestLane(largest));
  F32x16 sum(0.0f);
  for (int64_t j = 0; j < keys; j += 16) {
    const F32x16 value = KeepFirst(Exp(Load(p + j) - max), Smaller<int64_t>(16, keys - j));
    Store(p + j, value);
    sum = sum + value;
  }
  return TreeSum(sum);
}

void PackKeys(const AttentionArgs& args, const KeySpan& span, int64_t keys, int kv_head, const PackedKeys& packed) {
  const float* head_k = args.k + kv_head * packed.dim;
  const float* head_v = args.v + kv_head * packed.dim;
  for (int64_t j = 0; j < keys; j += 16) {
    const std::byte* rows[16];  // keys that are missing repeat the last one
    for (int64_t i = 0; i < 16; ++i) {
      const int64_t row = KeyRow(span, Smaller(j + i, keys - 1));
      rows[i] = reinterpret_cast<const std::byte*>(head_k + row * args.ldkv);
    }
    float* out = packed.k + j / kPanel * kPanel * packed.dim + j % kPanel;
    int64_t d = 0;
    for (; d + 4 <= packed.dim; d += 4) {
      U32x16 words[4];
      LoadColumns(rows, d * 4, words);
      Unroll<4>([&](auto i) QZO_VEC_LAMBDA { Store(out + (d + i) * kPanel, FromBits(words[i])); });
    }
    for (; d < packed.dim; ++d) {
      for (int i = 0; i < 16; ++i) std::memcpy(out + d * kPanel + i, rows[i] + d * 4, 4);
    }
  }
  for (int64_t j = 0; j < keys; ++j) {
    const float* v = head_v + KeyRow(span, j) * args.ldkv;
    for (int64_t d = 0; d < packed.dim; d += 16) {
      Store(packed.v + j * packed.padded + d, LoadFirst(v + d, Smaller<int64_t>(16, packed.dim - d), 0));
    }
  }
}

// acc += x · panel, depth ascending.
template <int kRows, int kVectors>
QZO_VEC void AddProduct(const float* x, int64_t ldx, const float* panel, int64_t ldp, int64_t depth,
                        F32x16 (&acc)[kRows][kVectors]) {
  for (int64_t k = 0; k < depth; ++k, panel += ldp) {
    F32x16 w[kVectors];
    Unroll<kVectors>([&](auto v) QZO_VEC_LAMBDA { w[v] = Load(panel + 16 * v); });
    Unroll<kRows>([&](auto row) QZO_VEC_LAMBDA {
      const F32x16 value(x[row * ldx + k]);
      Unroll<kVectors>([&](auto v) QZO_VEC_LAMBDA { acc[row][v] = Fma(value, w[v], acc[row][v]); });
    });
  }
}

// out = x · panel · scale for kRows rows and 16 · kVectors columns.
template <int kRows, int kVectors>
void Product(const float* x, int64_t ldx, const float* panel, int64_t ldp, int64_t depth, float scale, float* out,
             int64_t ldo) {
  F32x16 acc[kRows][kVectors];
  Unroll<kRows * kVectors>([&](auto i) QZO_VEC_LAMBDA { acc[i / kVectors][i % kVectors] = F32x16(0.0f); });
  AddProduct<kRows, kVectors>(x, ldx, panel, ldp, depth, acc);
  Unroll<kRows * kVectors>([&](auto i) QZO_VEC_LAMBDA {
    Store(out + i / kVectors * ldo + 16 * (i % kVectors), acc[i / kVectors][i % kVectors] * F32x16(scale));
  });
}

template <int kVectors, int... kIndex>
QZO_VEC void ProductOf(int64_t rows, const float* x, int64_t ldx, const float* panel, int64_t ldp, int64_t depth,
                       float scale, float* out, int64_t ldo, std::integer_sequence<int, kIndex...>) {
  constexpr void (*kRun[])(const float*, int64_t, const float*, int64_t, int64_t, float, float*,
                           int64_t) = {Product<kIndex + 1, kVectors>...};
  kRun[rows - 1](x, ldx, panel, ldp, depth, scale, out, ldo);
}

// Values of some keys, one after the other.
struct KeyValues {
  const float* v;  // [keys, at least dim in whole vectors], row stride ldv
  int64_t ldv;
  int64_t keys;
};

// One row of `heads` query heads that share a kv head.
struct RowValues {
  const float* p;        // [heads, stride]
  const float* sums;     // [heads] of p
  const float* partial;  // [heads, padded]: the chain over keys [0, done)
  int64_t done;
  KeyValues values[2];  // of the keys after those
  float* out;           // [heads, dim]
};

// out = the whole chain over the sum, for kHeads heads and 16 · kVectors elements from d, of which `lanes` of the last
// vector exist.
template <int kHeads, int kVectors>
void FinishHeads(const PackedKeys& packed, const RowValues& row, int64_t head, int64_t d, int64_t lanes) {
  F32x16 acc[kHeads][kVectors];
  Unroll<kHeads * kVectors>([&](auto i) QZO_VEC_LAMBDA {
    constexpr int kHead = i / kVectors, kVector = i % kVectors;
    acc[kHead][kVector] =
        row.done == 0 ? F32x16(0.0f) : Load(row.partial + (head + kHead) * packed.padded + d + 16 * kVector);
  });
  const float* p = row.p + head * packed.stride + row.done;
  for (const KeyValues& values : row.values) {
    AddProduct<kHeads, kVectors>(p, packed.stride, values.v + d, values.ldv, values.keys, acc);
    p += values.keys;
  }
  Unroll<kHeads * kVectors>([&](auto i) QZO_VEC_LAMBDA {
    constexpr int kHead = i / kVectors, kVector = i % kVectors;
    const F32x16 result = acc[kHead][kVector] * F32x16(1.0f / row.sums[head + kHead]);
    float* out = row.out + (head + kHead) * packed.dim + d + 16 * kVector;
    if (kVector + 1 == kVectors) {
      StoreFirst(out, lanes, result);
    } else {
      Store(out, result);
    }
  });
}

template <int kVectors, int... kIndex>
QZO_VEC void FinishHeadsOf(int64_t heads, const PackedKeys& packed, const RowValues& row, int64_t head, int64_t d,
                           int64_t lanes, std::integer_sequence<int, kIndex...>) {
  constexpr void (*kRun[])(const PackedKeys&, const RowValues&, int64_t, int64_t,
                           int64_t) = {FinishHeads<kIndex + 1, kVectors>...};
  kRun[heads - 1](packed, row, head, d, lanes);
}

// scores = scale · q · kᵀ of rows [row, row + rows) and all heads of the kv head, keys [0, keys) rounded up to panels.
void Scores(const AttentionArgs& args, const PackedKeys& packed, int64_t row, int64_t rows, int64_t first_head,
            int64_t heads, int64_t keys) {
  constexpr auto kRowCounts = std::make_integer_sequence<int, kTileRows>{};
  const float* q = args.q + row * args.ldq + first_head * packed.dim;
  for (int64_t j = 0; j < keys; j += kPanel) {
    const float* k = packed.k + j * packed.dim;
    float* out = packed.scores + j;
    if (rows >= heads) {  // a tile is rows of one head, or heads of one row
      for (int64_t head = 0; head < heads; ++head) {
        ProductOf<kTileVectors>(rows, q + head * packed.dim, args.ldq, k, kPanel, packed.dim, args.scale,
                                out + head * packed.stride, heads * packed.stride, kRowCounts);
      }
      continue;
    }
    for (int64_t i = 0; i < rows * heads; i += heads) {
      for (int64_t head = 0; head < heads; head += kTileRows) {
        ProductOf<kTileVectors>(Smaller<int64_t>(kTileRows, heads - head), q + i / heads * args.ldq + head * packed.dim,
                                packed.dim, k, kPanel, packed.dim, args.scale, out + (i + head) * packed.stride,
                                packed.stride, kRowCounts);
      }
    }
  }
}

// partial = p · v of keys [0, keys) for a tile of rows.
void CommonValues(const PackedKeys& packed, int64_t rows, int64_t heads, int64_t keys) {
  constexpr auto kRowCounts = std::make_integer_sequence<int, kTileRows>{};
  for (int64_t head = 0; head < heads; ++head) {
    const float* p = packed.scores + head * packed.stride;
    float* out = packed.partial + head * packed.padded;
    int64_t d = 0;
    for (; d + kPanel <= packed.padded; d += kPanel) {
      ProductOf<kTileVectors>(rows, p, heads * packed.stride, packed.v + d, packed.padded, keys, 1, out + d,
                              heads * packed.padded, kRowCounts);
    }
    for (; d < packed.padded; d += 16) {
      ProductOf<1>(rows, p, heads * packed.stride, packed.v + d, packed.padded, keys, 1, out + d, heads * packed.padded,
                   kRowCounts);
    }
  }
}

void FinishRow(const PackedKeys& packed, const RowValues& row, int64_t heads) {
  constexpr auto kHeadCounts = std::make_integer_sequence<int, kHeadBlock>{};
  for (int64_t head = 0; head < heads; head += kHeadBlock) {
    const int64_t count = Smaller<int64_t>(kHeadBlock, heads - head);
    int64_t d = 0;
    for (; d + 16 * kHeadVectors <= packed.dim; d += 16 * kHeadVectors) {
      FinishHeadsOf<kHeadVectors>(count, packed, row, head, d, 16, kHeadCounts);
    }
    for (; d < packed.dim; d += 16) {
      FinishHeadsOf<1>(count, packed, row, head, d, Smaller<int64_t>(16, packed.dim - d), kHeadCounts);
    }
  }
}

// Rows [row, row + rows), at most kTileRows, of the group whose keys are packed.
void AttendTile(const AttentionArgs& args, const PackedKeys& packed, int64_t row, int64_t rows, int kv_head) {
  const int64_t heads = args.heads / args.kv_heads, first_head = kv_head * heads;
  const KeySpan* spans = args.spans.data() + row;
  int64_t most = 0, fewest = packed.stride;
  for (int64_t i = 0; i < rows; ++i) {
    most = Larger(most, KeyCount(spans[i]));
    fewest = Smaller(fewest, KeyCount(spans[i]));
  }
  Scores(args, packed, row, rows, first_head, heads, most);
  for (int64_t i = 0; i < rows * heads; ++i) {
    packed.sums[i] = SoftmaxNumerators(packed.scores + i * packed.stride, KeyCount(spans[i / heads]), args.softcap);
  }
  const int64_t common = rows < kMinRowsInCommon ? 0 : fewest;
  if (common > 0) CommonValues(packed, rows, heads, common);
  for (int64_t i = 0; i < rows; ++i) {
    FinishRow(packed,
              {.p = packed.scores + i * heads * packed.stride,
               .sums = packed.sums + i * heads,
               .partial = packed.partial + i * heads * packed.padded,
               .done = common,
               .values = {{packed.v + common * packed.padded, packed.padded, KeyCount(spans[i]) - common},
                          {packed.v, packed.padded, 0}},
               .out = args.out + (row + i) * args.ldo + first_head * packed.dim},
              heads);
  }
}

// scores of kHeads query heads of one row with 16 keys that lie anywhere.
template <int kHeads>
void ScoreKeys(const float* q, int64_t dim, const std::byte* const* keys, float scale, float* out, int64_t ldo) {
  F32x16 acc[kHeads];
  Unroll<kHeads>([&](auto head) QZO_VEC_LAMBDA { acc[head] = F32x16(0.0f); });
  for (int64_t d = 0; d < dim; d += 4) {
    U32x16 words[4];
    LoadColumns(keys, 4 * d, words);
    Unroll<kHeads>([&](auto head) QZO_VEC_LAMBDA {
      Unroll<4>([&](auto i)
                    QZO_VEC_LAMBDA { acc[head] = Fma(F32x16(q[head * dim + d + i]), FromBits(words[i]), acc[head]); });
    });
  }
  Unroll<kHeads>([&](auto head) QZO_VEC_LAMBDA { Store(out + head * ldo, acc[head] * F32x16(scale)); });
}
template <int... kIndex>
QZO_VEC void ScoreKeysOf(int64_t heads, const float* q, int64_t dim, const std::byte* const* keys, float scale,
                         float* out, int64_t ldo, std::integer_sequence<int, kIndex...>) {
  constexpr void (*kRun[])(const float*, int64_t, const std::byte* const*, float, float*,
                           int64_t) = {ScoreKeys<kIndex + 1>...};
  kRun[heads - 1](q, dim, keys, scale, out, ldo);
}

// One row; a head is whole vectors. Of `packed` only `scores` and `sums` are used, for one row.
void AttendAlone(const AttentionArgs& args, const PackedKeys& packed, int64_t row, int kv_head) {
  constexpr int64_t kMostHeads = 4;  // at once
  constexpr auto kHeadCounts = std::make_integer_sequence<int, kMostHeads>{};
  const int64_t heads = args.heads / args.kv_heads, first_head = kv_head * heads;
  const KeySpan& span = args.spans[static_cast<size_t>(row)];
  const int64_t keys = KeyCount(span), prefix = span.prefix_end - span.prefix_begin;
  const float* q = args.q + row * args.ldq + first_head * packed.dim;
  const float *head_k = args.k + kv_head * packed.dim, *head_v = args.v + kv_head * packed.dim;
  for (int64_t j = 0; j < keys; j += 16) {
    const std::byte* rows[16];  // keys that are missing repeat the last one
    for (int64_t i = 0; i < 16; ++i) {
      rows[i] = reinterpret_cast<const std::byte*>(head_k + KeyRow(span, Smaller(j + i, keys - 1)) * args.ldkv);
    }
    for (int64_t head = 0; head < heads; head += kMostHeads) {
      ScoreKeysOf(Smaller(kMostHeads, heads - head), q + head * packed.dim, packed.dim, rows, args.scale,
                  packed.scores + head * packed.stride + j, packed.stride, kHeadCounts);
    }
  }
  for (int64_t head = 0; head < heads; ++head) {
    packed.sums[head] = SoftmaxNumerators(packed.scores + head * packed.stride, keys, args.softcap);
  }
  FinishRow(packed,
            {.p = packed.scores,
             .sums = packed.sums,
             .partial = nullptr,
             .done = 0,
             .values = {{head_v + span.prefix_begin * args.ldkv, args.ldkv, prefix},
                        {head_v + span.own_begin * args.ldkv, args.ldkv, keys - prefix}},
             .out = args.out + row * args.ldo + first_head * packed.dim},
            heads);
}

// The end of the longest run of rows from `row` with the same first keys, at most kGroupRows.
int64_t GroupEnd(const AttentionArgs& args, int64_t row, int64_t row_end) {
  const KeySpan& first = args.spans[static_cast<size_t>(row)];
  const int64_t limit = Smaller(row_end, row + kGroupRows);
  for (++row; row < limit; ++row) {
    const KeySpan& span = args.spans[static_cast<size_t>(row)];
    if (span.prefix_begin != first.prefix_begin || span.prefix_end != first.prefix_end ||
        span.own_begin != first.own_begin) {
      break;
    }
  }
  return row;
}

void Attention(const AttentionArgs& args, int64_t row_begin, int64_t row_end) {
  const int64_t heads = args.heads / args.kv_heads;
  for (int64_t row = row_begin, end; row < row_end; row = end) {
    end = GroupEnd(args, row, row_end);
    const KeySpan* longest = &args.spans[static_cast<size_t>(row)];
    for (int64_t i = row; i < end; ++i) {
      const KeySpan& span = args.spans[static_cast<size_t>(i)];
      if (span.own_end > longest->own_end) longest = &span;
    }
    const int64_t keys = KeyCount(*longest), tile_rows = Smaller<int64_t>(kTileRows, end - row);
    PackedKeys packed{.dim = args.head_dim, .padded = (args.head_dim + 15) / 16 * 16};
    packed.stride = (keys + kPanel - 1) / kPanel * kPanel;
    if (end - row == 1 && packed.padded == packed.dim) {
      packed.scores = ThreadScratch(Scratch::kAttention, heads * (packed.stride + 1));
      packed.sums = packed.scores + heads * packed.stride;
      for (int kv_head = 0; kv_head < args.kv_heads; ++kv_head) AttendAlone(args, packed, row, kv_head);
      continue;
    }
    const int64_t k_floats = packed.stride * packed.dim, v_floats = keys * packed.padded;
    const int64_t score_floats = tile_rows * heads * packed.stride, partial_floats = tile_rows * heads * packed.padded;
    packed.k =
        ThreadScratch(Scratch::kAttention, k_floats + v_floats + score_floats + partial_floats + tile_rows * heads);
    packed.v = packed.k + k_floats;
    packed.scores = packed.v + v_floats;
    packed.partial = packed.scores + score_floats;
    packed.sums = packed.partial + partial_floats;
    for (int kv_head = 0; kv_head < args.kv_heads; ++kv_head) {
      PackKeys(args, *longest, keys, kv_head, packed);
      for (int64_t tile = row; tile < end; tile += kTileRows) {
        AttendTile(args, packed, tile, Smaller<int64_t>(kTileRows, end - tile), kv_head);
      }
    }
  }
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_ATTENTION_H_
