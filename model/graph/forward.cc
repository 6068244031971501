#include "model/graph/forward.h"

#include <algorithm>

#include "base/log.h"
#include "kernels/parallel.h"
#include "kernels/scratch.h"

namespace qzo::model {
namespace {

constexpr int kNoLane = -1;

// The last `window` keys of a row, whose own key is the last: positions ascend along a span without gaps.
kernels::KeySpan LastKeys(kernels::KeySpan span, int32_t window) {
  const int32_t own = span.own_end - span.own_begin, prefix = span.prefix_end - span.prefix_begin;
  const int32_t of_prefix = std::clamp(window - own, 0, prefix);
  span.own_begin = span.own_end - std::min(own, window);
  span.prefix_begin = span.prefix_end - of_prefix;
  return span;
}

}  // namespace

kernels::Activation ActivationOf(MlpKind kind) {
  switch (kind) {
    case MlpKind::kSiluGated:
      return kernels::Activation::kSilu;
    case MlpKind::kGeluGated:
    case MlpKind::kGelu:
      return kernels::Activation::kGeluTanh;
    case MlpKind::kRelu:
      return kernels::Activation::kRelu;
  }
  QZO_CHECK(false);
}

KeyValueCache::KeyValueCache(const ModelInfo& info)
    : keys(static_cast<size_t>(info.layers)),
      values(static_cast<size_t>(info.layers)),
      row_floats_(int64_t{info.kv_heads} * info.head_dim) {}

void KeyValueCache::Reserve(int64_t rows) {
  const size_t floats = static_cast<size_t>(rows * row_floats_);
  for (auto* layers : {&keys, &values}) {
    for (std::vector<float>& layer : *layers) layer.resize(std::max(layer.size(), floats));
  }
}

Forward::Forward(const Model& model, const kernels::Kernels& kernels, kernels::ThreadPool* pool,
                 kernels::Arithmetic arithmetic)
    : model_(model),
      info_(model.info()),
      kernels_(kernels),
      pool_(*pool),
      arithmetic_(arithmetic),
      dim_(info_.embedding_length),
      q_dim_(int64_t{info_.heads} * info_.head_dim),
      kv_dim_(int64_t{info_.kv_heads} * info_.head_dim),
      embedding_deltas_(info_.FindUnquantized(info_.embedding.weight)),
      position_deltas_(info_.FindUnquantized(info_.positions.weight)),
      head_deltas_(info_.FindUnquantized(info_.head.weight)) {}

int64_t Forward::bytes() const {
  return residual_.bytes() + hidden_.bytes() + rounded_.bytes() + gathered_.bytes() + wide_.bytes() + branch_.bytes() +
         own_weight_.bytes() + own_bias_.bytes() + head_panel_.bytes() +
         static_cast<int64_t>(kept_positions_.capacity() * sizeof(int32_t) +
                              (kept_spans_.capacity() + local_spans_.capacity() + kept_local_spans_.capacity()) *
                                  sizeof(kernels::KeySpan));
}

void Forward::Embed(const PassRows& rows, const LaneSource& lanes) {
  float* out = residual_.Get(rows.rows() * dim_);
  pool_.ParallelFor(rows.rows(), 1, [&](int64_t begin, int64_t end) {
    auto slice = rows.lanes.begin();
    const auto look_up = [&](const kernels::WeightMatrix& matrix, int tensor, int64_t at, float* x) {
      kernels_.dequantize_row(matrix, at, x);
      if (tensor >= 0) lanes.AddDeltas(slice->lane, tensor, at * dim_, dim_, x);
    };
    for (int64_t row = begin; row < end; ++row) {
      while (row >= slice->end) ++slice;
      float* x = out + row * dim_;
      look_up(model_.embedding(), embedding_deltas_, rows.tokens[static_cast<size_t>(row)], x);
      if (info_.embedding_scale != 1) {
        for (int64_t i = 0; i < dim_; ++i) x[i] *= info_.embedding_scale;
      }
      if (model_.positions().rows == 0) continue;
      float* position = kernels::ThreadScratch(kernels::Scratch::kRow, dim_);
      look_up(model_.positions(), position_deltas_, rows.positions[static_cast<size_t>(row)] + info_.position_offset,
              position);
      kernels_.add(position, dim_, x);
    }
  });
}

bool Forward::Rounds(const kernels::WeightMatrix& w) const {
  return arithmetic_ != kernels::Arithmetic::kFp32 && kernels::SupportsRounded(w.type, w.cols);
}

Forward::Input Forward::InputOf(std::initializer_list<const kernels::WeightMatrix*> matrices, int64_t rows,
                                float* plain) {
  Input input;
  const int64_t cols = (*matrices.begin())->cols;
  for (const kernels::WeightMatrix* w : matrices) {
    if (Rounds(*w) && w->order == nullptr) {
      input.rounds = true;
    } else {
      input.plain = plain != nullptr ? plain : hidden_.Get(rows * std::max(dim_, q_dim_));
    }
  }
  if (input.rounds) {
    const int64_t bytes = kernels::RoundedBytes(arithmetic_, rows, cols);
    std::byte* storage = reinterpret_cast<std::byte*>(rounded_.Get((bytes + 3) / 4));
    input.rounded = kernels::MakeRoundedRows(arithmetic_, storage, rows, cols);
  }
  return input;
}

Forward::Input Forward::Reordered(const kernels::WeightMatrix& w, int64_t rows, const float* plain) {
  const int64_t floats = rows * w.cols;
  const int64_t bytes = Rounds(w) ? kernels::RoundedBytes(arithmetic_, rows, w.cols) : 0;
  Input input{.plain = gathered_.Get(floats + (bytes + 3) / 4)};
  pool_.ParallelFor(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t k = 0; k < w.cols; ++k) input.plain[row * w.cols + k] = plain[row * w.cols + w.order[k]];
    }
  });
  if (bytes > 0) {
    std::byte* storage = reinterpret_cast<std::byte*>(input.plain + floats);
    input.rounded = kernels::MakeRoundedRows(arithmetic_, storage, rows, w.cols);
    kernels::RoundRows(kernels_, pool_, input.plain, w.cols, rows, &input.rounded);
  }
  return input;
}

