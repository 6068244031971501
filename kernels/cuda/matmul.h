// y = x · Wᵀ with quantized W on tensor cores: every lane of a pass in one call, so that weights are read once.
//
// The arithmetic ("cuda-bf16"), a function of (N, K) and the operands of the output element alone:
//   x is rounded to bfloat16, stored codes are exact in it; a product of two is exact in fp32.
//   For each block of 32 columns (each half, where scales are of 16), ascending:
//     part = Σ x_k · code_k, by two tensor-core products of 16 columns, fp32
//     acc  = fma(scale, part, acc), after the block's parts acc = fma(minimum, sum of the x it is for, acc) for types
//     with a minimum
//   Codebook entries are rounded to bfloat16. Where a row has one scale they go to acc directly, as plain weights do,
//   the sum of two entries rounded once more; in the end acc is multiplied by the row's scale, where there is one. The
//   scale and minimum are those stored, in fp32; at granularity kGroup multiplied by the lane's multiplier, which is
//   perturbed here, first. K is cut into Slices(N, K) stretches of stretches; their sums are added in ascending order.
//   result = multiplier · acc (kChannel, perturbed here) or acc, plus the bias if there is one; y = result or y +
//   result.
//
// A block of 8 warps computes 128 columns of y for two strips of at most 64 rows; a strip's rows belong to one lane.
// Weights are the first operand of the products (16 rows of W), tokens the second: a warp has 32 columns × 64 rows.
#ifndef QZO_KERNELS_CUDA_MATMUL_H_
#define QZO_KERNELS_CUDA_MATMUL_H_

#include <cstdint>

#include "kernels/cuda/gpu.h"
#include "kernels/cuda/matrix.h"
#include "kernels/cuda/noise.h"
#include "kernels/kernels.h"

