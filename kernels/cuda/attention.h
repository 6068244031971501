// Causal attention of packed sequences on tensor cores: online softmax over tiles of 64 keys, grouped-query heads.
//
// A tile is at most 64 consecutive query rows that share their prefix and the beginning of their own keys (KeySpan of
// kernels.h): a warp has 16 of them. Key tiles are counted from the beginning of the prefix and of the own keys, so
// what a row sees depends on its own spans alone; a tile that a row sees nothing of leaves its state as it is, bit for
// bit. For each key tile of a row, in order (prefix, then own):
//   s_j = scale · (q · k_j), the product on tensor cores over 16 dimensions at a time, with a soft cap c softcap(s_j,
//   c) of that; m' = max(m, s_j) p_j = bf16(exp(s_j − m')); l = l · exp(m − m') + Σ p_j; o = o · exp(m − m') + Σ p_j
//   v_j on tensor cores, 16 keys at a time. In the end o / l.
// With a window a row sees its last `window` keys; tiles that no row of a query tile sees are left out.
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
  float softcap = 0;     // 0: none
  int window = 0;        // 0: all keys
  float* out = nullptr;  // [query rows, heads * head_dim]
};

// Shared memory: q, k, v tiles of 64 rows of kDim bfloat16 (kDim >= head_dim, zeros past it). Results of more than 128
// dimensions are computed in two parts, by a block each: their sums are as many registers as there are.
template <int kDim>
struct AttentionLayout {
  static constexpr int kParts = (kDim + 127) / 128;
  static constexpr int kOut = kDim / kParts;  // dimensions of v in a block
  static constexpr int kTileBytes = 64 * kDim * 2;
  static constexpr int kBytes = 2 * kTileBytes + 64 * kOut * 2;
};

// Byte at which piece `piece` of 16 bytes of a tile's row lies: pieces are exchanged against bank conflicts.
template <int kDim>
QZO_DEVICE int PieceAt(int row, int piece) {
  constexpr int kPieces = kDim / 8;
  return row * kDim * 2 + (piece ^ (row & (kPieces < 8 ? kPieces - 1 : 7))) * 16;
}

// Rows [first, first + rows) of a matrix; rows past them repeat the last, dimensions from 8 · pieces on are zero.
template <int kDim>
QZO_DEVICE void LoadTile(std::byte* to, const uint16_t* from, int64_t stride, int pieces, int first, int rows) {
  for (int i = ThreadIndex(); i < 64 * (kDim / 8); i += kAttentionThreads) {
    const int row = i / (kDim / 8), piece = i % (kDim / 8);
    std::byte* piece_at = to + PieceAt<kDim>(row, piece);
    if (piece < pieces) {
      CopyAsync16(piece_at, from + (first + (row < rows ? row : rows - 1)) * stride + piece * 8);
    } else {
      for (int word = 0; word < 4; ++word) reinterpret_cast<uint32_t*>(piece_at)[word] = 0;
    }
  }
}