void Forward::Multiply(const kernels::WeightMatrix& w, kernels::Granularity granularity, const Input& input, float* y,
                       bool accumulate) {
  if (Rounds(w)) {
    kernels::MatMulRounded(kernels_, pool_,
                           {.x = input.rounded,
                            .w = w,
                            .granularity = granularity,
                            .lanes = lane_rows_,
                            .y = y,
                            .ldy = w.rows,
                            .accumulate = accumulate});
    return;
  }
  kernels::MatMul(kernels_, pool_,
                  {.x = input.plain,
                   .ldx = w.cols,
                   .w = w,
                   .granularity = granularity,
                   .lanes = lane_rows_,
                   .y = y,
                   .ldy = w.rows,
                   .accumulate = accumulate});
}

void Forward::Linear(const LinearLayer& w, int base, const PassRows& rows, const View& view, LaneSource* lanes,
                     const Input& input, float* y, bool accumulate) {
  // Plain floats are one group a row (method::TensorShape), but blocks of one value to the kernels.
  const bool by_channel = kernels::BlockValues(w.type) == 1 || lanes->granularity() == kernels::Granularity::kChannel;
  const int64_t skipped = w.first_row * (by_channel ? 1 : w.cols / kernels::GroupSize(w));
  lane_rows_.clear();
  for (const LaneSlice& slice : rows.lanes) {
    const int64_t begin = view.kept ? slice.kept_begin : slice.begin, end = view.kept ? slice.kept_end : slice.end;
    if (begin >= end) continue;
    const float* multipliers = lanes->Multipliers(slice.lane, base + w.part);
    lane_rows_.push_back({begin, end, multipliers == nullptr ? nullptr : multipliers + skipped});
  }
  Multiply(w, by_channel ? kernels::Granularity::kChannel : kernels::Granularity::kGroup,
           w.order == nullptr ? input : Reordered(w, view.rows, input.plain), y, accumulate);
  if (!w.bias.empty()) AddBias(w, view, y);
}

void Forward::AddBranch(const LinearLayer& w, int base, const NormWeights& norm, const PassRows& rows, const View& view,
                        LaneSource* lanes, const Input& input) {
  float* residual = residual_.Get(0);
  if (norm.weight.empty()) return Linear(w, base, rows, view, lanes, input, residual, true);
  float* branch = branch_.Get(rows.rows() * dim_);
  Linear(w, base, rows, view, lanes, input, branch, false);
  Norm(norm, view, branch, 1, branch, nullptr);
  kernels::Add(kernels_, pool_, branch, view.rows, dim_, residual);
}

