#include "kernels/parallel.h"

#include <algorithm>
#include <new>
#include <type_traits>

#include "kernels/scratch.h"

namespace qzo::kernels {
namespace {

constexpr int64_t kPanelColumns = 32;   // the widest panel of any variant: narrower parts would waste lanes
constexpr int64_t kRowsPerDecode = 64;  // fewer rows than this per thread, and decoding for each thread costs too much
constexpr int64_t kMinWork = 1 << 14;   // elements below which waking threads costs more than it gains
constexpr int64_t kNoiseGrain = 128;    // multipliers of a Rademacher block

// Rows per part, such that a part holds at least kMinWork elements.
int64_t RowGrain(int64_t elements_per_row) {
  return std::max<int64_t>(1, kMinWork / std::max<int64_t>(1, elements_per_row));
}

int64_t NoiseGrain(size_t probes) {
  const int64_t wanted = kMinWork / static_cast<int64_t>(std::max<size_t>(1, probes));
  return std::max(kNoiseGrain, wanted / kNoiseGrain * kNoiseGrain);
}

const float* At(const float* p, int64_t i) { return p == nullptr ? nullptr : p + i; }

// Whether `threads` parts of whole panels would leave more than a tenth of the threads' time idle.
bool TooFewPanels(int64_t columns, int64_t threads) {
  const int64_t panels = (columns + kPanelColumns - 1) / kPanelColumns;
  const int64_t rounds = (panels + threads - 1) / threads;
  return 10 * panels < 9 * rounds * threads;
}

// Rows [begin, end) of a product, as a product of their own.
template <typename Args>
Args RowsOf(const Args& args, int64_t begin, int64_t end) {
  static_assert(alignof(LaneRows) <= 64 && sizeof(LaneRows) % sizeof(float) == 0);
  const auto floats = static_cast<int64_t>(args.lanes.size() * sizeof(LaneRows) / sizeof(float));
  auto* lanes = reinterpret_cast<LaneRows*>(ThreadScratch(Scratch::kLanes, floats));
  size_t count = 0;
  for (const LaneRows& lane : args.lanes) {
    const int64_t first = std::max(begin, lane.begin), last = std::min(end, lane.end);
    if (first < last) new (&lanes[count++]) LaneRows{first - begin, last - begin, lane.multipliers};
  }
  Args part = args;
  if constexpr (std::is_same_v<Args, RoundedMatMulArgs>) {
    part.x = args.x.Slice(begin, end);
  } else {
    part.x += begin * args.ldx;
  }
  part.y += begin * args.ldy;
  part.lanes = {lanes, count};
  return part;
}

template <typename Args>
void SplitMatMul(void (*matmul)(const Args&, int64_t, int64_t), ThreadPool& pool, const Args& args) {
  const int64_t rows = args.lanes.empty() ? 0 : args.lanes.back().end;
  const int64_t threads = pool.threads();
  if (rows >= kRowsPerDecode * threads && TooFewPanels(args.w.rows, threads)) {
    pool.ParallelFor(rows, 1, [&](int64_t begin, int64_t end) { matmul(RowsOf(args, begin, end), 0, args.w.rows); });
    return;
  }
  const bool small = rows * args.w.rows * args.w.cols < 16 * kMinWork;
  const int64_t grain = small ? std::max<int64_t>(1, args.w.rows) : kPanelColumns;
  pool.ParallelFor(args.w.rows, grain, [&](int64_t begin, int64_t end) { matmul(args, begin, end); });
}

}  // namespace

void MatMul(const Kernels& kernels, ThreadPool& pool, const MatMulArgs& args) {
  SplitMatMul(kernels.matmul, pool, args);
}

void MatMulRounded(const Kernels& kernels, ThreadPool& pool, const RoundedMatMulArgs& args) {
  SplitMatMul(kernels.matmul_rounded, pool, args);
}

void RoundRows(const Kernels& kernels, ThreadPool& pool, const float* x, int64_t ldx, int64_t rows, RoundedRows* out) {
  pool.ParallelFor(rows, RowGrain(out->cols),
                   [&](int64_t begin, int64_t end) { kernels.round_rows(x, ldx, begin, end, out); });
}

void Norm(const Kernels& kernels, ThreadPool& pool, const float* x, int64_t ldx, const float* weight, const float* bias,
          float epsilon, int64_t rows, int64_t dim, float* y, int64_t ldy, RoundedRows* rounded) {
  const auto norm = [&](int64_t row, int64_t count, float* out, int64_t stride) {
    if (bias == nullptr) {
      kernels.rms_norm(x + row * ldx, ldx, weight, epsilon, count, dim, out, stride);
    } else {
      kernels.layer_norm(x + row * ldx, ldx, weight, bias, epsilon, count, dim, out, stride);
    }
  };
  pool.ParallelFor(rows, RowGrain(dim), [&](int64_t begin, int64_t end) {
    if (rounded == nullptr) {
      norm(begin, end - begin, y + begin * ldy, ldy);
      return;
    }
    float* row_y = y == nullptr ? ThreadScratch(Scratch::kRow, dim) : nullptr;
    for (int64_t row = begin; row < end; ++row) {
      if (y != nullptr) row_y = y + row * ldy;
      norm(row, 1, row_y, dim);
      RoundedRows one = rounded->Slice(row, row + 1);
      kernels.round_rows(row_y, dim, 0, 1, &one);
    }
  });
}

namespace {

// One kv head and its query heads.
AttentionArgs HeadOf(const AttentionArgs& args, int kv_head) {
  const int heads = args.heads / args.kv_heads;
  AttentionArgs head = args;
  head.q += int64_t{kv_head} * heads * args.head_dim;
  head.out += int64_t{kv_head} * heads * args.head_dim;
  head.k += int64_t{kv_head} * args.head_dim;
  head.v += int64_t{kv_head} * args.head_dim;
  head.heads = heads;
  head.kv_heads = 1;
  return head;
}

// Whether rows alone would leave threads idle for long.
bool SplitsHeads(const AttentionArgs& args, int64_t threads) {
  if (args.kv_heads == 1 || static_cast<int64_t>(args.spans.size()) >= threads) return false;
  int64_t keys = 0;
  for (const KeySpan& span : args.spans) keys += span.prefix_end - span.prefix_begin + span.own_end - span.own_begin;
  return keys * args.kv_heads * args.head_dim >= kMinWork;
}

}  // namespace

void Attention(const Kernels& kernels, ThreadPool& pool, const AttentionArgs& args, RoundedRows* rounded) {
  const auto rows = static_cast<int64_t>(args.spans.size());
  if (SplitsHeads(args, pool.threads())) {
    pool.ParallelFor(args.kv_heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t head = begin; head < end; ++head) kernels.attention(HeadOf(args, static_cast<int>(head)), 0, rows);
    });
    if (rounded != nullptr) kernels.round_rows(args.out, args.ldo, 0, rows, rounded);
    return;
  }
  // The keys of a row are not counted: rows are dealt one by one, and even a short row costs about a hundred keys'
  // worth.
  pool.ParallelFor(rows, 1, [&](int64_t begin, int64_t end) {
    kernels.attention(args, begin, end);
    if (rounded != nullptr) kernels.round_rows(args.out, args.ldo, begin, end, rounded);
  });
}