namespace qzo::kernels::cuda {

inline constexpr int kStripRows = 64;
inline constexpr int kTileColumns = 128;
inline constexpr int kMatMulThreads = 256;
inline constexpr int kStagedStride = 64 + 4;  // floats of a row of results on their way out

// Rows of one lane, in ascending order.
struct Strip {
  int32_t begin = 0;
  int32_t rows = 0;  // 1 … 64
  int32_t lane = 0;
};

// Activations as the products take them. In a block of 32 value i is at FragmentPlace(i); columns up to a multiple of
// 64 are zero.
struct RoundedInput {
  const uint16_t* values = nullptr;  // [rows, stretches * 64] bfloat16
  const float* sums = nullptr;       // [rows, stretches * 4]: of the rounded values, 16 each
};

struct MatMulParams {
  RoundedInput x;
  DeviceMatrix w;
  bool grouped = false;  // granularity
  Multipliers multipliers;
  const LaneNoise* lanes = nullptr;
  const Strip* strips = nullptr;
  const int32_t* strip_count = nullptr;  // in device memory: a captured graph serves passes of different sizes
  int max_strips = 0;                    // that *strip_count may reach; even
  float* y = nullptr;                    // [rows, ldy]
  int64_t ldy = 0;
  bool accumulate = false;
  const float* bias = nullptr;  // [N]
  int64_t bias_stride = 0;      // from a lane's to the next one's
  int slices = 1;
  float* partials = nullptr;  // [slices, max_rows, N], where slices > 1
  int64_t max_rows = 0;
};

// How many parts K is summed in: enough blocks for a device when there are few columns, never less than 16 stretches.
constexpr int Slices(int64_t n, int64_t k) {
  const int64_t tiles = (n + kTileColumns - 1) / kTileColumns, stretches = (k + kStretch - 1) / kStretch;
  int slices = 1;
  while (tiles * slices < 32 && stretches / (2 * slices) >= 16) slices *= 2;
  return slices;
}

// Shared memory: a ring of stages, each [x: 128 rows × 128 bytes][codes: 128 rows][sums: 128 rows × 16 bytes], then two
// tables of what is multiplied onto the parts, [strip][entry][128 columns], by turns, where the rows of x begin, and of
// kBook8 and kBook4 the codebooks. Of kBook16 a stage has the entries in place of the codes.
template <Codes kCodes, Scales kScales>
struct MatMulLayout {
  static constexpr bool kMinimum = HasMinimum(kScales);
  static constexpr bool kOffset = kScales == Scales::kZero || kScales == Scales::kZeros;
  static constexpr int kEntries = kScales == Scales::kFloatHalf ? 4 : 2;             // scales of a stretch
  static constexpr bool kWide = kCodes == Codes::kBf16 || kCodes == Codes::kBook16;  // 16 bits a value in a stage
  static constexpr int kStages = kWide ? 2 : 3;
  static constexpr int kInputBytes = 2 * kStripRows * 128;
  static constexpr int kCodesAt = kInputBytes;
  static constexpr int kRowBytes = kWide ? 128 : CodeBytes(kCodes);  // of a row of W
  static constexpr int kSumsAt = kCodesAt + kTileColumns * kRowBytes;
  static constexpr int kStageBytes = kSumsAt + (kMinimum ? 2 * kStripRows * 16 : 0);
  static constexpr int kPlane = 2 * kEntries * kTileColumns;  // floats: of both strips
  static constexpr int kPlanes = kMinimum || kOffset ? 2 : 1;
  static constexpr int kTableBytes = ScalesGroups(kScales) ? kPlanes * kPlane * 4 : 2 * kTileColumns * 4;
  static constexpr int kTablesAt = kStages * kStageBytes;
  static constexpr int kRowsAt = kTablesAt + (ScalesGroups(kScales) ? 2 : 1) * kTableBytes;
  static constexpr int kBooksAt = kRowsAt + 2 * kStripRows * 4;
  static constexpr int kBytes = kBooksAt + SharedBookBytes(kCodes);
};

// Bytes i and i + 2 of `word`, which are int8, as a pair of bfloat16: exact, so the upper halves of the floats.
QZO_DEVICE uint32_t BytesToBf16(uint32_t word, uint32_t i) {
  // 2^23 + (byte + 128) as bits, then the two subtracted.
  const uint32_t shifted = word ^ 0x80808080u;
  const float low = FloatFromBits(PickBytes(shifted, 0x4b000000u, 0x7440u | i)) - 8388736.0f;
  const float high = FloatFromBits(PickBytes(shifted, 0x4b000000u, 0x7440u | (i + 2))) - 8388736.0f;
  return PickBytes(Bits(low), Bits(high), 0x7632u);
}

// The codes of block b of a row's stretch as the first operand's fragments: pairs[step][k half]. `offset`: −(128 +
// zero) twice, for nibbles. `books`: those of kBook8 and kBook4. `g`: the row's number modulo 8.
template <Codes kCodes>
QZO_DEVICE void LoadCodes(const std::byte* row, int g, int t, int b, uint32_t offset, const std::byte* books,
                          uint32_t (&pairs)[2][2]) {
  if constexpr (kCodes == Codes::kNibble) {
    const uint32_t word = reinterpret_cast<const uint32_t*>(row)[2 * t + b];
    const uint32_t one = 0x3f803f80u;
    pairs[0][0] = Bf16Fma2(NibblesPlus128(word), one, offset);
    pairs[0][1] = Bf16Fma2(NibblesPlus128(word >> 8), one, offset);
    pairs[1][0] = Bf16Fma2(NibblesPlus128(word >> 4), one, offset);
    pairs[1][1] = Bf16Fma2(NibblesPlus128(word >> 12), one, offset);
  } else if constexpr (kCodes == Codes::kBook4) {
    const uint32_t word = reinterpret_cast<const uint32_t*>(row)[2 * t + b];
    QZO_UNROLL
    for (int step = 0; step < 2; ++step) {
      QZO_UNROLL
      for (int half = 0; half < 2; ++half) {
        pairs[step][half] = reinterpret_cast<const uint32_t*>(books)[word >> 8 * (2 * step + half) & 255];
      }
    }
  } else if constexpr (kCodes == Codes::kBook8) {
    const uint32_t word = reinterpret_cast<const uint32_t*>(row)[2 * b + t / 2];
    QZO_UNROLL
    for (int step = 0; step < 2; ++step) {
      const uint32_t first = word >> 16 * step & 255, second = 256 + (word >> (16 * step + 8) & 255);
      QZO_UNROLL
      for (int half = 0; half < 2; ++half) {
        const uint32_t* entries = reinterpret_cast<const uint32_t*>(books) + t % 2 * 2 + half;
        pairs[step][half] = Bf16Fma2(entries[4 * first], 0x3f803f80u, entries[4 * second]);
      }
    }
  } else if constexpr (kCodes == Codes::kBook16) {
    QZO_UNROLL
    for (int step = 0; step < 2; ++step) {
      const std::byte* entry = row + ((4 * b + 2 * step + t / 2) ^ g) * kEntryBytes;
      QZO_UNROLL
      for (int half = 0; half < 2; ++half) {
        pairs[step][half] = reinterpret_cast<const uint32_t*>(entry)[t % 2 * 2 + half];
      }
    }
  } else {
    const uint32_t* words = reinterpret_cast<const uint32_t*>(row + t * (CodeBytes(kCodes) / 4));
    for (int step = 0; step < 2; ++step) {
      for (int half = 0; half < 2; ++half) {
        pairs[step][half] = kCodes == Codes::kByte ? BytesToBf16(words[2 * b + step], static_cast<uint32_t>(half))
                                                   : words[4 * b + 2 * step + half];
      }
    }
  }
}

// What makes the table of a stretch: thread (column, strip) of the block, column by column of W.
template <Scales kScales>
class ScaleMaker {
 public:
  static constexpr int kWords = RecordBytes(kScales) / 4;