template <typename Body>
void Forward::ForLanes(const View& view, Body&& body) {
  const auto has_deltas = [&](const LaneSlice& slice) { return view.lanes->has_deltas(slice.lane); };
  if (std::none_of(view.slices.begin(), view.slices.end(), has_deltas)) return body(kNoLane, int64_t{0}, view.rows);
  for (const LaneSlice& slice : view.slices) {
    const int64_t begin = view.kept ? slice.kept_begin : slice.begin, end = view.kept ? slice.kept_end : slice.end;
    if (begin < end) body(slice.lane, begin, end);
  }
}

const float* Forward::OfLane(const View& view, int lane, const std::vector<float>& values, int tensor, int64_t begin,
                             Buffer* own) {
  if (values.empty()) return nullptr;
  if (lane == kNoLane || !view.lanes->has_deltas(lane)) return values.data();
  const auto count = static_cast<int64_t>(values.size());
  float* x = own->Get(count);
  std::copy(values.begin(), values.end(), x);
  view.lanes->AddDeltas(lane, tensor, begin, count, x);
  return x;
}

void Forward::Norm(const NormWeights& norm, const View& view, const float* x, int64_t parts, float* out,
                   kernels::RoundedRows* rounded) {
  const auto width = static_cast<int64_t>(norm.weight.size());
  ForLanes(view, [&](int lane, int64_t begin, int64_t end) {
    const float* weight = OfLane(view, lane, norm.weight, norm.weight_deltas, 0, &own_weight_);
    const float* bias = OfLane(view, lane, norm.bias, norm.bias_deltas, 0, &own_bias_);
    const int64_t first = begin * parts * width;
    kernels::RoundedRows part;
    if (rounded != nullptr) part = rounded->Slice(begin, end);
    kernels::Norm(kernels_, pool_, x + first, width, weight, bias, info_.norm_epsilon, (end - begin) * parts, width,
                  out == nullptr ? nullptr : out + first, width, rounded == nullptr ? nullptr : &part);
  });
}

void Forward::NormHeads(const NormWeights& norm, const View& view, int heads, float* x) {
  if (!norm.weight.empty()) Norm(norm, view, x, heads, x, nullptr);
}

void Forward::AddBias(const LinearLayer& w, const View& view, float* y) {
  ForLanes(view, [&](int lane, int64_t begin, int64_t end) {
    const float* bias = OfLane(view, lane, w.bias, w.bias_deltas, w.first_row, &own_bias_);
    kernels::AddRow(kernels_, pool_, bias, end - begin, w.rows, y + begin * w.rows);
  });
}

void Forward::Rotate(const kernels::RopeTable& table, const View& view, int heads, float* x) {
  if (info_.rotary_dim == 0) return;
  kernels::Rope(kernels_, pool_,
                {.x = x,
                 .ldx = int64_t{heads} * info_.head_dim,
                 .positions = {view.positions.data(), view.positions.size()},
                 .heads = heads,
                 .head_dim = info_.head_dim,
                 .rotary_dim = info_.rotary_dim,
                 .layout = info_.rope_layout == RopeLayout::kHalves ? kernels::RopeLayout::kHalves
                                                                    : kernels::RopeLayout::kAdjacent,
                 .cos = table.cos.data(),
                 .sin = table.sin.data()});
}

// Moves residuals of the kept rows to the front: they ascend, so no row is overwritten before it is read.
void Forward::KeepRows(const PassRows& rows, View* view) {
  float* residual = residual_.Get(0);
  kept_positions_.clear();
  kept_spans_.clear();
  kept_local_spans_.clear();
  for (size_t i = 0; i < rows.kept.size(); ++i) {
    const size_t row = static_cast<size_t>(rows.kept[i]);
    kept_positions_.push_back(rows.positions[row]);
    kept_spans_.push_back(rows.spans[row]);
    if (!local_spans_.empty()) kept_local_spans_.push_back(local_spans_[row]);
    if (row == i) continue;
    std::copy_n(residual + static_cast<int64_t>(row) * dim_, dim_, residual + static_cast<int64_t>(i) * dim_);
  }
  *view = {.rows = static_cast<int64_t>(rows.kept.size()),
           .kept = true,
           .positions = kept_positions_,
           .spans = kept_spans_,
           .local_spans = kept_local_spans_,
           .slices = view->slices,
           .lanes = view->lanes};
}

