// Causal attention of packed sequences on tensor cores: online softmax over tiles of 64 keys, grouped-query heads.
//
// A tile is at most 64 consecutive query rows that share their prefix and the beginning of their own keys (KeySpan of
// kernels.h): a warp has 16 of them. Key tiles are counted from the beginning of the prefix and of the own keys, so
// what a row sees depends on its own spans alone; a tile that a row sees nothing of leaves its state as it is, bit for
// bit. For each key tile of a row, in order (prefix, then own):
//   s_j = scale · (q · k_j), the product on tensor cores over 16 dimensions at a time; m' = max(m, s_j)
//   p_j = bf16(exp(s_j − m')); l = l · exp(m − m') + Σ p_j; o = o · exp(m − m') + Σ p_j v_j on tensor cores, 16 keys at
//   a time. In the end o / l.
#ifndef QZO_KERNELS_CUDA_ATTENTION_H_
#define QZO_KERNELS_CUDA_ATTENTION_H_

#include <cstdint>

#include "kernels/cuda/gpu.h"
#include "kernels/exact_math.h"
#include "kernels/kernels.h"

namespace qzo::kernels::cuda {

inline constexpr int kQueryTile = 64;
inline constexpr int kKeyTile = 64;
inline constexpr int kAttentionThreads = 128;

struct QueryTile {
  int32_t begin = 0;  // row of q
  int32_t rows = 0;   // 1 … 64
};

struct AttentionParams {
  const uint16_t* q = nullptr;  // bfloat16 [query rows, heads * head_dim]
  const uint16_t* k = nullptr;  // [key rows, kv_heads * head_dim]
  const uint16_t* v = nullptr;
  const KeySpan* spans = nullptr;  // of every query row
  const QueryTile* tiles = nullptr;
  const int32_t* tile_count = nullptr;
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;  // a multiple of 8
  float scale = 1;
  float* out = nullptr;  // [query rows, heads * head_dim]
};

// Shared memory: q, k, v tiles of 64 rows of kDim bfloat16 (kDim >= head_dim, zeros past it).
template <int kDim>
struct AttentionLayout {
  static constexpr int kRowBytes = kDim * 2;
  static constexpr int kTileBytes = 64 * kRowBytes;
  static constexpr int kBytes = 3 * kTileBytes;
};

// Byte at which piece `piece` of 16 bytes of a tile's row lies: pieces are exchanged against bank conflicts.
template <int kDim>
QZO_DEVICE int PieceAt(int row, int piece) {
  constexpr int kPieces = kDim / 8;
  return row * kDim * 2 + (piece ^ (row & (kPieces < 8 ? kPieces - 1 : 7))) * 16;
}

template <int kDim>
QZO_KERNEL(128, kDim <= 64 ? 3 : 2)
AttentionKernel(const AttentionParams p) {
  using L = AttentionLayout<kDim>;
  constexpr int kSteps = kDim / 16;
  const int tile_index = BlockIndexX(), head = BlockIndexY();
  if (tile_index >= *p.tile_count) return;
  const QueryTile tile = p.tiles[tile_index];
  std::byte *q_tile = SharedMemory(), *k_tile = q_tile + L::kTileBytes, *v_tile = k_tile + L::kTileBytes;
  const int thread = ThreadIndex(), warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
  const int pieces = p.head_dim / 8;
  const int64_t q_stride = int64_t{p.heads} * p.head_dim, kv_stride = int64_t{p.kv_heads} * p.head_dim;
  const int64_t q_at = int64_t{head} * p.head_dim, kv_at = int64_t{head / (p.heads / p.kv_heads)} * p.head_dim;

  // Rows [first, first + rows) of a matrix; rows past them repeat the last, dimensions past head_dim are zero.
  const auto load = [&](std::byte* to, const uint16_t* from, int64_t stride, int64_t at, int first, int rows) {
    for (int i = thread; i < 64 * (kDim / 8); i += kAttentionThreads) {
      const int row = i / (kDim / 8), piece = i % (kDim / 8);
      std::byte* piece_at = to + PieceAt<kDim>(row, piece);
      if (piece < pieces) {
        const int64_t source = first + (row < rows ? row : rows - 1);
        CopyAsync16(piece_at, from + source * stride + at + piece * 8);
      } else {
        for (int word = 0; word < 4; ++word) reinterpret_cast<uint32_t*>(piece_at)[word] = 0;
      }
    }
  };

  load(q_tile, p.q, q_stride, q_at, tile.begin, tile.rows);
  CopyAsyncCommit();

  const KeySpan span = p.spans[tile.begin];
  const int last_end = p.spans[tile.begin + tile.rows - 1].own_end;  // ends ascend within a tile
  int own_end[2];  // of rows g and g + 8 of the warp's sixteen; rows past the tile's repeat the last one
  QZO_UNROLL
  for (int i = 0; i < 2; ++i) {
    const int row = warp * 16 + g + 8 * i;
    own_end[i] = p.spans[tile.begin + (row < tile.rows ? row : tile.rows - 1)].own_end;
  }

  const float kMinusInfinity = FloatFromBits(0xff800000u);
  float out[kDim / 8][4] = {};
  float max[2] = {kMinusInfinity, kMinusInfinity}, sum[2] = {0, 0};
  uint32_t q[kSteps][4];

  const int prefix_tiles = (span.prefix_end - span.prefix_begin + kKeyTile - 1) / kKeyTile;
  const int tiles = prefix_tiles + (last_end - span.own_begin + kKeyTile - 1) / kKeyTile;
  for (int i = 0; i < tiles; ++i) {
    const bool own = i >= prefix_tiles;
    const int first = own ? span.own_begin + (i - prefix_tiles) * kKeyTile : span.prefix_begin + i * kKeyTile;
    const int end = own ? last_end : span.prefix_end;
    const int keys = end - first < kKeyTile ? end - first : kKeyTile;
    load(k_tile, p.k, kv_stride, kv_at, first, keys);
    load(v_tile, p.v, kv_stride, kv_at, first, keys);
    CopyAsyncCommit();
    CopyAsyncWait<0>();
    SyncThreads();
    if (i == 0) {
      QZO_UNROLL
      for (int step = 0; step < kSteps; ++step) {
        LoadMatrices(q[step], q_tile + PieceAt<kDim>(warp * 16 + lane % 16, 2 * step + lane / 16));
      }
    }

    float s[kKeyTile / 8][4] = {};  // [8 keys][rows g, g; g + 8, g + 8; keys 2t, 2t + 1]
    QZO_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      QZO_UNROLL
      for (int n = 0; n < kKeyTile / 16; ++n) {
        uint32_t k[4];  // keys 16n … +7: both halves of the dimensions, then keys +8 … +15
        LoadMatrices(k, k_tile + PieceAt<kDim>(16 * n + lane / 16 * 8 + lane % 8, 2 * step + lane / 8 % 2));
        MmaBf16(s[2 * n], q[step], k[0], k[1]);
        MmaBf16(s[2 * n + 1], q[step], k[2], k[3]);
      }
    }

    uint32_t weights[kKeyTile / 16][4];  // p as the first operand
    QZO_UNROLL
    for (int r = 0; r < 2; ++r) {
      const int visible = (own ? (own_end[r] < end ? own_end[r] : end) : end) - first;  // keys of this tile
      float tile_max = kMinusInfinity;
      QZO_UNROLL
      for (int n = 0; n < kKeyTile / 8; ++n) {
        QZO_UNROLL
        for (int c = 0; c < 2; ++c) {
          float& value = s[n][2 * r + c];
          value = 8 * n + 2 * t + c < visible ? value * p.scale : kMinusInfinity;
          tile_max = value > tile_max || value != value ? value : tile_max;
        }
      }
      for (int offset = 1; offset <= 2; offset *= 2) {  // over the four lanes of a row
        const float other = ShuffleXor(tile_max, offset);
        tile_max = other > tile_max || other != other ? other : tile_max;
      }
      const bool any = visible > 0;
      const float new_max = any && !(max[r] > tile_max) ? tile_max : max[r];
      const float keep = any ? Exp(max[r] - new_max) : 1.0f;  // 0 at the row's first keys, whose max was −∞
      float added = 0;
      QZO_UNROLL
      for (int n = 0; n < kKeyTile / 8; ++n) {
        uint32_t pair = 0;
        QZO_UNROLL
        for (int c = 0; c < 2; ++c) {
          const bool seen = 8 * n + 2 * t + c < visible;
          const uint32_t bits = RoundToBf16(seen ? Exp(s[n][2 * r + c] - new_max) : 0.0f);
          added += Bf16ToFloat(bits);
          pair |= bits << 16 * c;
        }
        weights[n / 2][n % 2 * 2 + r] = pair;
      }
      added += ShuffleXor(added, 1);
      added += ShuffleXor(added, 2);
      sum[r] = Fma(sum[r], keep, added);
      max[r] = new_max;
      QZO_UNROLL
      for (int d = 0; d < kDim / 8; ++d) {
        out[d][2 * r] *= keep;
        out[d][2 * r + 1] *= keep;
      }
    }

    QZO_UNROLL
    for (int n = 0; n < kKeyTile / 16; ++n) {
      QZO_UNROLL
      for (int d = 0; d < kDim / 16; ++d) {
        uint32_t v[4];  // keys 16n … +7 and +8 … +15 of 8 dimensions, then of the next 8
        LoadMatricesTransposed(v, v_tile + PieceAt<kDim>(16 * n + lane % 16, 2 * d + lane / 16));
        MmaBf16(out[2 * d], weights[n], v[0], v[1]);
        MmaBf16(out[2 * d + 1], weights[n], v[2], v[3]);
      }
    }
    SyncThreads();  // the tiles may be overwritten
  }

  QZO_UNROLL
  for (int r = 0; r < 2; ++r) {
    const int row = warp * 16 + g + 8 * r;
    if (row >= tile.rows) continue;
    const float inverse = 1.0f / sum[r];
    float* to = p.out + (tile.begin + int64_t{row}) * q_stride + q_at;
    QZO_UNROLL
    for (int d = 0; d < kDim / 8; ++d) {
      QZO_UNROLL
      for (int c = 0; c < 2; ++c) {
        const int at = 8 * d + 2 * t + c;
        if (at < p.head_dim) to[at] = out[d][2 * r + c] * inverse;
      }
    }
  }
}

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_ATTENTION_H_