  QZO_DEVICE ScaleMaker(const MatMulParams& p, int column, int lane) : p_(p), column_(column), lane_(lane) {}

  // Reads the record of `stretch` ahead of its use.
  QZO_DEVICE void Load(int stretch) {
    const int64_t at = int64_t{stretch >> RecordShift(kScales)} * p_.w.rows + column_;
    const uint32_t* record = reinterpret_cast<const uint32_t*>(p_.w.records) + at * kWords;
    QZO_UNROLL
    for (int i = 0; i < kWords; ++i) record_[i] = record[i];
    if constexpr (kScales == Scales::kSuper) {
      super_ = reinterpret_cast<const uint32_t*>(p_.w.supers)[int64_t{stretch / 4} * p_.w.rows + column_];
    }
  }

  // Entry e of the stretch that was loaded: scale and minimum (or offset).
  QZO_DEVICE void Make(int stretch, int e, float* scale, float* other) {
    constexpr int kEntryValues = kScales == Scales::kFloatHalf ? 16 : 32;
    *other = 0;
    if constexpr (kScales == Scales::kHalf) {
      *scale = HalfBitsToFloat(record_[0] >> 16 * e & 0xffff);
    } else if constexpr (kScales == Scales::kHalfMin) {
      *scale = HalfBitsToFloat(Word(e) & 0xffff);
      *other = HalfBitsToFloat(Word(e) >> 16);
    } else if constexpr (kScales == Scales::kSuper) {
      const uint32_t numbers = record_[0] >> 16 * e;
      *scale = HalfBitsToFloat(super_ & 0xffff) * static_cast<float>(numbers & 255);
      *other = -(HalfBitsToFloat(super_ >> 16) * static_cast<float>(numbers >> 8 & 255));
    } else if constexpr (kScales == Scales::kZero || kScales == Scales::kZeros) {
      const int word = kScales == Scales::kZero ? 0 : 2 * e;
      *scale = FloatFromBits(Word(word));
      const uint32_t offset = RoundToBf16(-128.0f - static_cast<float>(static_cast<int32_t>(Word(word + 1))));
      *other = FloatFromBits(offset | offset << 16);
    } else if constexpr (kScales == Scales::kScale || kScales == Scales::kScales) {
      *scale = FloatFromBits(Word(kScales == Scales::kScales ? e : 0));
    } else {
      *scale = FloatFromBits(Word(2 * e));
      *other = FloatFromBits(Word(2 * e + 1));
    }
    if (!p_.grouped) return;
    const int last = p_.w.groups - 1, group = GroupOf(p_.w, stretch * kStretch + e * kEntryValues);
    const uint32_t index = static_cast<uint32_t>(column_ * p_.w.groups + (group < last ? group : last));
    const float multiplier = noise_.Multiplier(p_.multipliers, p_.lanes[lane_], index);
    *scale = multiplier * *scale;
    if constexpr (HasMinimum(kScales)) *other = multiplier * *other;
  }

