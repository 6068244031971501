#include "worker/job.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "method/partition.h"
#include "proto/spec_convert.h"
#include "worker/process.h"

namespace qzo::worker {
namespace {

static_assert(std::endian::native == std::endian::little, "snapshots are little-endian fp32");

absl::StatusOr<model::TaskDataset> LoadDataset(const char* what, const std::string& digest, const model::TaskSpec& task,
                                               const model::Tokenizer& tokenizer, ModelCache* cache,
                                               BlobSource* blobs) {
  QZO_ASSIGN_OR_RETURN(const std::string jsonl, cache->ReadDataset(digest, blobs));
  model::DatasetReport report;
  return model::TaskDataset::Load(task, tokenizer, jsonl, absl::StrCat(what, " dataset ", digest), &report);
}

int64_t Tokens(const model::Example& example) {
  size_t tokens = example.prompt.size();
  for (const std::vector<int32_t>& branch : example.branches) tokens += branch.size();
  return static_cast<int64_t>(tokens);
}

int64_t EvaluationItems(const std::vector<int32_t>& rows) {
  return (static_cast<int64_t>(rows.size()) + method::kRowsPerEvaluationItem - 1) / method::kRowsPerEvaluationItem;
}

// Whether items [first, first + count) are among `all`.
absl::Status CheckItems(uint32_t first, uint32_t count, int64_t all) {
  if (int64_t{first} + count <= all) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("items [", first, ", ", int64_t{first} + count, "): expected items below ", all));
}

void AddItem(const method::ItemLosses& item, v1::Results* results) {
  results->add_losses(item.plus);
  results->add_losses(item.minus);
  results->add_counts(static_cast<uint32_t>(item.count));
}

// One count stands for all when they are equal: most steps of most jobs.
void ShortenCounts(v1::Results* results) {
  auto* counts = results->mutable_counts();
  if (std::all_of(counts->begin(), counts->end(), [&](uint32_t count) { return count == counts->Get(0); })) {
    counts->Truncate(std::min(1, counts->size()));
  }
}

}  // namespace

Job::Job(const v1::OpenJob& open, const method::MethodSpec& spec, const model::TaskSpec& task,
         model::TaskDataset training, std::shared_ptr<ModelEngine> engine, const Workshop& workshop, Stage* stage)
    : handle_(open.job()),
      name_(open.name()),
      spec_(spec),
      task_(task),
      workshop_(workshop),
      stage_(stage),
      engine_(std::move(engine)),
      training_(std::move(training)),
      order_(spec_, open.spec().training_digest(), training_.rows_by_label()) {}

Job::~Job() { *workshop_.replica_bytes -= reserved_bytes_; }

absl::StatusOr<std::unique_ptr<Job>> Job::Load(const v1::OpenJob& open, std::shared_ptr<ModelEngine> engine,
                                               const Workshop& workshop, ModelCache* cache, BlobSource* blobs,
                                               Stage* stage) {
  QZO_ASSIGN_OR_RETURN(const method::MethodSpec spec, rpc::ToMethodSpec(open.spec().method()));
  QZO_ASSIGN_OR_RETURN(const model::TaskSpec task, rpc::ToTaskSpec(open.spec().task()));
  QZO_ASSIGN_OR_RETURN(model::TaskDataset training, LoadDataset("training", open.spec().training_digest(), task,
                                                                engine->model->tokenizer(), cache, blobs));
  std::unique_ptr<Job> job(new Job(open, spec, task, std::move(training), std::move(engine), workshop, stage));
  QZO_RETURN_IF_ERROR(job->ReserveMemory(cache->mapped_bytes()));
  QZO_RETURN_IF_ERROR(job->LoadEvaluationSets(open.spec(), cache, blobs));
  QZO_RETURN_IF_ERROR(job->LoadHistory(open, blobs));
  return job;
}

