#include <cmath>

#include "kernels/cuda/test_gpu.h"
#include "kernels/test_data.h"

namespace qzo::kernels::cuda {
namespace {

uint16_t Bf16Bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
double FromBf16(uint16_t bits) { return double{std::bit_cast<float>(uint32_t{bits} << 16)}; }

// Sequences of a prompt and branches that share it, as model/graph packs them.
struct Sequence {
  int prompt;
  std::vector<int> branches;
};

struct AttentionCase {
  AttentionCase(std::mt19937& random, int heads_, int kv_heads_, int head_dim_, const std::vector<Sequence>& sequences,
                int window_ = 0, float softcap_ = 0)
      : heads(heads_), kv_heads(kv_heads_), head_dim(head_dim_), window(window_), softcap(softcap_) {
    for (const Sequence& sequence : sequences) {
      const int begin = static_cast<int>(spans.size());
      Append(sequence.prompt, 0, 0, begin);
      for (const int branch : sequence.branches) {
        Append(branch, begin, begin + sequence.prompt, static_cast<int>(spans.size()));
      }
    }
    const auto fill = [&](std::vector<uint16_t>* to, int width) {
      for (const float value : RandomFloats(random, spans.size() * static_cast<size_t>(width))) {
        to->push_back(Bf16Bits(3 * value));
      }
    };
    fill(&q, heads * head_dim);
    fill(&k, kv_heads * head_dim);
    fill(&v, kv_heads * head_dim);
  }

  void Append(int rows, int prefix_begin, int prefix_end, int begin) {
    for (int row = 0; row < rows; ++row) {
      if (row % kQueryTile == 0) tiles.push_back({begin + row, std::min(kQueryTile, rows - row)});
      spans.push_back({prefix_begin, prefix_end, begin, begin + row + 1});
    }
  }

  std::vector<float> Run(Gpu& gpu, const std::vector<QueryTile>& some) const {
    OnDevice<uint16_t> device_q(gpu, q), device_k(gpu, k), device_v(gpu, v);
    OnDevice<KeySpan> device_spans(gpu, spans);
    OnDevice<QueryTile> device_tiles(gpu, some);
    OnDevice<int32_t> count(gpu, std::vector<int32_t>{static_cast<int32_t>(some.size())});
    OnDevice<float> out(gpu, q.size());
    gpu.ops().attention(gpu.stream(),
                        {.q = device_q.get(),
                         .k = device_k.get(),
                         .v = device_v.get(),
                         .spans = device_spans.get(),
                         .tiles = device_tiles.get(),
                         .tile_count = count.get(),
                         .heads = heads,
                         .kv_heads = kv_heads,
                         .head_dim = head_dim,
                         .scale = Scale(),
                         .softcap = softcap,
                         .window = window,
                         .out = out.get()},
                        static_cast<int>(some.size()) + 1);
    return out.Read();
  }

  float Scale() const { return 1 / std::sqrt(static_cast<float>(head_dim)); }

  // The largest error as a part of what is allowed. A score is off by the roundings of its product (head_dim / 16 of
  // them, and the scale's), each at most 2^-23 of the terms' magnitude S; a weight's bfloat16 by 2^-9 more, which the
  // sum of weights shares. An output is a mean of v, so it is off by at most 2 · (2^-9 + 2 S n 2^-23) · Σ p |v|, where
  // the exponential and the sums over keys add roundings of 2^-23 each. A soft cap, whose slope is at most 1, adds 3e-7
  // of S: three roundings.
  double Error(const std::vector<float>& found) const {
    double worst = 0;
    const size_t dim = static_cast<size_t>(head_dim), q_width = static_cast<size_t>(heads) * dim,
                 kv_width = static_cast<size_t>(kv_heads) * dim;
    for (size_t row = 0; row < spans.size(); ++row) {
      std::vector<size_t> keys;
      for (int j = spans[row].prefix_begin; j < spans[row].prefix_end; ++j) keys.push_back(static_cast<size_t>(j));
      for (int j = spans[row].own_begin; j < spans[row].own_end; ++j) keys.push_back(static_cast<size_t>(j));
      if (window != 0 && keys.size() > static_cast<size_t>(window)) keys.erase(keys.begin(), keys.end() - window);
      for (size_t head = 0; head < static_cast<size_t>(heads); ++head) {
        const size_t kv_at = head / static_cast<size_t>(heads / kv_heads) * dim;
        std::vector<double> weights;
        double size = 0, total = 0, max = -1e300;
        for (const size_t j : keys) {
          double score = 0, terms = 0;
          for (size_t i = 0; i < dim; ++i) {
            const double term = FromBf16(q[row * q_width + head * dim + i]) * FromBf16(k[j * kv_width + kv_at + i]);
            score += term;
            terms += std::fabs(term);
          }
          score *= double{Scale()};
          weights.push_back(softcap == 0 ? score : double{softcap} * std::tanh(score / double{softcap}));
          size = std::max(size, terms * double{Scale()});
          max = std::max(max, weights.back());
        }
        for (double& weight : weights) total += weight = std::exp(weight - max);
        const double roundings = static_cast<double>(dim) + 7, over_keys = static_cast<double>(keys.size()) + 16;
        const double allowed = 2 * (0x1p-9 + (2 * size * roundings + over_keys) * 0x1p-23);
        for (size_t i = 0; i < dim; ++i) {
          double mean = 0, magnitude = 0;
          for (size_t n = 0; n < keys.size(); ++n) {
            const double term = weights[n] / total * FromBf16(v[keys[n] * kv_width + kv_at + i]);
            mean += term;
            magnitude += std::fabs(term);
          }
          const double error = std::fabs(double{found[row * q_width + head * dim + i]} - mean);
          if (!(error <= worst * allowed * magnitude)) worst = error / (allowed * magnitude);
        }
      }
    }
    return worst;
  }