 private:
  QZO_DEVICE uint32_t Word(int i) const {  // selects, so that the record stays in registers
    uint32_t word = record_[0];
    QZO_UNROLL
    for (int j = 1; j < kWords; ++j) word = i == j ? record_[j] : word;
    return word;
  }

  const MatMulParams& p_;
  const int column_;
  const int lane_;
  NoiseCursor noise_;
  uint32_t record_[kWords > 0 ? kWords : 1];
  uint32_t super_ = 0;
};

// Which strips and columns a block has. Blocks run in the order of their index: groups of 16 pairs of strips go through
// all columns together, so that their rows of x and the columns of W at hand stay in the level-2 cache.
struct Tile {
  int pair;
  int column;
};
QZO_DEVICE Tile TileOf(int block, int pairs, int tiles) {
  constexpr int kGroup = 16;
  const int group = block / (kGroup * tiles), first = group * kGroup;
  const int size = pairs - first < kGroup ? pairs - first : kGroup;
  const int in_group = block - first * tiles;
  return {first + in_group % size, in_group / size * kTileColumns};
}

// What becomes of the sums of a column: times the row's scale and the multiplier (1 where groups have their own), plus
// the bias of their lane, one of two.
class Ending {
 public:
  QZO_DEVICE Ending(const MatMulParams& p, int column, int lane, int other_lane) {
    if (column >= p.w.rows) return;
    if (p.w.format.scales == Scales::kRow) scale_ = reinterpret_cast<const float*>(p.w.records)[column];
    if (p.bias == nullptr) return;
    bias_ = p.bias[lane * p.bias_stride + column];
    other_bias_ = p.bias[other_lane * p.bias_stride + column];
  }
  QZO_DEVICE void Store(const MatMulParams& p, int64_t row, int column, bool other, float multiplier, float sum) const {
    float result = multiplier * (scale_ * sum);
    if (p.bias != nullptr) result += other ? other_bias_ : bias_;
    float& y = p.y[row * p.ldy + column];
    y = p.accumulate ? y + result : result;
  }