absl::Status Job::ReserveMemory(int64_t mapped_bytes) {
  const method::Partition partition = model::Replica::PartitionOf(*engine_->model, spec_);
  const int64_t units = spec_.mode == method::Mode::kAbsolute ? partition.multipliers() : 0;
  const int64_t bytes = (partition.values() + units) * static_cast<int64_t>(sizeof(float));
  const int64_t taken = mapped_bytes + *workshop_.replica_bytes;
  if (taken + bytes > workshop_.memory_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a replica of ", name_, " needs ", base::HumanBytes(static_cast<uint64_t>(bytes)),
                     "; models and replicas take ", base::HumanBytes(static_cast<uint64_t>(taken)), " of the ",
                     base::HumanBytes(static_cast<uint64_t>(workshop_.memory_bytes)), " that this worker may use"));
  }
  reserved_bytes_ = bytes;
  *workshop_.replica_bytes += bytes;
  return absl::OkStatus();
}

absl::Status Job::LoadEvaluationSets(const v1::JobSpec& spec, ModelCache* cache, BlobSource* blobs) {
  const model::Tokenizer& tokenizer = engine_->model->tokenizer();
  training_rows_ = method::EvaluationRows(spec_.seed, method::Sampling::kShuffled, training_.rows_by_label(),
                                          method::kRowsPerEvaluationItem);
  if (const std::string& digest = spec.validation_digest(); !digest.empty()) {
    QZO_ASSIGN_OR_RETURN(validation_, LoadDataset("validation", digest, task_, tokenizer, cache, blobs));
    validation_rows_ =
        method::EvaluationRows(spec_.seed, spec_.sampling, validation_.rows_by_label(), spec.evaluation().eval_rows());
  }
  if (const std::string& digest = spec.test_digest(); !digest.empty()) {
    QZO_ASSIGN_OR_RETURN(test_, LoadDataset("test", digest, task_, tokenizer, cache, blobs));
    test_rows_ = method::EvaluationRows(spec_.seed, method::Sampling::kShuffled, test_.rows_by_label(), /*limit=*/0);
  }
  return absl::OkStatus();
}

absl::Status Job::LoadHistory(const v1::OpenJob& open, BlobSource* blobs) {
  if (!open.snapshot_blob().empty()) {
    QZO_ASSIGN_OR_RETURN(const std::string bytes, FetchVerified(blobs, open.snapshot_blob()));
    if (bytes.empty() || bytes.size() % sizeof(float) != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("snapshot ", open.snapshot_blob(), ": ", bytes.size(), " bytes, expected fp32 numbers"));
    }
    snapshot_.resize(bytes.size() / sizeof(float));
    std::memcpy(snapshot_.data(), bytes.data(), bytes.size());
    snapshot_step_ = open.snapshot_step();
    QZO_RETURN_IF_ERROR(CutSnapshot());
  }
  std::string_view rest = open.journal();
  uint32_t step = snapshot_step_;
  while (!rest.empty()) {
    QZO_ASSIGN_OR_RETURN(method::JournalChunk chunk, method::DecodeChunk(&rest));
    for (method::StepRecord& record : chunk.records) {
      if (record.step < step && tail_.empty())
        continue;  // a chunk may begin before the snapshot, which holds these steps
      if (record.step != step++) {
        return absl::DataLossError(
            absl::StrCat("journal of ", name_, ": step ", record.step, " found, expected step ", step - 1));
      }
      tail_.push_back(std::move(record));
    }
  }
  if (step != open.step()) {
    return absl::DataLossError(absl::StrCat("journal of ", name_, ": ends at step ", step, ", expected ", open.step()));
  }
  return absl::OkStatus();
}

absl::Status Job::CutSnapshot() {
  const model::Model& model = *engine_->model;
  if (model.whole()) return absl::OkStatus();
  const int64_t all = model.info().PartitionFor(spec_).values();
  if (static_cast<int64_t>(snapshot_.size()) != all) {
    return absl::InvalidArgumentError(
        absl::StrCat("snapshot: ", snapshot_.size(), " multipliers, expected the partition's ", all));
  }
  const method::Partition slice = model::Replica::PartitionOf(model, spec_);
  const auto begin = snapshot_.begin() + slice.first_value();
  snapshot_ = std::vector<float>(begin, begin + slice.values());
  return absl::OkStatus();
}

