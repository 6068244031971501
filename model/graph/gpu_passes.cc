#include "model/graph/gpu_passes.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/graph/forward.h"

namespace qzo::model {
namespace {

using kernels::cuda::Gpu;
using kernels::cuda::kStretch;
using kernels::cuda::LaneNoise;
using kernels::cuda::LaneVector;
using kernels::cuda::RoundedOutput;

int Stretches(int64_t cols) { return static_cast<int>((cols + kStretch - 1) / kStretch); }

}  // namespace

struct GpuPasses::View {
  const int32_t* rows;
  int max_rows;
  const kernels::cuda::Strip* strips;
  const int32_t* strip_count;
  int max_strips;
  const kernels::cuda::QueryTile* tiles;
  const int32_t* tile_count;
  int max_tiles;
  const int32_t* positions;
  const kernels::KeySpan* spans;
  const int32_t* lanes;
  float* residual;
};

// Working memory, in bytes from its beginning. Rows are those of a capacity.
struct GpuPasses::Places {
  size_t residual, kept_residual;  // [rows, dim] fp32
  size_t normed;                   // [rows, dim] fp32, where a matrix has an order of its own, or a branch a norm
  size_t values, sums;             // RoundedInput of the product at hand
  size_t wide;                     // fp32: queries, keys, values; then gate, up
  size_t q, k, v;                  // bfloat16
  size_t vectors;                  // [lanes, vectors of a layer] fp32, where there are deltas
  size_t attended;                 // [rows, q_dim] fp32
  size_t partials;                 // of products in slices
  size_t logits, log_sums;         // of a chunk
  size_t log_probs;                // [targets] fp64
  size_t bytes;
};

GpuPasses::GpuPasses(const Model& model, Gpu* gpu, StageSeam* seam, std::unique_ptr<GpuModel> weights,
                     GpuMultipliers multipliers)
    : model_(model),
      info_(model.info()),
      gpu_(*gpu),
      seam_(seam),
      weights_(std::move(weights)),
      q_dim_(info_.heads * info_.head_dim),
      kv_dim_(info_.kv_heads * info_.head_dim),
      embedding_deltas_(info_.FindUnquantized(info_.embedding.weight)),
      position_deltas_(info_.FindUnquantized(info_.positions.weight)),
      head_deltas_(info_.FindUnquantized(info_.head.weight)),
      multipliers_(std::move(multipliers)) {
  QZO_CHECK(model.whole() || seam != nullptr);
}

absl::StatusOr<std::unique_ptr<GpuPasses>> GpuPasses::Create(const Model& model, Gpu* gpu, StageSeam* seam) {
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<GpuModel> weights, GpuModel::Create(model, gpu));
  QZO_ASSIGN_OR_RETURN(GpuMultipliers multipliers, GpuMultipliers::Create(model, gpu));
  return std::unique_ptr<GpuPasses>(new GpuPasses(model, gpu, seam, std::move(weights), std::move(multipliers)));
}

GpuPasses::Places GpuPasses::Place(const GpuCapacity& c) const {
  const int64_t rows = c.rows, dim = info_.embedding_length, ffn = info_.feed_forward_length;
  const int64_t stretches = Stretches(std::max<int64_t>({dim, q_dim_, ffn}));
  int64_t partials = 0;
  const auto count_partials = [&](const GpuLinear& linear, int64_t linear_rows) {
    const int slices = kernels::cuda::Slices(linear.matrix.rows, linear.matrix.cols);
    if (slices > 1) partials = std::max(partials, slices * linear_rows * linear.matrix.rows);
  };
  int64_t vectors = weights_->output_vectors().count;
  for (const GpuLayer& l : weights_->layers()) {
    vectors = std::max(vectors, l.vectors.count);
    for (const GpuLinear* linear : {&l.q, &l.k, &l.v, &l.attention_output, &l.gate, &l.up, &l.down}) {
      count_partials(*linear, rows);
    }
  }
  const int64_t head_rows = model_.has_last_layer() ? std::min(kGpuHeadRows, c.kept) : 0;
  count_partials(weights_->head(), head_rows);
  GpuLayout layout;
  Places p;
  p.residual = layout.Add<float>(rows * dim);
  p.kept_residual = layout.Add<float>(c.kept * dim);
  p.normed = layout.Add<float>(rows * dim);
  p.values = layout.Add<uint16_t>(rows * stretches * kStretch);
  p.sums = layout.Add<float>(rows * stretches * 4);
  p.wide = layout.Add<float>(rows * std::max<int64_t>(q_dim_ + 2 * kv_dim_, (info_.gated() ? 2 : 1) * ffn));
  p.q = layout.Add<uint16_t>(rows * q_dim_);
  p.k = layout.Add<uint16_t>(rows * kv_dim_);
  p.v = layout.Add<uint16_t>(rows * kv_dim_);
  p.vectors = layout.Add<float>(c.lanes * vectors);
  p.attended = layout.Add<float>(rows * q_dim_);
  p.partials = layout.Add<float>(partials);
  p.logits = layout.Add<float>(head_rows * info_.vocabulary);
  p.log_sums = layout.Add<double>(head_rows);
  p.log_probs = layout.Add<double>(c.targets);
  p.bytes = layout.bytes();
  return p;
}

