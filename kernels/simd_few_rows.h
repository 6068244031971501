// The integer product of integer.h for so few rows (a token that is generated) that decoding a panel would take longer
// than multiplying it: codes go from where they are stored straight into dot products. A vector holds 16 stored bytes
// of each of four columns, and what is transposed is sums.
#ifndef QZO_KERNELS_SIMD_FEW_ROWS_H_
#define QZO_KERNELS_SIMD_FEW_ROWS_H_

#include "kernels/simd_integer.h"

namespace qzo::kernels {
namespace {

// From this many rows on a panel is cheaper.
constexpr int64_t kManyRows = 3;

constexpr bool HasFewRows(WeightType type) {
  return type == WeightType::kQ4_0 || type == WeightType::kQ4_1 || type == WeightType::kQ8_0;
}

template <WeightType kType, bool kPairs>
class FewRows {
  static constexpr bool kBytes = kType == WeightType::kQ8_0;
  static constexpr bool kHasMinimum = kType == WeightType::kQ4_1;
  static constexpr bool kSmall = !kPairs && !kBytes && kHasSmallSums;
  static constexpr bool kStarts = !kPairs && !kHasMinimum && kByteFlip != 0;
  static constexpr int kBias = kType == WeightType::kQ4_0 ? 8 : 0;
  static constexpr int64_t kHeader = kHasMinimum ? 4 : 2;
  static constexpr int64_t kBlock = kHeader + (kBytes ? 32 : 16);
  static constexpr int kLoads = kBytes ? 2 : 1;
  static constexpr int kParts = kBytes ? kByteParts<kPairs> : kNibbleParts<kPairs>;

 public:
  FewRows(const RoundedMatMulArgs& args, int64_t rows)
      : args_(args),
        rows_(rows),
        blocks_(args.w.cols / kRoundedBlock),
        row_bytes_(blocks_ * kBlock),
        groups_(args.granularity == Granularity::kGroup ? args.w.cols / GroupSize(args.w) : 1),
        lane_floats_(groups_ * kPanel) {
    multipliers_ = ThreadScratch(Scratch::kMultipliers, static_cast<int64_t>(args.lanes.size()) * lane_floats_);
    headers_ = reinterpret_cast<uint32_t*>(ThreadScratch(Scratch::kPanel, blocks_ * 16));
  }

  // Whole vectors of columns; returns where they end.
  int64_t Run(int64_t n, int64_t n_end) {
    for (; n + 16 <= n_end; n += 16) {
      if (n >= n_packed_ + kPanel) Pack(n, Smaller(kPanel, n_end - n));
      RunColumns(n);
    }
    return n;
  }

 private:
  void Pack(int64_t n, int64_t columns) {
    n_packed_ = n;
    float* packed = multipliers_;
    for (const LaneRows& lane : args_.lanes) {
      PackMultipliers(lane.multipliers, n, columns, groups_, 0, groups_, packed);
      packed += lane_floats_;
    }
  }

  void RunColumns(int64_t n) {
    const std::byte* const first = args_.w.data + n * row_bytes_;
    for (int64_t i = 0; i < 16; ++i) {
      // All stores come before the first load: a load that spans several stores in flight would wait for them.
      const std::byte* header = first + i * row_bytes_;
      uint32_t* out = headers_ + i;
#pragma GCC unroll 4
      for (int64_t b = 0; b < blocks_; ++b, header += kBlock, out += 16) {
        uint32_t value = 0;
        std::memcpy(&value, header, kHeader);
        *out = value;
      }
    }
    const float* multipliers = multipliers_ + (n - n_packed_);
    size_t lane = 0;
    for (int64_t row = 0; row < rows_; ++row) {
      for (; row >= args_.lanes[lane].end; ++lane) multipliers += lane_floats_;
      const F32x16 result = args_.granularity == Granularity::kChannel
                                ? Load(multipliers) * Total<false>(first, args_.x.block(row, 0), nullptr)
                                : Total<true>(first, args_.x.block(row, 0), multipliers);
      float* y = args_.y + row * args_.ldy + n;
      Store(y, args_.accumulate ? Load(y) + result : result);
    }
  }