absl::Status Job::Compute(const std::function<absl::Status()>& work) {
  if (stage_ == nullptr) return work();
  absl::Status result;
  QZO_RETURN_IF_ERROR(stage_->Compute([&] { result = work(); }));
  return result;
}

absl::StatusOr<bool> Job::Replay(absl::Duration slice) {
  bool done = false;
  QZO_RETURN_IF_ERROR(Compute([&]() -> absl::Status {
    QZO_ASSIGN_OR_RETURN(done, ReplayNow(slice));
    return absl::OkStatus();
  }));
  return done;
}

absl::StatusOr<bool> Job::ReplayNow(absl::Duration slice) {
  const absl::Duration begin = workshop_.clock->Monotonic();
  if (replica_ == nullptr) {
    QZO_ASSIGN_OR_RETURN(replica_, model::Replica::Create(*engine_->model, spec_, *workshop_.kernels, workshop_.pool));
    if (!snapshot_.empty()) QZO_RETURN_IF_ERROR(replica_->Restore(snapshot_step_, snapshot_));
    snapshot_ = {};
  }
  while (replayed_ < tail_.size()) {
    QZO_RETURN_IF_ERROR(replica_->Apply(tail_[replayed_++].coefficients));
    workshop_.metrics->replay_entries.Increment();
    if (workshop_.clock->Monotonic() - begin >= slice) break;
  }
  replay_time_ += workshop_.clock->Monotonic() - begin;
  if (replayed_ < tail_.size()) return false;
  tail_ = {};
  replayed_ = 0;
  workshop_.metrics->replay_duration.Observe(absl::ToDoubleSeconds(replay_time_));
  return true;
}

v1::ReplicaReady Job::Ready() const {
  v1::ReplicaReady ready;
  ready.set_job(handle_);
  ready.set_step(replica_->step());
  ready.set_digest(replica_->digest());
  ready.set_resident_memory_bytes(PeakResidentBytes());
  if (stage_ != nullptr) ready.set_pipeline(stage_->plan().pipeline());
  return ready;
}

absl::Status Job::Advance(uint32_t step, absl::Span<const float> coefficients) {
  const uint32_t from = replica_->step();
  if (from + (coefficients.empty() ? 0 : 1) != step) {
    return absl::AbortedError(absl::StrCat("out of step: the replica is at step ", from, ", the message for step ",
                                           step, coefficients.empty() ? " has no" : " has", " coefficients"));
  }
  if (coefficients.empty()) return absl::OkStatus();
  return Compute([&] { return replica_->Apply(coefficients); });
}

absl::StatusOr<uint64_t> Job::BeginPasses() {
  if (stage_ == nullptr) return replica_->digest();
  return stage_->Begin(replica_->step(), replica_->digest());
}

int64_t Job::ItemTokens(uint32_t item) const {
  int64_t tokens = 0;
  for (const int32_t row : order_.Rows(replica_->step(), item % spec_.micro_batches)) {
    tokens += Tokens(training_.example(row));
  }
  return 2 * tokens;  // a probe's two lanes
}