void Activate(const Kernels& kernels, ThreadPool& pool, Activation activation, float* gate, const float* up,
              int64_t rows, int64_t dim, RoundedRows* rounded) {
  pool.ParallelFor(rows, RowGrain(dim), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      float* x = gate + row * dim;
      switch (activation) {
        case Activation::kSilu:
          kernels.silu_gate(x, up + row * dim, dim, x);
          break;
        case Activation::kGeluTanh:
          kernels.gelu_gate(x, At(up, row * dim), dim, x);
          break;
        case Activation::kRelu:
          kernels.relu(x, dim);
          break;
      }
      if (rounded != nullptr) kernels.round_rows(gate, dim, row, row + 1, rounded);
    }
  });
}

void Add(const Kernels& kernels, ThreadPool& pool, const float* x, int64_t rows, int64_t dim, float* y) {
  pool.ParallelFor(rows, RowGrain(dim), [&](int64_t begin, int64_t end) {
    kernels.add(x + begin * dim, (end - begin) * dim, y + begin * dim);
  });
}

void AddRow(const Kernels& kernels, ThreadPool& pool, const float* x, int64_t rows, int64_t dim, float* y) {
  pool.ParallelFor(rows, RowGrain(dim), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) kernels.add(x, dim, y + row * dim);
  });
}

void SoftCap(const Kernels& kernels, ThreadPool& pool, float cap, int64_t rows, int64_t dim, float* x) {
  pool.ParallelFor(rows, RowGrain(dim),
                   [&](int64_t begin, int64_t end) { kernels.softcap(x + begin * dim, (end - begin) * dim, cap); });
}

void Rope(const Kernels& kernels, ThreadPool& pool, const RopeArgs& args) {
  pool.ParallelFor(static_cast<int64_t>(args.positions.size()), RowGrain(int64_t{args.heads} * args.rotary_dim),
                   [&](int64_t begin, int64_t end) { kernels.rope(args, begin, end); });
}

void LogSumExp(const Kernels& kernels, ThreadPool& pool, const float* x, int64_t ldx, int64_t rows, int64_t n,
               double* out) {
  pool.ParallelFor(rows, RowGrain(n), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) out[row] = kernels.log_sum_exp(x + row * ldx, n);
  });
}

void Noise(const Kernels& kernels, ThreadPool& pool, const NoiseKey& key, int64_t begin, int64_t count, float* z) {
  pool.ParallelFor(count, NoiseGrain(1),
                   [&](int64_t from, int64_t to) { kernels.noise(key, begin + from, to - from, z + from); });
}

void Update(const Kernels& kernels, ThreadPool& pool, std::span<const NoiseKey> keys,
            std::span<const float> coefficients, int64_t begin, int64_t count, const float* unit, float* k) {
  pool.ParallelFor(count, NoiseGrain(keys.size()), [&](int64_t from, int64_t to) {
    kernels.update(keys, coefficients, begin + from, to - from, At(unit, from), k + from);
  });
}

}  // namespace qzo::kernels