void Forward::Attend(int index, const PassRows& rows, const View& view, absl::Span<KeyValueCache* const> caches,
                     float* q, const float* k, const float* v, Input* attended) {
  float* out = attended->plain == nullptr ? q : attended->plain;
  const absl::Span<const kernels::KeySpan> spans = model_.layer(index).local ? view.local_spans : view.spans;
  kernels::AttentionArgs args{.q = q,
                              .ldq = q_dim_,
                              .k = k,
                              .v = v,
                              .ldkv = kv_dim_,
                              .spans = {spans.data(), spans.size()},
                              .heads = info_.heads,
                              .kv_heads = info_.kv_heads,
                              .head_dim = info_.head_dim,
                              .scale = info_.attention_scale,
                              .softcap = info_.attention_softcap,
                              .out = out,
                              .ldo = q_dim_};
  if (caches.empty()) return kernels::Attention(kernels_, pool_, args, attended->rounded_or_null());
  for (size_t i = 0; i < caches.size(); ++i) {
    const LaneSlice& slice = rows.lanes[i];
    const int64_t begin = view.kept ? slice.kept_begin : slice.begin, end = view.kept ? slice.kept_end : slice.end;
    args.q = q + begin * q_dim_;
    args.k = caches[i]->keys[static_cast<size_t>(index)].data();
    args.v = caches[i]->values[static_cast<size_t>(index)].data();
    args.spans = {spans.data() + begin, static_cast<size_t>(end - begin)};
    args.out = out + begin * q_dim_;
    if (begin < end) kernels::Attention(kernels_, pool_, args, nullptr);
  }
  if (attended->rounds) kernels::RoundRows(kernels_, pool_, out, q_dim_, view.rows, &attended->rounded);
}

void Forward::RunLayer(int index, const PassRows& rows, LaneSource* lanes, absl::Span<KeyValueCache* const> caches,
                       View* view) {
  const size_t at = static_cast<size_t>(index);
  const Layer& layer = model_.layer(index);
  const int base = layer.trained_base;
  const auto linear = [&](const LinearLayer& w, const Input& input, float* y) {
    Linear(w, base, rows, *view, lanes, input, y, false);
  };
  lanes->Prepare(rows.lanes.front().lane, rows.lanes.back().lane + 1, base, info_.trained_per_layer());
  float* q = wide_.Get(0);
  float* k = q + rows.rows() * q_dim_;
  float* v = k + rows.rows() * kv_dim_;

  const auto normed = [&](const NormWeights& norm, std::initializer_list<const kernels::WeightMatrix*> matrices) {
    Input input = InputOf(matrices, view->rows);
    Norm(norm, *view, residual_.Get(0), 1, input.plain, input.rounded_or_null());
    return input;
  };
  const kernels::RopeTable& rope = layer.local ? model_.local_rope() : model_.rope();
  const bool last = index + 1 == info_.layers;
  {
    const Input input = normed(layer.attention_norm, {&layer.k, &layer.v, &layer.q});
    linear(layer.k, input, k);
    linear(layer.v, input, v);
    if (!last) linear(layer.q, input, q);
  }
  NormHeads(layer.k_norm, *view, info_.kv_heads, k);
  Rotate(rope, *view, info_.kv_heads, k);
  for (size_t i = 0; i < caches.size(); ++i) {
    const LaneSlice& slice = rows.lanes[i];
    const int64_t floats = (slice.end - slice.begin) * kv_dim_, end = caches[i]->size * kv_dim_;
    std::copy_n(k + slice.begin * kv_dim_, floats, caches[i]->keys[at].data() + end);
    std::copy_n(v + slice.begin * kv_dim_, floats, caches[i]->values[at].data() + end);
  }
  if (last) {
    KeepRows(rows, view);
    linear(layer.q, normed(layer.attention_norm, {&layer.q}), q);
  }
  NormHeads(layer.q_norm, *view, info_.heads, q);
  Rotate(rope, *view, info_.heads, q);
  Input attended = InputOf({&layer.attention_output}, view->rows);
  Attend(index, rows, *view, caches, q, k, v, &attended);
  AddBranch(layer.attention_output, base, layer.post_attention_norm, rows, *view, lanes, attended);

  float* gate = wide_.Get(0);
  float* up = nullptr;
  if (info_.gated()) {
    const Input input = normed(layer.feed_forward_norm, {&layer.gate, &layer.up});
    up = gate + view->rows * info_.feed_forward_length;
    linear(layer.gate, input, gate);
    linear(layer.up, input, up);
  } else {
    linear(layer.up, normed(layer.feed_forward_norm, {&layer.up}), gate);
  }
  Input inner = InputOf({&layer.down}, view->rows, gate);
  kernels::Activate(kernels_, pool_, ActivationOf(info_.mlp), gate, up, view->rows, info_.feed_forward_length,
                    inner.rounded_or_null());
  AddBranch(layer.down, base, layer.post_feed_forward_norm, rows, *view, lanes, inner);
}

