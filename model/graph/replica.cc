#include "model/graph/replica.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "kernels/noise.h"
#include "kernels/parallel.h"

namespace qzo::model {
namespace {

constexpr int64_t kChunk = 4096;  // values: whole blocks of noise, and worth a thread's while

kernels::Granularity ToKernels(method::Granularity granularity) {
  return granularity == method::Granularity::kGroup ? kernels::Granularity::kGroup : kernels::Granularity::kChannel;
}

kernels::NoiseKey Key(const method::MethodSpec& spec, uint32_t step, uint32_t probe, uint32_t tensor) {
  return {
      .kind = spec.noise == method::Noise::kGaussian ? kernels::NoiseKind::kGaussian : kernels::NoiseKind::kRademacher,
      .seed = spec.seed,
      .step = step,
      .probe = probe,
      .tensor = tensor};
}

}  // namespace

// The multipliers as they are.
class Replica::CurrentLanes final : public LaneSource {
 public:
  explicit CurrentLanes(const Replica& replica) : replica_(replica) {}
  int lanes() const override { return 1; }
  kernels::Granularity granularity() const override { return ToKernels(replica_.spec_.granularity); }
  const float* Multipliers(int, int ordinal) override {
    return replica_.multipliers_.data() + replica_.partition_.multiplied(ordinal).offset;
  }
  bool has_deltas(int) const override { return replica_.partition_.deltas() > 0; }
  void AddDeltas(int, int tensor, int64_t begin, int64_t count, float* x) const override {
    if (replica_.partition_.deltas() == 0) return;
    replica_.kernels_.add(replica_.multipliers_.data() + replica_.partition_.added(tensor).offset + begin, count, x);
  }
  std::optional<LaneState> State() const override { return replica_.State(); }

 private:
  const Replica& replica_;
};

// Lanes 2i and 2i + 1 are probe first + i with + and − epsilon. Holds the tensors that were prepared last.
class Replica::ProbeLanes final : public LaneSource {
 public:
  explicit ProbeLanes(const Replica& replica) : replica_(replica) {}
  void SetProbes(uint32_t first, uint32_t count) {
    first_probe_ = first;
    probes_ = count;
  }
  int lanes() const override { return static_cast<int>(2 * probes_); }
  kernels::Granularity granularity() const override { return ToKernels(replica_.spec_.granularity); }

  void Prepare(int lane_begin, int lane_end, int first, int count) override {
    const method::Partition& partition = replica_.partition_;
    const method::PartitionTensor& last = partition.multiplied(first + count - 1);
    lane_begin_ = lane_begin;
    offset_ = partition.multiplied(first).offset;
    per_lane_ = last.offset + last.count - offset_;
    const size_t floats = static_cast<size_t>((lane_end - lane_begin) * per_lane_);
    if (prepared_.size() < floats) prepared_.resize(floats);
    // Tensors are cut in chunks of equal size, so that a chunk is found by its number.
    int64_t most = 0;
    for (int i = first; i < first + count; ++i) most = std::max(most, partition.multiplied(i).count);
    const int64_t chunks = (most + kChunk - 1) / kChunk;
    const int64_t all = (lane_end - lane_begin) * count * chunks;
    replica_.pool_->ParallelFor(all, chunks == 1 ? count : 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        PrepareChunk(lane_begin + static_cast<int>(i / (count * chunks)), first + static_cast<int>(i / chunks % count),
                     i % chunks * kChunk);
      }
    });
  }

  const float* Multipliers(int lane, int ordinal) override { return At(lane, replica_.partition_.multiplied(ordinal)); }
  bool has_deltas(int) const override { return replica_.partition_.deltas() > 0; }

  // A perturbed copy is made of so many deltas at a time, from the beginning of a block of noise on.
  void AddDeltas(int lane, int tensor, int64_t begin, int64_t count, float* x) const override {
    if (replica_.partition_.deltas() == 0) return;
    const method::PartitionTensor& added = replica_.partition_.added(tensor);
    const float* deltas = replica_.multipliers_.data() + added.offset;
    LaneDirection direction = Direction(lane);
    direction.key.tensor = added.ordinal;
    const float length = direction.signed_epsilon * replica_.spec_.delta_unit;
    alignas(64) float perturbed[kDeltasAtOnce];
    while (count > 0) {
      const int64_t from = begin / kernels::kRademacherPerBlock * kernels::kRademacherPerBlock, skipped = begin - from;
      const int64_t some = std::min(count, kDeltasAtOnce - skipped);
      replica_.kernels_.perturb(direction.key, from, skipped + some, deltas + from, nullptr, length, perturbed);
      replica_.kernels_.add(perturbed + skipped, some, x);
      begin += some, count -= some, x += some;
    }
  }

  std::optional<LaneState> State() const override { return replica_.State(); }
  LaneDirection Direction(int lane) const override {
    return {.key = Key(replica_.spec_, replica_.step_, first_probe_ + static_cast<uint32_t>(lane) / 2, 0),
            .signed_epsilon = lane % 2 == 0 ? replica_.spec_.epsilon : -replica_.spec_.epsilon};
  }

 private:
  static constexpr int64_t kDeltasAtOnce = 2048;

  float* At(int lane, const method::PartitionTensor& tensor) {
    return prepared_.data() + (lane - lane_begin_) * per_lane_ + (tensor.offset - offset_);
  }
  void PrepareChunk(int lane, int ordinal, int64_t begin) {
    const method::PartitionTensor& tensor = replica_.partition_.multiplied(ordinal);
    if (begin >= tensor.count) return;
    LaneDirection direction = Direction(lane);
    direction.key.tensor = tensor.ordinal;
    const float* units = replica_.UnitsOf(tensor);
    replica_.kernels_.perturb(direction.key, begin, std::min(kChunk, tensor.count - begin),
                              replica_.multipliers_.data() + tensor.offset + begin,
                              units == nullptr ? nullptr : units + begin, direction.signed_epsilon,
                              At(lane, tensor) + begin);
  }

  const Replica& replica_;
  uint32_t first_probe_ = 0;
  uint32_t probes_ = 0;
  std::vector<float> prepared_;  // [lanes, per_lane_], from lane lane_begin_ and multiplier offset_ on
  int lane_begin_ = 0;
  int64_t offset_ = 0;
  int64_t per_lane_ = 0;
};