int64_t GpuPasses::bytes() const {
  return static_cast<int64_t>(work_.bytes() + device_tables_.bytes()) + multipliers_.bytes();
}

std::string GpuPasses::MemoryPlan() const {
  const auto human = [](int64_t bytes) { return base::HumanBytes(static_cast<uint64_t>(bytes)); };
  return absl::StrCat("weights ", human(weights_->bytes()), ", activations of ", reserved_.rows, " rows ",
                      human(static_cast<int64_t>(work_.bytes())), ", tables ",
                      human(static_cast<int64_t>(device_tables_.bytes())), ", multipliers ",
                      human(multipliers_.bytes()), "; free ", human(gpu_.free_bytes()));
}

GpuCapacity GpuPasses::Most(const GpuCapacity& c) const {
  GpuCapacity most = reserved_;
  for (int GpuCapacity::*size :
       {&GpuCapacity::rows, &GpuCapacity::kept, &GpuCapacity::strips, &GpuCapacity::kept_strips, &GpuCapacity::tiles,
        &GpuCapacity::kept_tiles, &GpuCapacity::targets, &GpuCapacity::lanes}) {
    most.*size = std::max(most.*size, c.*size);
  }
  return most;
}

// Makes the memory large enough, of everything at once, for any mixture of what was asked for.
absl::Status GpuPasses::Reserve(const GpuCapacity& c) {
  const GpuCapacity most = Most(c);
  if (most == reserved_) return absl::OkStatus();
  for (GpuMemory* memory : {&work_, &device_tables_, &host_tables_, &host_log_probs_, &host_rows_}) {
    *memory = GpuMemory();  // before more is asked for
  }
  reserved_ = {};
  graph_memory_ = NewGraphMemory();
  QZO_ASSIGN_OR_RETURN(work_, GpuMemory::Allocate(&gpu_, Place(most).bytes));
  const size_t table_bytes = GpuTables(most).bytes;
  QZO_ASSIGN_OR_RETURN(device_tables_, GpuMemory::Allocate(&gpu_, table_bytes));
  QZO_ASSIGN_OR_RETURN(host_tables_, GpuMemory::Allocate(&gpu_, table_bytes, GpuMemory::Where::kHost));
  QZO_ASSIGN_OR_RETURN(host_log_probs_, GpuMemory::Allocate(&gpu_, static_cast<size_t>(most.targets) * sizeof(double),
                                                            GpuMemory::Where::kHost));
  if (ReceivesOnHost() || SendsOnHost()) {
    const size_t floats = static_cast<size_t>(most.rows) * static_cast<size_t>(info_.embedding_length);
    QZO_ASSIGN_OR_RETURN(host_rows_, GpuMemory::Allocate(&gpu_, floats * sizeof(float), GpuMemory::Where::kHost));
  }
  reserved_ = most;
  return absl::OkStatus();
}