  // What 16 columns come to, before a multiplier per column.
  template <bool kGrouped>
  QZO_VEC F32x16 Total(const std::byte* first, const std::byte* x, const float* multipliers) {
    const int64_t per_group = kGrouped ? GroupSize(args_.w) / kRoundedBlock : 0;
    RowPointers<16> stored(first, row_bytes_);
    const std::byte* ahead = first + 16 * row_bytes_;  // the next columns, asked for before their headers are read
    const uint32_t* headers = headers_;
    F32x16 total(0.0f), multiplier(1.0f);
    for (int64_t b = 0, left = 0; b < blocks_; ++b, x += kBlockBytes<kPairs>, headers += 16) {
      if constexpr (kGrouped) {
        if (left == 0) {
          multiplier = Load(multipliers);
          multipliers += kPanel;
          left = per_group;
        }
        --left;
      }
      for (int line = 0; line < 16 * kBlock; line += 64) __builtin_prefetch(ahead + line, 0, 2);
      ahead += 16 * kBlock;
      const std::byte* sums = x + kCodeBytes<kPairs>;
      const U32x16 products = Products(stored, x);
      stored.Advance(kBlock);
      const U32x16 header = LoadWords(headers);
      const F32x16 d = HalfToFloat(kHasMinimum ? header & U32x16(0xffffu) : header);
      const F32x16 scale(LoadValue<float>(sums));
      total = Fma(SignedToFloat(products), scale * (kGrouped ? multiplier * d : d), total);
      if constexpr (kHasMinimum) {
        const F32x16 m = HalfToFloat(header >> 16);
        const F32x16 sum(LoadValue<float>(sums + offsetof(BlockSums, sums)));
        total = Fma(sum, kGrouped ? multiplier * m : m, total);
      }
    }
    return total;
  }

  // Of the block at x with those of 16 columns.
  QZO_VEC static U32x16 Products(const RowPointers<16>& stored, const std::byte* x) {
    U32x16 sums[4];
    Unroll<4>([&](auto i) QZO_VEC_LAMBDA {
      DotSums<kPairs, kSmall> acc(0);
      Unroll<kLoads>([&](auto load) QZO_VEC_LAMBDA {
        constexpr int64_t kAt = kHeader + 16 * load;
        const U32x16 word = LoadParts(stored[i] + kAt, stored[4 + i] + kAt, stored[8 + i] + kAt, stored[12 + i] + kAt);
        Unroll<kParts>([&](auto part) QZO_VEC_LAMBDA {
          const U32x16 w = Part(word, part), values = BroadcastPart(x + 16 * (load * kParts + part));
          if constexpr (kPairs) {
            DotPairs(acc, w, values);
          } else if constexpr (kSmall) {
            DotSmallQuads<!kHasMinimum>(acc, w, values);
          } else {
            DotQuads<!kHasMinimum>(acc, w, values);
          }
        });
      });
      sums[i] = AddSums<kPairs, kSmall>(acc);
    });
    Transpose4x4(sums);
    const U32x16 sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    if constexpr (!kStarts) return sum;
    return sum + U32x16(LoadValue<uint32_t>(x + kCodeBytes<kPairs> + offsetof(BlockSums, starts)));
  }

  QZO_VEC static U32x16 Part(U32x16 word, int part) {
    if constexpr (kBytes) return BytePart<kPairs>(word, part, kByteFlip);
    return NibblePart<kPairs, kBias>(word, part);
  }

  const RoundedMatMulArgs& args_;
  const int64_t rows_;
  const int64_t blocks_;  // of a row
  const int64_t row_bytes_;
  const int64_t groups_;
  const int64_t lane_floats_;
  float* multipliers_;          // [lanes, groups, kPanel]
  int64_t n_packed_ = -kPanel;  // their first column
  uint32_t* headers_;           // [blocks, 16]: what stands before the codes
};

// Returns the column where it stopped: less than a vector of them is left.
template <bool kPairs>
int64_t RunFewRows(const RoundedMatMulArgs& args, int64_t rows, int64_t n_begin, int64_t n_end) {
  if (args.w.type == WeightType::kQ4_0) return FewRows<WeightType::kQ4_0, kPairs>(args, rows).Run(n_begin, n_end);
  if (args.w.type == WeightType::kQ4_1) return FewRows<WeightType::kQ4_1, kPairs>(args, rows).Run(n_begin, n_end);
  return FewRows<WeightType::kQ8_0, kPairs>(args, rows).Run(n_begin, n_end);
}

}  // namespace
}  // namespace qzo::kernels

#endif  // QZO_KERNELS_SIMD_FEW_ROWS_H_