Replica::Replica(const method::MethodSpec& spec, method::Partition partition, const kernels::Kernels& kernels,
                 kernels::ThreadPool* pool)
    : spec_(spec),
      partition_(std::move(partition)),
      kernels_(kernels),
      pool_(pool),
      lanes_(std::make_unique<ProbeLanes>(*this)),
      multipliers_(partition_.InitialValues()) {}
Replica::~Replica() = default;

method::Partition Replica::PartitionOf(const Model& model, const method::MethodSpec& spec) {
  return model.info().PartitionFor(spec, model.range().begin, model.range().end);
}

absl::StatusOr<std::unique_ptr<Replica>> Replica::Create(const Model& model, const method::MethodSpec& spec,
                                                         const kernels::Kernels& kernels, kernels::ThreadPool* pool) {
  QZO_RETURN_IF_ERROR(spec.Validate());
  if (spec.train_unquantized && !model.whole() && model.info().embedding_shared()) {
    return absl::InvalidArgumentError(
        absl::StrCat(model.path(), ": deltas of an embedding that is the head, too, are of no single stage"));
  }
  std::unique_ptr<Replica> replica(new Replica(spec, PartitionOf(model, spec), kernels, pool));
  if (spec.mode == method::Mode::kAbsolute) {
    replica->units_.reserve(static_cast<size_t>(replica->partition_.multipliers()));
    const int per_layer = model.info().trained_per_layer();
    for (int i = model.range().begin * per_layer; i < model.range().end * per_layer; ++i) {
      absl::StatusOr<std::vector<float>> units = model.Units(i, spec.granularity);
      if (!units.ok()) return absl::InvalidArgumentError(units.status().message());
      replica->units_.insert(replica->units_.end(), units->begin(), units->end());
    }
  }
  return replica;
}

const float* Replica::UnitsOf(const method::PartitionTensor& tensor) const {
  return units_.empty() ? nullptr : units_.data() + tensor.unit;
}

absl::Status Replica::Apply(absl::Span<const float> coefficients) {
  if (coefficients.size() != spec_.probes) {
    return absl::InvalidArgumentError(
        absl::StrCat(coefficients.size(), " coefficients at step ", step_, ", expected ", spec_.probes));
  }
  if (!std::all_of(coefficients.begin(), coefficients.end(), [](float c) { return std::isfinite(c); })) {
    return absl::InvalidArgumentError(absl::StrCat("a coefficient of step ", step_, " is not finite"));
  }
  keys_.resize(spec_.probes);
  for (const method::PartitionTensor& tensor : partition_.tensors()) {
    for (uint32_t probe = 0; probe < spec_.probes; ++probe) keys_[probe] = Key(spec_, step_, probe, tensor.ordinal);
    if (tensor.shape.deltas) {
      MoveDeltas(tensor, coefficients);
      continue;
    }
    kernels::Update(kernels_, *pool_, keys_, {coefficients.data(), coefficients.size()}, 0, tensor.count,
                    UnitsOf(tensor), multipliers_.data() + tensor.offset);
  }
  ++step_;
  Changed();
  coefficients_.assign(coefficients.begin(), coefficients.end());
  return absl::OkStatus();
}

void Replica::MoveDeltas(const method::PartitionTensor& tensor, absl::Span<const float> coefficients) {
  float* const deltas = multipliers_.data() + tensor.offset;
  pool_->ParallelFor((tensor.count + kChunk - 1) / kChunk, 1, [&](int64_t first, int64_t end) {
    for (int64_t begin = first * kChunk; begin < std::min(end * kChunk, tensor.count); begin += kChunk) {
      const int64_t count = std::min(kChunk, tensor.count - begin);
      for (size_t probe = 0; probe < keys_.size(); ++probe) {
        if (coefficients[probe] == 0) continue;
        kernels_.perturb(keys_[probe], begin, count, deltas + begin, nullptr, -(coefficients[probe] * spec_.delta_unit),
                         deltas + begin);
      }
    }
  });
}