absl::Status GpuPasses::Prepare(const Pack& pack, LaneSource* lanes) {
  const std::optional<LaneState> state = lanes->State();
  if (!state) return absl::UnimplementedError("lanes without a state, which a GPU cannot make");
  QZO_RETURN_IF_ERROR(multipliers_.Bring(*state, lanes->granularity()));
  tables_ = GpuTables(capacity_);
  tables_.Write(capacity_, pack, host_tables_);
  for (size_t i = 0; i < pack.lanes.size(); ++i) {
    host_tables_.at<LaneNoise>(tables_.lanes)[i] = NoiseOf(lanes->Direction(pack.lanes[i].lane), state->delta_unit);
  }
  gpu_.Upload(device_tables_.data(), host_tables_.data(), tables_.bytes);
  return absl::OkStatus();
}

kernels::cuda::GraphKey GpuPasses::KeyOfGraph() const {
  // Numbers only grow, so that the greater one is new whenever either is.
  return {.memory = std::max(graph_memory_, multipliers_.graph_memory()),
          .shape = multipliers_.shape() << GpuCapacity::kKeyBits | capacity_.Key()};
}

absl::Status GpuPasses::Run(const Pack& pack, LaneSource* lanes, int64_t first_slot, std::vector<double>* log_probs) {
  if (pack.kept.empty()) return absl::OkStatus();
  capacity_ = GpuCapacity::Of(pack);
  if (seam_ == nullptr) {
    QZO_RETURN_IF_ERROR(Reserve(capacity_));
    return Compute(pack, lanes, first_slot, log_probs);
  }
  // The device is used in turns; memory is made in one of its own, for rows are received into it before the next.
  absl::Status found;
  if (!(Most(capacity_) == reserved_)) {
    QZO_RETURN_IF_ERROR(seam_->SettleOnDevice());
    QZO_RETURN_IF_ERROR(seam_->Compute([&] { found = Reserve(capacity_); }));
    QZO_RETURN_IF_ERROR(found);
  }
  const size_t floats = static_cast<size_t>(pack.rows()) * static_cast<size_t>(info_.embedding_length);
  std::byte* const residual = work_.data() + Place(capacity_).residual;
  if (ReceivesOnHost()) {
    QZO_RETURN_IF_ERROR(seam_->Receive({host_rows_.at<float>(), floats}));
  } else if (!model_.has_first_layer()) {
    QZO_RETURN_IF_ERROR(seam_->ReceiveOnDevice(residual, floats * sizeof(float)));
  }
  QZO_RETURN_IF_ERROR(seam_->Compute([&] { found = Compute(pack, lanes, first_slot, log_probs); }));
  QZO_RETURN_IF_ERROR(found);
  if (SendsOnHost()) return seam_->Send({host_rows_.at<float>(), floats});
  return model_.has_last_layer() ? absl::OkStatus() : seam_->SendOnDevice(residual, floats * sizeof(float));
}