 private:
  float scale_ = 1, bias_ = 0, other_bias_ = 0;
};

template <Codes kCodes, Scales kScales>
QZO_KERNEL(256, RecordBytes(kScales) > 8 ? 1 : 2)
MatMulKernel(const MatMulParams p) {
  using L = MatMulLayout<kCodes, kScales>;
  constexpr bool kScaled = ScalesGroups(kScales);
  constexpr bool kAhead = RecordBytes(kScales) == 4;  // whether registers are left to read records ahead
  std::byte* shared = SharedMemory();
  const int thread = ThreadIndex(), warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
  const int n_tiles = (p.w.rows + kTileColumns - 1) / kTileColumns;
  const Tile tile = TileOf(BlockIndexX(), p.max_strips / 2, n_tiles);
  const int strips = *p.strip_count;
  if (2 * tile.pair >= strips) return;
  // Where there is no second strip the first one's rows are computed again, and not stored.
  const bool paired = 2 * tile.pair + 1 < strips;
  const Strip* const strip_of = p.strips + 2 * tile.pair;
  const auto strip = [&](int which) { return strip_of[which == 1 && paired ? 1 : 0]; };
  // Row `row` of the 128 as a row of x; rows that a strip does not have repeat its last one.
  const auto token_of = [&](int row) {
    const Strip mine = strip(row / kStripRows);
    const int in_strip = row % kStripRows;
    return mine.begin + (in_strip < mine.rows ? in_strip : mine.rows - 1);
  };

  const int slice = BlockIndexY();
  const int begin = p.w.stretches * slice / p.slices, count = p.w.stretches * (slice + 1) / p.slices - begin;

  // What this thread copies of each stage, in pieces of 16 bytes: of x the same piece of four rows, 32 apart.
  constexpr int kPieces = CodeBytes(kCodes) / 16;
  constexpr bool kGathers = kCodes == Codes::kBook16;
  const auto first_piece = [&](int row, int pieces) {  // of a row of x or W
    return static_cast<uint32_t>(row) * static_cast<uint32_t>(p.w.stretches * pieces) +
           static_cast<uint32_t>(begin * pieces);
  };
  uint32_t* const row_piece = reinterpret_cast<uint32_t*>(shared + L::kRowsAt);  // of the rows of x
  if (thread < 2 * kStripRows) row_piece[thread] = first_piece(token_of(thread), 8);
  SyncThreads();
  // A piece a row is one for every other thread: the first half of them copies, or, where entries are gathered, two
  // threads have half of a row's codes each.
  constexpr int kCopies = kPieces == 1 ? 1 : kPieces / 2;
  uint32_t code_piece[kCopies];
  QZO_UNROLL
  for (int j = 0; j < kCopies; ++j) {
    const int at = (kGathers ? thread / 2 : thread) + kMatMulThreads * j, column = tile.column + at / kPieces;
    code_piece[j] =
        first_piece(column < p.w.rows ? column : p.w.rows - 1, kPieces) + static_cast<uint32_t>(at % kPieces);
  }
  const auto piece = [](const void* base, uint32_t first, int i) {
    return static_cast<const std::byte*>(base) + uint64_t{first + static_cast<uint32_t>(i)} * 16;
  };
  uint64_t entries = 0;  // codes of the four that this thread gathers for a stage, read ahead
  const auto read_entries = [&](int i) {
    entries = reinterpret_cast<const uint64_t*>(piece(p.w.codes, code_piece[0], i))[thread % 2];
  };
  const auto load_stage = [&](int i) {
    std::byte* stage = shared + i % L::kStages * L::kStageBytes;
    QZO_UNROLL
    for (int j = 0; j < 4; ++j) {  // a row's pieces are exchanged against bank conflicts
      CopyAsync16(stage + (thread / 8 + 32 * j) * 128 + ((thread % 8) ^ (thread / 8 % 8)) * 16,
                  piece(p.x.values, row_piece[thread / 8 + 32 * j] + static_cast<uint32_t>(thread % 8), i * 8));
    }
    QZO_UNROLL
    for (int j = 0; j < (kGathers ? 4 : kCopies); ++j) {
      if constexpr (kGathers) {
        const uint32_t code = static_cast<uint32_t>(entries >> 16 * j) & 0xffff;
        CopyAsync16(stage + L::kCodesAt + thread / 2 * L::kRowBytes + ((thread % 2 * 4 + j) ^ (thread / 2 % 8)) * 16,
                    p.w.books + code * kEntryBytes);
      } else if (kPieces > 1 || thread < kTileColumns) {
        CopyAsync16(stage + L::kCodesAt + (thread + kMatMulThreads * j) * 16,
                    piece(p.w.codes, code_piece[j], i * kPieces));
      }
    }
    if constexpr (L::kMinimum) {
      if (thread < 2 * kStripRows) {
        CopyAsync16(stage + L::kSumsAt + thread * 16, piece(p.x.sums, row_piece[thread] / 8, i));
      }
    }
  };

  // Thread (column, strip) of the tables.
  const int table_strip = thread / kTileColumns, table_row = thread % kTileColumns;
  const int table_column = tile.column + table_row < p.w.rows ? tile.column + table_row : p.w.rows - 1;
  ScaleMaker<kScales> maker(p, table_column, strip(table_strip).lane);
  const auto make_table = [&](int i) {
    float* table = reinterpret_cast<float*>(shared + L::kTablesAt + i % 2 * L::kTableBytes);
    QZO_UNROLL
    for (int e = 0; e < L::kEntries; ++e) {
      float scale, other;
      maker.Make(begin + i, e, &scale, &other);
      const int at = (table_strip * L::kEntries + e) * kTileColumns + table_row;
      table[at] = scale;
      if constexpr (L::kPlanes == 2) table[L::kPlane + at] = other;
    }
  };

  const int warp_column = warp % 4 * 32, strip_at = warp / 4;  // of the tile
  float acc[2][8][4] = {};                                     // [16 columns][8 rows]

  const auto multiply = [&](int i) {
    const std::byte* stage = shared + i % L::kStages * L::kStageBytes;
    const float* table = reinterpret_cast<const float*>(shared + L::kTablesAt + i % 2 * L::kTableBytes) +
                         strip_at * L::kEntries * kTileColumns + warp_column + g;
    QZO_NO_UNROLL  // or the fragments of both blocks are kept in registers
        for (int b = 0; b < 2; ++b) {
      uint32_t a[2][2][4];  // [16 columns][step]
      QZO_UNROLL
      for (int c = 0; c < 2; ++c) {
        QZO_UNROLL
        for (int upper = 0; upper < 2; ++upper) {
          const int row = warp_column + 16 * c + 8 * upper + g;
          uint32_t offset = kScales == Scales::kHalf ? 0xc308c308u : 0xc300c300u;  // −136, −128
          if constexpr (L::kOffset) offset = Bits(table[L::kPlane + b * kTileColumns + 16 * c + 8 * upper]);
          uint32_t pairs[2][2];
          LoadCodes<kCodes>(stage + L::kCodesAt + row * L::kRowBytes, g, t, b, offset, shared + L::kBooksAt, pairs);
          QZO_UNROLL
          for (int step = 0; step < 2; ++step) {
            a[c][step][upper] = pairs[step][0];
            a[c][step][2 + upper] = pairs[step][1];
          }
        }
      }
      QZO_UNROLL
      for (int j = 0; j < 8; ++j) {
        const int row = strip_at * kStripRows + 8 * j + lane % 8;
        uint32_t x[4];
        LoadMatrices(x, stage + row * 128 + ((4 * b + lane / 8) ^ (lane % 8)) * 16);
        const auto scale = [&](int c, int entry, float(&part)[4]) {
          QZO_UNROLL
          for (int r = 0; r < 4; ++r) {
            const int at = entry * kTileColumns + 16 * c + r / 2 * 8;
            acc[c][j][r] = Fma(table[at], part[r], acc[c][j][r]);
          }
        };
        QZO_UNROLL
        for (int c = 0; c < 2; ++c) {
          if constexpr (!kScaled) {
            MmaBf16(acc[c][j], a[c][0], x[0], x[1]);
            MmaBf16(acc[c][j], a[c][1], x[2], x[3]);
          } else {
            float part[4] = {};
            MmaBf16(part, a[c][0], x[0], x[1]);
            if constexpr (L::kEntries == 4) {
              scale(c, 2 * b, part);
              QZO_UNROLL
              for (float& value : part) value = 0;
            }
            MmaBf16(part, a[c][1], x[2], x[3]);
            scale(c, L::kEntries == 4 ? 2 * b + 1 : b, part);
          }
        }
      }
      if constexpr (L::kMinimum) {  // when the fragments' registers are free again
        constexpr int kOfBlock = L::kEntries / 2;
        QZO_UNROLL
        for (int j = 0; j < 8; ++j) {
          QZO_UNROLL
          for (int e = 0; e < kOfBlock; ++e) {
            QZO_UNROLL
            for (int r = 0; r < 4; ++r) {
              const float* sums = reinterpret_cast<const float*>(stage + L::kSumsAt) +
                                  (strip_at * kStripRows + 8 * j + 2 * t + r % 2) * 4 + 2 * b;
              const float sum = kOfBlock == 2 ? sums[e] : sums[0] + sums[1];
              QZO_UNROLL
              for (int c = 0; c < 2; ++c) {
                const int at = L::kPlane + (kOfBlock * b + e) * kTileColumns + 16 * c + r / 2 * 8;
                acc[c][j][r] = Fma(table[at], sum, acc[c][j][r]);
              }
            }
          }
        }
      }
    }
  };

  if constexpr (SharedBookBytes(kCodes) > 0) {  // they arrive with the first stage
    for (int at = thread * 16; at < SharedBookBytes(kCodes); at += kMatMulThreads * 16) {
      CopyAsync16(shared + L::kBooksAt + at, p.w.books + at);
    }
  }
  QZO_UNROLL
  for (int i = 0; i < L::kStages - 1; ++i) {
    if (kGathers && i < count) read_entries(i);
    if (i < count) load_stage(i);
    CopyAsyncCommit();
  }
  if (kGathers && L::kStages - 1 < count) read_entries(L::kStages - 1);
  if constexpr (kScaled) {
    maker.Load(begin);
    make_table(0);
  }
  for (int i = 0; i < count; ++i) {
    CopyAsyncWait<L::kStages - 2>();
    SyncThreads();  // stage i and its table are there; stage i − 1 and its table are no longer read
    if (i + L::kStages - 1 < count) load_stage(i + L::kStages - 1);
    CopyAsyncCommit();
    if (kGathers && i + L::kStages < count) read_entries(i + L::kStages);
    if constexpr (kAhead) {
      if (i + 1 < count) maker.Load(begin + i + 1);
    }
    multiply(i);
    if constexpr (kScaled) {
      if (i + 1 < count) {
        if constexpr (!kAhead) maker.Load(begin + i + 1);
        make_table(i + 1);
      }
    }
  }

  // The channels' multipliers, where a table was; then the results by way of shared memory, 64 columns at a time, so
  // that neighbouring threads write neighbouring columns.
  float* channel = reinterpret_cast<float*>(shared + L::kTablesAt);
  float* staged = reinterpret_cast<float*>(shared);
  SyncThreads();
  NoiseCursor noise;
  channel[thread] = p.grouped ? 1.0f
                              : noise.Multiplier(p.multipliers, p.lanes[strip(table_strip).lane],
                                                 static_cast<uint32_t>(table_column));
  QZO_UNROLL
  for (int c = 0; c < 2; ++c) {
    QZO_UNROLL
    for (int j = 0; j < 8; ++j) {
      QZO_UNROLL
      for (int r = 0; r < 4; ++r) {
        const int row = strip_at * kStripRows + 8 * j + 2 * t + r % 2;
        staged[row * kStagedStride + warp % 4 * 16 + 8 * (r / 2) + g] = acc[c][j][r];
      }
    }
    SyncThreads();
    const int at = thread % 64, in_tile = at / 16 * 32 + 16 * c + at % 16, column = tile.column + in_tile;
    const Ending ending(p, column, strip(0).lane, strip(1).lane);
    for (int row = thread / 64; column < p.w.rows && row < 2 * kStripRows; row += kMatMulThreads / 64) {
      const int which = row / kStripRows, in_strip = row % kStripRows;
      const Strip mine = strip_of[which == 1 && paired ? 1 : 0];
      if (in_strip >= mine.rows || (which == 1 && !paired)) continue;
      const int64_t to = mine.begin + in_strip;
      const float value = staged[row * kStagedStride + at];
      if (p.slices > 1) {
        p.partials[(slice * p.max_rows + to) * p.w.rows + column] = value;
        continue;
      }
      ending.Store(p, to, column, which == 1, channel[which * kTileColumns + in_tile], value);
    }
    SyncThreads();
  }
}

// Adds the slices of a strip's rows, 128 columns a block.
QZO_KERNEL(128, 4) AddSlicesKernel(const MatMulParams p) {
  if (BlockIndexX() >= *p.strip_count) return;
  const Strip strip = p.strips[BlockIndexX()];
  const int column = BlockIndexY() * kTileColumns + ThreadIndex();
  if (column >= p.w.rows) return;
  NoiseCursor noise;
  const float multiplier =
      p.grouped ? 1.0f : noise.Multiplier(p.multipliers, p.lanes[strip.lane], static_cast<uint32_t>(column));
  const Ending ending(p, column, strip.lane, strip.lane);
  for (int64_t token = strip.begin; token < strip.begin + strip.rows; ++token) {
    float total = 0;
    for (int slice = 0; slice < p.slices; ++slice) {
      total += p.partials[(slice * p.max_rows + token) * p.w.rows + column];
    }
    ending.Store(p, token, column, false, multiplier, total);
  }
}

}  // namespace qzo::kernels::cuda

#endif  // QZO_KERNELS_CUDA_MATMUL_H_
