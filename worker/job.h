// A job at this worker: model, data and replica, and what the coordinator's messages do to them. Knows no threads and
// no stream; the agent calls it.
#ifndef QZO_WORKER_JOB_H_
#define QZO_WORKER_JOB_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "kernels/cuda/backend.h"
#include "method/batch_order.h"
#include "method/journal.h"
#include "model/graph/engine.h"
#include "model/graph/model.h"
#include "model/graph/replica.h"
#include "model/tasks/task.h"
#include "qzo/v1/worker.pb.h"
#include "worker/metrics.h"
#include "worker/model_cache.h"
#include "worker/stage.h"
#include "worker/transport.h"

namespace qzo::worker {

// What all jobs on a worker share; outlives them.
struct Workshop {
  const kernels::Kernels* kernels;
  kernels::ThreadPool* pool;
  const base::Clock* clock;
  Metrics* metrics;
  int64_t memory_bytes;                 // that model files and replicas may take together
  std::atomic<int64_t>* replica_bytes;  // that replicas take now
};

// A model and the engine whose buffers all its jobs use in turn.
struct ModelEngine {
  std::shared_ptr<const model::Model> model;
  std::unique_ptr<kernels::cuda::Gpu> gpu;  // its own stream of the device, where passes run on one
  model::Engine engine;
};

// Thread-compatible. Of Workshop::pool, Load makes no use, so that it may run beside another job's computations; a
// stage uses it in its turns (Stage::Compute), and may be called from a thread of its own.
class Job {
 public:
  // Everything before the first computation: data tokenized, journal decoded. `stage` is nullptr where the model is
  // whole; else it must outlive the job, and `engine` is of its layers. Possible errors: INVALID_ARGUMENT (settings,
  // data), DATA_LOSS (blobs, journal), RESOURCE_EXHAUSTED (no memory for another replica), what `blobs` returns.
  static absl::StatusOr<std::unique_ptr<Job>> Load(const v1::OpenJob& open, std::shared_ptr<ModelEngine> engine,
                                                   const Workshop& workshop, ModelCache* cache, BlobSource* blobs,
                                                   Stage* stage = nullptr);
  ~Job();
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  // Replays the journal for about `slice`; true when it has ended and the replica may be used.
  absl::StatusOr<bool> Replay(absl::Duration slice);
  v1::ReplicaReady Ready() const;

  // Each commits the coefficients, if any, then measures items until `closed`, which gives CANCELLED. ABORTED when the
  // replica is not where the message says. The result of a Work without items is empty, and of a stage that is not the
  // last it means nothing.
  absl::StatusOr<v1::Results> Measure(const v1::Work& work, const std::atomic<bool>& closed);
  absl::StatusOr<v1::EvalResults> Evaluate(const v1::EvalWork& work, const std::atomic<bool>& closed);

  // Whether this worker is the one that answers for the job.
  bool answers() const { return stage_ == nullptr || stage_->last(); }

  struct Snapshot {
    v1::PutSnapshotRequest::Header header;
    std::vector<float> multipliers;
  };
  // The multipliers as they are; at the last stage with those of the stages before. Nothing at other stages.
  absl::StatusOr<std::optional<Snapshot>> TakeSnapshot();

 private:
  Job(const v1::OpenJob& open, const method::MethodSpec& spec, const model::TaskSpec& task, model::TaskDataset training,
      std::shared_ptr<ModelEngine> engine, const Workshop& workshop, Stage* stage);

  absl::Status ReserveMemory(int64_t mapped_bytes);
  absl::Status LoadEvaluationSets(const v1::JobSpec& spec, ModelCache* cache, BlobSource* blobs);
  absl::Status LoadHistory(const v1::OpenJob& open, BlobSource* blobs);
  absl::Status CutSnapshot();  // to the layers that are here
  // Runs `work`, which uses the pool: now, or in a turn of the stage.
  absl::Status Compute(const std::function<absl::Status()>& work);
  absl::StatusOr<bool> ReplayNow(absl::Duration slice);
  absl::Status Advance(uint32_t step, absl::Span<const float> coefficients);
  // The digest of the replica's multipliers, and those of the stages before.
  absl::StatusOr<uint64_t> BeginPasses();
  int64_t ItemTokens(uint32_t item) const;

  // Constant once loaded.
  const uint32_t handle_;
  const std::string name_;
  const method::MethodSpec spec_;
  const model::TaskSpec task_;
  const Workshop workshop_;
  Stage* const stage_;
  const std::shared_ptr<ModelEngine> engine_;
  const model::TaskDataset training_;
  const method::BatchOrder order_;
  model::TaskDataset validation_;  // empty where the job has none
  model::TaskDataset test_;
  std::vector<int32_t> training_rows_;  // one item: enough to learn the replica digest of a job without other sets
  std::vector<int32_t> validation_rows_;
  std::vector<int32_t> test_rows_;

  int64_t reserved_bytes_ = 0;
  std::unique_ptr<model::Replica> replica_;  // made by the first Replay
  // What is yet to be replayed.
  uint32_t snapshot_step_ = 0;
  std::vector<float> snapshot_;  // empty: ones at step 0
  std::vector<method::StepRecord> tail_;
  size_t replayed_ = 0;
  absl::Duration replay_time_;

  std::vector<method::ItemLosses> losses_;  // of the item at hand
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_JOB_H_