  const int heads, kv_heads, head_dim, window;
  const float softcap;
  std::vector<KeySpan> spans;
  std::vector<QueryTile> tiles;
  std::vector<uint16_t> q, k, v;
};

using CudaAttentionTest = EveryOrder;

TEST_P(CudaAttentionTest, IsWithinTheBoundAroundTileEdges) {
  for (const int head_dim : {8, 16, 24, 64, 72, 128, 200}) {
    const AttentionCase problem(random_, 2, head_dim == 16 ? 2 : 1, head_dim,
                                {{1, {}}, {17, {1, 2}}, {65, {3}}, {64, {}}});
    EXPECT_LE(problem.Error(problem.Run(gpu(), problem.tiles)), 1) << "head_dim " << head_dim;
  }
}

TEST_P(CudaAttentionTest, LongPrefixesAndLongOwnKeysAreTakenTileByTile) {
  const AttentionCase problem(random_, 1, 1, 16, {{130, {70, 1}}});
  EXPECT_LE(problem.Error(problem.Run(gpu(), problem.tiles)), 1);
}

// In a tile, across tiles, across the end of the prefix, and longer than everything.
TEST_P(CudaAttentionTest, RowsSeeTheLastKeysOfTheirWindow) {
  for (const int window : {1, 5, 64, 66, 75, 300}) {
    const AttentionCase problem(random_, 1, 1, 16, {{130, {70, 1}}, {3, {}}}, window);
    EXPECT_LE(problem.Error(problem.Run(gpu(), problem.tiles)), 1) << window;
  }
}

TEST_P(CudaAttentionTest, ScoresAreCapped) {
  std::mt19937 again = random_;
  const AttentionCase problem(random_, 2, 1, 24, {{66, {3}}}, 0, 1.5f), free(again, 2, 1, 24, {{66, {3}}});
  EXPECT_LE(problem.Error(problem.Run(gpu(), problem.tiles)), 1);
  EXPECT_GT(problem.Error(free.Run(gpu(), free.tiles)), 1) << "a cap without influence proves nothing";
}

TEST_P(CudaAttentionTest, ARowHasTheSameBitsInEveryTileAndOrder) {
  const AttentionCase problem(random_, 4, 2, 64, {{70, {9}}, {20, {}}}, 40);
  std::vector<QueryTile> cut;
  for (const QueryTile& tile : problem.tiles) {
    for (int row = 0; row < tile.rows; row += 11) cut.push_back({tile.begin + row, std::min(11, tile.rows - row)});
  }
  std::reverse(cut.begin(), cut.end());
  const std::vector<float> forward = problem.Run(*MakeTestGpu(), problem.tiles);
  EXPECT_EQ(FirstDifference(problem.Run(gpu(), problem.tiles), forward), -1);
  EXPECT_EQ(FirstDifference(problem.Run(gpu(), cut), forward), -1);
}

QZO_INSTANTIATE_EVERY_ORDER(CudaAttentionTest);

}  // namespace
}  // namespace qzo::kernels::cuda