const float* Forward::Run(const PassRows& rows, LaneSource* lanes, absl::Span<KeyValueCache* const> caches,
                          const float* residual) {
  const int64_t n = rows.rows();
  wide_.Get(n * std::max(q_dim_ + 2 * kv_dim_, int64_t{info_.feed_forward_length} * (info_.gated() ? 2 : 1)));
  if (model_.has_first_layer()) {
    Embed(rows, *lanes);
  } else {
    std::copy_n(residual, n * dim_, residual_.Get(n * dim_));
  }
  local_spans_.clear();
  if (info_.window != 0) {
    for (const kernels::KeySpan& span : rows.spans) local_spans_.push_back(LastKeys(span, info_.window));
  }
  View view{.rows = n,
            .kept = false,
            .positions = rows.positions,
            .spans = rows.spans,
            .local_spans = local_spans_,
            .slices = rows.lanes,
            .lanes = lanes};
  const LayerRange range = model_.range();
  for (int layer = range.begin; layer < range.end; ++layer) RunLayer(layer, rows, lanes, caches, &view);
  for (size_t i = 0; i < caches.size(); ++i) caches[i]->size += rows.lanes[i].end - rows.lanes[i].begin;
  if (!model_.has_last_layer()) return residual_.Get(0);
  Norm(model_.output_norm(), view, residual_.Get(0), 1, residual_.Get(0), nullptr);
  return residual_.Get(0);
}

void Forward::Head(const float* hidden, absl::Span<const LaneSlice> slices, LaneSource* lanes, float* logits) {
  const int64_t all = slices.empty() ? 0 : slices.back().kept_end;
  const auto has_deltas = [&](const LaneSlice& slice) { return head_deltas_ >= 0 && lanes->has_deltas(slice.lane); };
  if (std::none_of(slices.begin(), slices.end(), has_deltas)) {
    HeadAsStored(hidden, all, logits);
  } else {
    for (const LaneSlice& slice : slices) {
      const int64_t begin = slice.kept_begin, n = slice.kept_end - begin;
      if (n == 0) continue;
      if (has_deltas(slice)) {
        HeadWithDeltas(hidden + begin * dim_, n, *lanes, slice.lane, logits + begin * info_.vocabulary);
      } else {
        HeadAsStored(hidden + begin * dim_, n, logits + begin * info_.vocabulary);
      }
    }
  }
  if (info_.logit_softcap != 0) kernels::SoftCap(kernels_, pool_, info_.logit_softcap, all, info_.vocabulary, logits);
}

// Some of the head's rows at a time, so that no copy of it is ever held.
void Forward::HeadWithDeltas(const float* hidden, int64_t n, const LaneSource& lanes, int lane, float* logits) {
  const kernels::WeightMatrix& head = model_.head();
  lane_rows_.assign(1, {0, n, nullptr});
  float* panel = head_panel_.Get(kHeadPanelRows * dim_);
  for (int64_t first = 0; first < head.rows; first += kHeadPanelRows) {
    const int64_t count = std::min(kHeadPanelRows, head.rows - first);
    pool_.ParallelFor(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) kernels_.dequantize_row(head, first + row, panel + row * dim_);
      lanes.AddDeltas(lane, head_deltas_, (first + begin) * dim_, (end - begin) * dim_, panel + begin * dim_);
    });
    kernels::MatMul(kernels_, pool_,
                    {.x = hidden,
                     .ldx = dim_,
                     .w = {.type = kernels::WeightType::kF32,
                           .data = reinterpret_cast<const std::byte*>(panel),
                           .rows = count,
                           .cols = dim_},
                     .granularity = kernels::Granularity::kChannel,
                     .lanes = lane_rows_,
                     .y = logits + first,
                     .ldy = info_.vocabulary});
  }
}

void Forward::HeadAsStored(const float* hidden, int64_t n, float* logits) {
  lane_rows_.assign(1, {0, n, nullptr});
  Input input = InputOf({&model_.head()}, n);
  input.plain = const_cast<float*>(hidden);
  if (input.rounds) kernels::RoundRows(kernels_, pool_, hidden, dim_, n, &input.rounded);
  Multiply(model_.head(), kernels::Granularity::kChannel, input, logits, false);
}

}  // namespace qzo::model