absl::Status GpuPasses::Compute(const Pack& pack, LaneSource* lanes, int64_t first_slot,
                                std::vector<double>* log_probs) {
  QZO_RETURN_IF_ERROR(Prepare(pack, lanes));
  const Places at = Place(capacity_);
  const size_t residual_bytes =
      static_cast<size_t>(pack.rows()) * static_cast<size_t>(info_.embedding_length) * sizeof(float);
  if (ReceivesOnHost()) gpu_.Upload(work_.data() + at.residual, host_rows_.data(), residual_bytes);
  gpu_.RunGraph(KeyOfGraph(), [this] {
    Body();
    for (int chunk = 0; model_.has_last_layer() && chunk < capacity_.head_chunks(); ++chunk) {
      Head(chunk);
      Choose(chunk);
    }
  });
  if (!model_.has_last_layer()) {
    if (SendsOnHost()) gpu_.Download(host_rows_.data(), work_.data() + at.residual, residual_bytes);
    return gpu_.Wait();
  }
  gpu_.Download(host_log_probs_.data(), work_.data() + at.log_probs, pack.targets.size() * sizeof(double));
  QZO_RETURN_IF_ERROR(gpu_.Wait());
  for (size_t i = 0; i < pack.targets.size(); ++i) {
    (*log_probs)[static_cast<size_t>(first_slot + pack.targets[i].slot)] = host_log_probs_.at<double>()[i];
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> GpuPasses::Logits(const Pack& pack, LaneSource* lanes) {
  if (!model_.whole()) return NoLogitsOf(model_);
  capacity_ = GpuCapacity::Of(pack);
  QZO_RETURN_IF_ERROR(Reserve(capacity_));
  QZO_RETURN_IF_ERROR(Prepare(pack, lanes));
  Body();
  std::vector<float> logits(pack.kept.size() * static_cast<size_t>(info_.vocabulary));
  for (int chunk = 0; chunk * kGpuHeadRows < static_cast<int>(pack.kept.size()); ++chunk) {
    Head(chunk);
    const int rows = std::min(kGpuHeadRows, static_cast<int>(pack.kept.size()) - chunk * kGpuHeadRows);
    gpu_.Download(reinterpret_cast<std::byte*>(logits.data() + int64_t{chunk} * kGpuHeadRows * info_.vocabulary),
                  work_.data() + Place(capacity_).logits,
                  static_cast<size_t>(rows) * static_cast<size_t>(info_.vocabulary) * sizeof(float));
    QZO_RETURN_IF_ERROR(gpu_.Wait());
  }
  return logits;
}

void GpuPasses::Round(const float* x, int cols, const int32_t* order, const View& view) {
  const Places at = Place(capacity_);
  gpu_.ops().round(gpu_.stream(),
                   {.x = x,
                    .order = order,
                    .cols = cols,
                    .rows = view.rows,
                    .out = {work_.at<uint16_t>(at.values), work_.at<float>(at.sums), Stretches(cols)}},
                   view.max_rows);
}

void GpuPasses::MakeVectors(const GpuVectors& vectors) {
  made_ = vectors;
  if (!multipliers_.has_deltas()) return;
  kernels::cuda::LaneVectorsParams params = multipliers_.LanesOf(vectors);
  params.lanes = Table<LaneNoise>(tables_.lanes);
  params.lane_count = CountOf(GpuTables::kLanes);
  params.out = work_.at<float>(Place(capacity_).vectors);
  gpu_.ops().lane_vectors(gpu_.stream(), params, capacity_.lanes);
}

// A vector of those that MakeVectors was given last, as lanes see it.
LaneVector GpuPasses::OfLanes(const float* stored, const View& view) const {
  if (stored == nullptr || !multipliers_.has_deltas()) return {.values = stored};
  return {.values = work_.at<float>(Place(capacity_).vectors) + (stored - made_.values),
          .lanes = view.lanes,
          .stride = made_.count};
}

// To the input of products; `plain`: to Places::normed, for matrices with an order of their own.
void GpuPasses::Norm(const GpuNorm& norm, const View& view, bool plain) {
  const Places at = Place(capacity_);
  const int dim = info_.embedding_length;
  const RoundedOutput rounded{work_.at<uint16_t>(at.values), work_.at<float>(at.sums), Stretches(dim)};
  gpu_.ops().norm(gpu_.stream(),
                  {.x = view.residual,
                   .weight = OfLanes(norm.weight, view),
                   .bias = OfLanes(norm.bias, view),
                   .epsilon = info_.norm_epsilon,
                   .dim = dim,
                   .rows = view.rows,
                   .out = plain ? RoundedOutput{} : rounded,
                   .plain = plain ? work_.at<float>(at.normed) : nullptr},
                  view.max_rows);
}

// `plain`: the input in fp32, where it has not been rounded yet.
void GpuPasses::Linear(const GpuLinear& linear, const View& view, const float* plain, float* y, bool accumulate) {
  const kernels::cuda::DeviceMatrix& w = linear.matrix;
  if (plain != nullptr) Round(plain, w.cols, linear.order, view);
  const Places at = Place(capacity_);
  const LaneVector bias = OfLanes(linear.bias, view);
  gpu_.ops().mat_mul(gpu_.stream(), {.x = {work_.at<uint16_t>(at.values), work_.at<float>(at.sums)},
                                     .w = w,
                                     .grouped = multipliers_.Grouped(linear),
                                     .multipliers = multipliers_.Of(linear),
                                     .lanes = Table<LaneNoise>(tables_.lanes),
                                     .strips = view.strips,
                                     .strip_count = view.strip_count,
                                     .max_strips = view.max_strips,
                                     .y = y,
                                     .ldy = w.rows,
                                     .accumulate = accumulate,
                                     .bias = bias.values,
                                     .bias_stride = bias.stride,
                                     .slices = kernels::cuda::Slices(w.rows, w.cols),
                                     .partials = work_.at<float>(at.partials),
                                     .max_rows = view.max_rows});
}

// Adds a branch to the residual stream, after a norm of its own where it has one.
void GpuPasses::AddBranch(const GpuLinear& linear, const GpuNorm& norm, const View& view, const float* plain) {
  if (norm.weight == nullptr) return Linear(linear, view, plain, view.residual, true);
  float* branch = work_.at<float>(Place(capacity_).normed);
  Linear(linear, view, plain, branch, false);
  gpu_.ops().norm(gpu_.stream(),
                  {.x = branch,
                   .weight = OfLanes(norm.weight, view),
                   .bias = OfLanes(norm.bias, view),
                   .epsilon = info_.norm_epsilon,
                   .dim = info_.embedding_length,
                   .rows = view.rows,
                   .plain = view.residual,
                   .add = true},
                  view.max_rows);
}

void GpuPasses::NormHeads(const float* weight, const View& view, int heads, float* x) {
  if (weight == nullptr) return;
  gpu_.ops().norm_heads(gpu_.stream(), {x, OfLanes(weight, view), info_.norm_epsilon, heads, info_.head_dim, view.rows},
                        view.max_rows);
}

// Rounds for attention, turned by the rotary embedding of a layer if one is given.
void GpuPasses::Rotate(const float* x, const View& view, int heads, const GpuLayer* turned, uint16_t* out) {
  gpu_.ops().rotate(gpu_.stream(),
                    {.x = x,
                     .positions = view.positions,
                     .cos = turned == nullptr ? nullptr : turned->cos,
                     .sin = turned == nullptr ? nullptr : turned->sin,
                     .heads = heads,
                     .head_dim = info_.head_dim,
                     .rotary_dim = info_.rotary_dim,
                     .adjacent = info_.rope_layout == RopeLayout::kAdjacent,
                     .rows = view.rows,
                     .out = out},
                    view.max_rows);
}

void GpuPasses::RunLayer(size_t index, const View& all, const View& kept) {
  const GpuLayer& layer = weights_->layers()[index];
  const Places at = Place(capacity_);
  const bool last = model_.has_last_layer() && index + 1 == weights_->layers().size();
  MakeVectors(layer.vectors);
  const auto normed = [&](const GpuNorm& norm, const View& view, bool plain) {
    Norm(norm, view, plain);
    return plain ? work_.at<float>(at.normed) : nullptr;
  };
  float* q = work_.at<float>(at.wide);
  float* k = q + int64_t{all.max_rows} * q_dim_;
  float* v = k + int64_t{all.max_rows} * kv_dim_;
  uint16_t *q16 = work_.at<uint16_t>(at.q), *k16 = work_.at<uint16_t>(at.k), *v16 = work_.at<uint16_t>(at.v);

  const bool ordered = layer.q.order != nullptr || layer.k.order != nullptr || layer.v.order != nullptr;
  const float* input = normed(layer.attention_norm, all, ordered);
  Linear(layer.k, all, input, k, false);
  Linear(layer.v, all, input, v, false);
  if (!last) Linear(layer.q, all, input, q, false);
  NormHeads(layer.k_norm.weight, all, info_.kv_heads, k);
  Rotate(k, all, info_.kv_heads, &layer, k16);
  Rotate(v, all, info_.kv_heads, nullptr, v16);
  const View& view = last ? kept : all;
  if (last) {  // only rows whose hidden state is wanted go on
    gpu_.ops().gather(gpu_.stream(),
                      {all.residual, Table<int32_t>(tables_.kept), info_.embedding_length, kept.rows, kept.residual},
                      kept.max_rows);
    Linear(layer.q, kept, normed(layer.attention_norm, kept, ordered), q, false);
  }
  NormHeads(layer.q_norm.weight, view, info_.heads, q);
  Rotate(q, view, info_.heads, &layer, q16);
  float* attended = work_.at<float>(at.attended);
  gpu_.ops().attention(gpu_.stream(),
                       {.q = q16,
                        .k = k16,
                        .v = v16,
                        .spans = view.spans,
                        .tiles = view.tiles,
                        .tile_count = view.tile_count,
                        .heads = info_.heads,
                        .kv_heads = info_.kv_heads,
                        .head_dim = info_.head_dim,
                        .scale = info_.attention_scale,
                        .softcap = info_.attention_softcap,
                        .window = layer.window,
                        .out = attended},
                       view.max_tiles);
  AddBranch(layer.attention_output, layer.post_attention_norm, view, attended);

  float* gate = work_.at<float>(at.wide);
  float* up = gate + int64_t{view.max_rows} * info_.feed_forward_length;
  input = normed(layer.feed_forward_norm, view, layer.gate.order != nullptr || layer.up.order != nullptr);
  if (info_.gated()) Linear(layer.gate, view, input, gate, false);
  Linear(layer.up, view, input, info_.gated() ? up : gate, false);
  const bool plain = layer.down.order != nullptr;
  const RoundedOutput rounded{work_.at<uint16_t>(at.values), work_.at<float>(at.sums),
                              Stretches(info_.feed_forward_length)};
  gpu_.ops().gate(gpu_.stream(),
                  {.gate = gate,
                   .up = info_.gated() ? up : nullptr,
                   .activation = ActivationOf(info_.mlp),
                   .dim = info_.feed_forward_length,
                   .rows = view.rows,
                   .out = plain ? RoundedOutput{} : rounded,
                   .plain = plain ? gate : nullptr},
                  view.max_rows);
  AddBranch(layer.down, layer.post_feed_forward_norm, view, plain ? gate : nullptr);
}

// Hidden states of the kept rows after the final norm, as the head takes them; or of a stage before the last, the
// residual stream of all rows after its layers.
void GpuPasses::Body() {
  const Places at = Place(capacity_);
  const View all{.rows = CountOf(GpuTables::kRows),
                 .max_rows = capacity_.rows,
                 .strips = Table<kernels::cuda::Strip>(tables_.strips),
                 .strip_count = CountOf(GpuTables::kStrips),
                 .max_strips = capacity_.strips,
                 .tiles = Table<kernels::cuda::QueryTile>(tables_.tiles),
                 .tile_count = CountOf(GpuTables::kTiles),
                 .max_tiles = capacity_.tiles,
                 .positions = Table<int32_t>(tables_.positions),
                 .spans = Table<kernels::KeySpan>(tables_.spans),
                 .lanes = Table<int32_t>(tables_.row_lanes),
                 .residual = work_.at<float>(at.residual)};
  const View kept{.rows = CountOf(GpuTables::kKept),
                  .max_rows = capacity_.kept,
                  .strips = Table<kernels::cuda::Strip>(tables_.kept_strips),
                  .strip_count = CountOf(GpuTables::kKeptStrips),
                  .max_strips = capacity_.kept_strips,
                  .tiles = Table<kernels::cuda::QueryTile>(tables_.kept_tiles),
                  .tile_count = CountOf(GpuTables::kKeptTiles),
                  .max_tiles = capacity_.kept_tiles,
                  .positions = Table<int32_t>(tables_.kept_positions),
                  .spans = Table<kernels::KeySpan>(tables_.kept_spans),
                  .lanes = Table<int32_t>(tables_.kept_lanes),
                  .residual = work_.at<float>(at.kept_residual)};
  if (model_.has_first_layer()) {
    gpu_.ops().embed(gpu_.stream(),
                     {.table = weights_->embedding(),
                      .tokens = Table<int32_t>(tables_.tokens),
                      .rows = all.rows,
                      .out = all.residual,
                      .scale = info_.embedding_scale,
                      .deltas = multipliers_.DeltasOf(embedding_deltas_),
                      .lanes = Table<LaneNoise>(tables_.lanes),
                      .row_lanes = all.lanes},
                     all.max_rows);
  }
  if (weights_->positions().rows != 0) {
    gpu_.ops().embed(gpu_.stream(),
                     {.table = weights_->positions(),
                      .tokens = all.positions,
                      .rows = all.rows,
                      .out = all.residual,
                      .first = info_.position_offset,
                      .add = true,
                      .deltas = multipliers_.DeltasOf(position_deltas_),
                      .lanes = Table<LaneNoise>(tables_.lanes),
                      .row_lanes = all.lanes},
                     all.max_rows);
  }
  for (size_t layer = 0; layer < weights_->layers().size(); ++layer) RunLayer(layer, all, kept);
  if (!model_.has_last_layer()) return;
  MakeVectors(weights_->output_vectors());
  Norm(weights_->output_norm(), kept, false);
}

// Logits of rows [chunk · kGpuHeadRows, …) of the kept ones. What the head stores is the same for all lanes: any will
// do.
void GpuPasses::Head(int chunk) {
  const Places at = Place(capacity_);
  const kernels::cuda::DeviceMatrix& w = weights_->head().matrix;
  const int max_rows = std::min(kGpuHeadRows, capacity_.kept);
  const int64_t first = int64_t{chunk} * kGpuHeadRows * w.stretches;
  gpu_.ops().mat_mul(
      gpu_.stream(),
      {.x = {work_.at<uint16_t>(at.values) + first * kStretch, work_.at<float>(at.sums) + first * 4},
       .w = w,
       .lanes = Table<LaneNoise>(tables_.lanes),
       .strips = Table<kernels::cuda::Strip>(tables_.chunk_strips) + chunk * (kGpuHeadRows / kernels::cuda::kStripRows),
       .strip_count = CountOf(GpuTables::kChunks + 2 * chunk + 1),
       .max_strips = std::max(2, max_rows / kernels::cuda::kStripRows),
       .y = work_.at<float>(at.logits),
       .ldy = w.rows,
       .slices = kernels::cuda::Slices(w.rows, w.cols),
       .partials = work_.at<float>(at.partials),
       .max_rows = max_rows});
  if (const kernels::cuda::Deltas deltas = multipliers_.DeltasOf(head_deltas_); deltas.values != nullptr) {
    gpu_.ops().delta_product(gpu_.stream(), {.x = {work_.at<uint16_t>(at.values), work_.at<float>(at.sums)},
                                             .deltas = deltas,
                                             .rows = w.rows,
                                             .cols = w.cols,
                                             .lanes = Table<LaneNoise>(tables_.lanes),
                                             .strips = Table<kernels::cuda::Strip>(tables_.kept_strips),
                                             .strip_count = CountOf(GpuTables::kKeptStrips),
                                             .max_strips = capacity_.kept_strips,
                                             .first_row = chunk * kGpuHeadRows,
                                             .held = CountOf(GpuTables::kChunks + 2 * chunk),
                                             .y = work_.at<float>(at.logits)});
  }
  if (info_.logit_softcap == 0) return;
  gpu_.ops().soft_cap(gpu_.stream(),
                      {.x = work_.at<float>(at.logits),
                       .n = info_.vocabulary,
                       .rows = CountOf(GpuTables::kChunks + 2 * chunk),
                       .cap = info_.logit_softcap},
                      max_rows);
}

void GpuPasses::Choose(int chunk) {
  const Places at = Place(capacity_);
  const float* logits = work_.at<float>(at.logits);
  double* log_sums = work_.at<double>(at.log_sums);
  gpu_.ops().log_sum(gpu_.stream(), {logits, info_.vocabulary, CountOf(GpuTables::kChunks + 2 * chunk), log_sums},
                     std::min(kGpuHeadRows, capacity_.kept));
  gpu_.ops().chosen(gpu_.stream(),
                    {.logits = logits,
                     .n = info_.vocabulary,
                     .first_row = chunk * kGpuHeadRows,
                     .rows = CountOf(GpuTables::kChunks + 2 * chunk),
                     .log_sums = log_sums,
                     .tokens = Table<kernels::cuda::ChosenToken>(tables_.targets),
                     .count = CountOf(GpuTables::kTargets),
                     .out = work_.at<double>(at.log_probs)},
                    capacity_.targets);
}

}  // namespace qzo::model