template <int kDim>
QZO_KERNEL(128, kDim <= 64 ? 3 : 2)
AttentionKernel(const AttentionParams p) {
  using L = AttentionLayout<kDim>;
  constexpr int kSteps = kDim / 16;
  constexpr bool kKeepsQ = kDim <= 128;  // in registers, or reads it again for every tile of keys
  const int tile_index = BlockIndexX(), head = BlockIndexY() / L::kParts, part = BlockIndexY() % L::kParts;
  if (tile_index >= *p.tile_count) return;
  const QueryTile tile = p.tiles[tile_index];
  std::byte *q_tile = SharedMemory(), *k_tile = q_tile + L::kTileBytes, *v_tile = k_tile + L::kTileBytes;
  const int thread = ThreadIndex(), warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
  const int pieces = p.head_dim / 8;
  const int64_t q_stride = int64_t{p.heads} * p.head_dim, kv_stride = int64_t{p.kv_heads} * p.head_dim;
  const int64_t q_at = int64_t{head} * p.head_dim, kv_at = int64_t{head / (p.heads / p.kv_heads)} * p.head_dim;

  LoadTile<kDim>(q_tile, p.q + q_at, q_stride, pieces, tile.begin, tile.rows);
  CopyAsyncCommit();

  const KeySpan span = p.spans[tile.begin];
  const int last_end = p.spans[tile.begin + tile.rows - 1].own_end;  // ends ascend within a tile
  const int prefix = span.prefix_end - span.prefix_begin;
  const auto before_window =
      [&](int end) {  // keys, counted from the prefix on, that a row which sees up to `end` has lost
        const int lost = prefix + end - span.own_begin - p.window;
        return p.window == 0 || lost < 0 ? 0 : lost;
      };
  // Of rows g and g + 8 of the warp's sixteen; rows past the tile's repeat the last one.
  int own_end[2], lost[2];
  QZO_UNROLL
  for (int i = 0; i < 2; ++i) {
    const int row = warp * 16 + g + 8 * i;
    own_end[i] = p.spans[tile.begin + (row < tile.rows ? row : tile.rows - 1)].own_end;
    lost[i] = before_window(own_end[i]);
  }

  const float kMinusInfinity = FloatFromBits(0xff800000u);
  float out[L::kOut / 8][4] = {};
  float max[2] = {kMinusInfinity, kMinusInfinity}, sum[2] = {0, 0};
  uint32_t q[kKeepsQ ? kSteps : 1][4];
  const auto load_q = [&](int step, uint32_t(&fragment)[4]) {
    LoadMatrices(fragment, q_tile + PieceAt<kDim>(warp * 16 + lane % 16, 2 * step + lane / 16));
  };

  const int prefix_tiles = (prefix + kKeyTile - 1) / kKeyTile;
  const int tiles = prefix_tiles + (last_end - span.own_begin + kKeyTile - 1) / kKeyTile;
  const int lost_to_all = before_window(span.own_end);
  const int first_tile =
      lost_to_all < prefix ? lost_to_all / kKeyTile : prefix_tiles + (lost_to_all - prefix) / kKeyTile;
  for (int i = first_tile; i < tiles; ++i) {
    const bool own = i >= prefix_tiles;
    const int in_span = (own ? i - prefix_tiles : i) * kKeyTile;
    const int first = (own ? span.own_begin : span.prefix_begin) + in_span;
    const int end = own ? last_end : span.prefix_end;
    const int keys = end - first < kKeyTile ? end - first : kKeyTile;
    LoadTile<kDim>(k_tile, p.k + kv_at, kv_stride, pieces, first, keys);
    LoadTile<L::kOut>(v_tile, p.v + kv_at + part * L::kOut, kv_stride, pieces - part * (L::kOut / 8), first, keys);
    CopyAsyncCommit();
    CopyAsyncWait<0>();
    SyncThreads();
    if (kKeepsQ && i == first_tile) {
      QZO_UNROLL
      for (int step = 0; step < kSteps; ++step) load_q(step, q[kKeepsQ ? step : 0]);
    }

    float s[kKeyTile / 8][4] = {};  // [8 keys][rows g, g; g + 8, g + 8; keys 2t, 2t + 1]
    QZO_UNROLL
    for (int step = 0; step < kSteps; ++step) {
      uint32_t(&fragment)[4] = q[kKeepsQ ? step : 0];
      if constexpr (!kKeepsQ) load_q(step, fragment);
      QZO_UNROLL
      for (int n = 0; n < kKeyTile / 16; ++n) {
        uint32_t k[4];  // keys 16n … +7: both halves of the dimensions, then keys +8 … +15
        LoadMatrices(k, k_tile + PieceAt<kDim>(16 * n + lane / 16 * 8 + lane % 8, 2 * step + lane / 8 % 2));
        MmaBf16(s[2 * n], fragment, k[0], k[1]);
        MmaBf16(s[2 * n + 1], fragment, k[2], k[3]);
      }
    }

    uint32_t weights[kKeyTile / 16][4];  // p as the first operand
    QZO_UNROLL
    for (int r = 0; r < 2; ++r) {
      // Keys [hidden, visible) of this tile.
      const int visible = (own ? (own_end[r] < end ? own_end[r] : end) : end) - first;
      const int hidden = lost[r] - in_span - (own ? prefix : 0);
      float tile_max = kMinusInfinity;
      QZO_UNROLL
      for (int n = 0; n < kKeyTile / 8; ++n) {
        QZO_UNROLL
        for (int c = 0; c < 2; ++c) {
          const int at = 8 * n + 2 * t + c;
          float& value = s[n][2 * r + c];
          const float score = p.softcap == 0 ? value * p.scale : SoftCap(value * p.scale, p.softcap);
          value = at >= hidden && at < visible ? score : kMinusInfinity;
          tile_max = value > tile_max || value != value ? value : tile_max;
        }
      }
      for (int offset = 1; offset <= 2; offset *= 2) {  // over the four lanes of a row
        const float other = ShuffleXor(tile_max, offset);
        tile_max = other > tile_max || other != other ? other : tile_max;
      }
      const bool any = visible > 0 && visible > hidden;
      const float new_max = any && !(max[r] > tile_max) ? tile_max : max[r];
      const float keep = any ? Exp(max[r] - new_max) : 1.0f;  // 0 at the row's first keys, whose max was −∞
      float added = 0;
      QZO_UNROLL
      for (int n = 0; n < kKeyTile / 8; ++n) {
        uint32_t pair = 0;
        QZO_UNROLL
        for (int c = 0; c < 2; ++c) {
          const bool seen = 8 * n + 2 * t + c >= hidden && 8 * n + 2 * t + c < visible;
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
      for (int d = 0; d < L::kOut / 8; ++d) {
        out[d][2 * r] *= keep;
        out[d][2 * r + 1] *= keep;
      }
    }

    QZO_UNROLL
    for (int n = 0; n < kKeyTile / 16; ++n) {
      QZO_UNROLL
      for (int d = 0; d < L::kOut / 16; ++d) {
        uint32_t v[4];  // keys 16n … +7 and +8 … +15 of 8 dimensions, then of the next 8
        LoadMatricesTransposed(v, v_tile + PieceAt<L::kOut>(16 * n + lane % 16, 2 * d + lane / 16));
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
    for (int d = 0; d < L::kOut / 8; ++d) {
      QZO_UNROLL
      for (int c = 0; c < 2; ++c) {
        const int at = part * L::kOut + 8 * d + 2 * t + c;
        if (at < p.head_dim) to[at] = out[d][2 * r + c] * inverse;
      }
    }
  }
}

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_ATTENTION_H_