absl::Status Replica::Restore(uint32_t step, absl::Span<const float> multipliers) {
  if (multipliers.size() != multipliers_.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(multipliers.size(), " multipliers, expected the partition's ", multipliers_.size()));
  }
  for (size_t i = 0; i < multipliers.size(); ++i) {
    if (std::isfinite(multipliers[i])) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("multiplier ", i, " is ", multipliers[i], ", expected a finite number"));
  }
  std::copy(multipliers.begin(), multipliers.end(), multipliers_.begin());
  step_ = step;
  Changed();
  return absl::OkStatus();
}

void Replica::Reset() {
  multipliers_ = partition_.InitialValues();
  step_ = 0;
  Changed();
}

LaneState Replica::State() const {
  LaneState state{.multipliers = multipliers_,
                  .units = units_,
                  .delta_unit = partition_.deltas() > 0 ? spec_.delta_unit : 0,
                  .owner = owner_,
                  .version = version_};
  if (!coefficients_.empty()) {
    state.keys = keys_;
    state.coefficients = coefficients_;
  }
  return state;
}

void Replica::Changed() {
  ++version_;
  coefficients_.clear();
  digest_valid_ = false;
}

uint64_t Replica::digest() const {
  if (!digest_valid_) digest_ = method::ReplicaDigest(partition_, multipliers_);
  digest_valid_ = true;
  return digest_;
}

absl::Status Replica::MeasureItems(Engine* engine, const TaskSpec& task, const TaskDataset& data,
                                   const method::BatchOrder& order, uint32_t first, uint32_t count,
                                   std::vector<method::ItemLosses>* items) {
  if (uint64_t{first} + count > spec_.items()) {
    return absl::InvalidArgumentError(
        absl::StrCat("items [", first, ", ", uint64_t{first} + count, ") of a step with ", spec_.items()));
  }
  items->assign(count, {});
  // Items of one micro-batch share their passes: item probe · micro_batches + m, so those of m are every
  // micro_batches-th.
  for (uint32_t m = 0; m < spec_.micro_batches; ++m) {
    const auto probes_below = [&](uint32_t item) { return (item + spec_.micro_batches - 1 - m) / spec_.micro_batches; };
    const uint32_t probe_begin = probes_below(first), probe_end = probes_below(first + count);
    if (probe_begin == probe_end) continue;
    order.Rows(step_, m, &rows_);
    examples_.clear();
    for (const int32_t row : rows_) examples_.push_back(&data.example(row));
    lanes_->SetProbes(probe_begin, probe_end - probe_begin);
    QZO_RETURN_IF_ERROR(engine->Losses(task.kind, examples_, lanes_.get(), &losses_));
    for (uint32_t probe = probe_begin; probe < probe_end; ++probe) {
      method::ItemLosses& item = (*items)[probe * spec_.micro_batches + m - first];
      const ExampleLoss* plus = losses_.data() + size_t{2} * (probe - probe_begin) * examples_.size();
      const ExampleLoss* minus = plus + examples_.size();
      for (size_t i = 0; i < examples_.size(); ++i) {
        item.plus += plus[i].loss;
        item.minus += minus[i].loss;
        item.count += plus[i].count;
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<EvalSums> Replica::EvaluateRows(Engine* engine, const TaskSpec& task, const TaskDataset& data,
                                               absl::Span<const int32_t> rows) {
  examples_.clear();
  for (const int32_t row : rows) {
    if (row < 0 || row >= data.size()) {
      return absl::InvalidArgumentError(absl::StrCat("row ", row, " of a dataset of ", data.size()));
    }
    examples_.push_back(&data.example(row));
  }
  const std::unique_ptr<LaneSource> lane = CurrentLane();
  QZO_RETURN_IF_ERROR(engine->Losses(task.kind, examples_, lane.get(), &losses_));
  EvalSums sums;
  sums.rows = static_cast<int64_t>(rows.size());
  const bool classification = task.kind == TaskKind::kClassification;
  const size_t classes = task.options.size();
  if (classification) sums.confusion.assign(classes * classes, 0);
  for (size_t i = 0; i < examples_.size(); ++i) {
    sums.loss_sum += losses_[i].loss;
    sums.loss_count += losses_[i].count;
    if (!classification) continue;
    QZO_CHECK(examples_[i]->branches.size() == classes);
    ++sums.confusion[static_cast<size_t>(examples_[i]->label) * classes + static_cast<size_t>(losses_[i].predicted)];
  }
  return sums;
}

std::unique_ptr<LaneSource> Replica::CurrentLane() const { return std::make_unique<CurrentLanes>(*this); }

}  // namespace qzo::model