absl::StatusOr<v1::Results> Job::Measure(const v1::Work& work, const std::atomic<bool>& closed) {
  QZO_RETURN_IF_ERROR(Advance(work.step(), work.coefficients()));
  QZO_RETURN_IF_ERROR(CheckItems(work.first_item(), work.item_count(), spec_.items()));
  v1::Results results;
  if (work.item_count() == 0) return results;
  results.set_job(handle_);
  results.set_step(work.step());
  results.set_first_item(work.first_item());
  QZO_ASSIGN_OR_RETURN(const uint64_t digest, BeginPasses());
  results.set_digest(digest);
  for (uint32_t item = work.first_item(); item < work.first_item() + work.item_count(); ++item) {
    if (closed) return absl::CancelledError("the job was closed");
    const absl::Duration begin = workshop_.clock->Monotonic();
    QZO_RETURN_IF_ERROR(replica_->MeasureItems(&engine_->engine, task_, training_, order_, item, 1, &losses_));
    if (!answers()) continue;
    AddItem(losses_.front(), &results);
    workshop_.metrics->items.Increment();
    workshop_.metrics->tokens.Increment(static_cast<double>(ItemTokens(item)));
    workshop_.metrics->item_duration.Observe(absl::ToDoubleSeconds(workshop_.clock->Monotonic() - begin));
  }
  ShortenCounts(&results);
  return results;
}

absl::StatusOr<v1::EvalResults> Job::Evaluate(const v1::EvalWork& work, const std::atomic<bool>& closed) {
  QZO_RETURN_IF_ERROR(Advance(work.step(), work.coefficients()));
  if (work.split() < v1::TRAIN || work.split() > v1::TEST) {
    return absl::InvalidArgumentError(
        absl::StrCat("split ", static_cast<int>(work.split()), ": expected TRAIN, VALIDATION or TEST"));
  }
  const model::TaskDataset& data = work.split() == v1::TEST         ? test_
                                   : work.split() == v1::VALIDATION ? validation_
                                                                    : training_;
  const std::vector<int32_t>& all = work.split() == v1::TEST         ? test_rows_
                                    : work.split() == v1::VALIDATION ? validation_rows_
                                                                     : training_rows_;
  QZO_RETURN_IF_ERROR(CheckItems(work.first_item(), work.item_count(), EvaluationItems(all)));
  const absl::Span<const int32_t> rows = all;
  v1::EvalResults results;
  results.set_job(handle_);
  results.set_step(work.step());
  results.set_split(work.split());
  results.set_first_item(work.first_item());
  QZO_ASSIGN_OR_RETURN(const uint64_t digest, BeginPasses());
  results.set_digest(digest);
  for (uint32_t item = work.first_item(); item < work.first_item() + work.item_count(); ++item) {
    if (closed) return absl::CancelledError("the job was closed");
    const absl::Span<const int32_t> slice =
        rows.subspan(size_t{item} * method::kRowsPerEvaluationItem, method::kRowsPerEvaluationItem);
    QZO_ASSIGN_OR_RETURN(const model::EvalSums sums, replica_->EvaluateRows(&engine_->engine, task_, data, slice));
    if (!answers()) continue;
    v1::EvalResults::Item* out = results.add_items();
    out->set_loss_sum(sums.loss_sum);
    out->set_loss_count(sums.loss_count);
    out->set_rows(sums.rows);
    out->mutable_confusion()->Assign(sums.confusion.begin(), sums.confusion.end());
    for (const int32_t row : slice) workshop_.metrics->tokens.Increment(static_cast<double>(Tokens(data.example(row))));
  }
  results.set_resident_memory_bytes(PeakResidentBytes());
  return results;
}

absl::StatusOr<std::optional<Job::Snapshot>> Job::TakeSnapshot() {
  const absl::Span<const float> own = replica_->multipliers();
  Snapshot snapshot;
  snapshot.header.set_job(name_);
  snapshot.header.set_step(replica_->step());
  if (stage_ == nullptr) {
    snapshot.multipliers.assign(own.begin(), own.end());
    snapshot.header.set_digest(replica_->digest());
    return snapshot;
  }
  QZO_ASSIGN_OR_RETURN(snapshot.multipliers,
                       stage_->Collect(replica_->step(), replica_->partition().first_value(), own));
  if (!stage_->last()) return std::nullopt;
  const method::Partition whole = engine_->model->info().PartitionFor(spec_);
  snapshot.header.set_digest(method::ReplicaDigest(whole, snapshot.multipliers));
  return snapshot;
}

}  // namespace qzo::worker
