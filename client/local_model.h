// A model file and, optionally, an adapter on this machine: what generate, classify, eval, verify and export share.
#ifndef QZO_CLIENT_LOCAL_MODEL_H_
#define QZO_CLIENT_LOCAL_MODEL_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "method/adapter.h"
#include "model/graph/engine.h"
#include "model/graph/model.h"
#include "model/graph/replica.h"
#include "model/tasks/evaluation.h"
#include "model/tasks/task.h"
#include "qzo/v1/job.pb.h"

namespace qzo::client {

// Thread-compatible.
class LocalModel {
 public:
  // `threads` as for ThreadPool. With an adapter its journal is replayed, or its multipliers taken over. Possible
  // errors: those of Model::Load; FAILED_PRECONDITION when the adapter was made for another model; DATA_LOSS when the
  // replica that results is not the one the adapter names.
  static absl::StatusOr<std::unique_ptr<LocalModel>> Load(const std::string& path, const method::Adapter* adapter,
                                                          int threads, kernels::Arithmetic arithmetic);

  const model::Model& model() const { return *model_; }
  const kernels::Kernels& kernels() const { return kernels_; }
  kernels::Arithmetic arithmetic() const { return arithmetic_; }
  kernels::ThreadPool* pool() { return &pool_; }
  model::Replica& replica() { return *replica_; }  // at the adapter's step; all ones without an adapter
  model::Engine& engine() { return engine_; }
  model::LaneSource* lane() { return lane_.get(); }

  // Sums over every row of a JSON Lines file.
  absl::StatusOr<model::EvalSums> Evaluate(const model::TaskSpec& task, const std::string& dataset_path);

  // What a step of a resolved job takes here, from measuring a few of its items.
  absl::StatusOr<absl::Duration> MeasureStep(const v1::JobSpec& job, const std::string& dataset_path,
                                             const base::Clock& clock);

 private:
  LocalModel(std::unique_ptr<model::Model> model, int threads, kernels::Arithmetic arithmetic);

  const std::unique_ptr<model::Model> model_;
  const kernels::Arithmetic arithmetic_;
  const kernels::Kernels& kernels_;
  kernels::ThreadPool pool_;
  model::Engine engine_;
  std::unique_ptr<model::Replica> replica_;
  std::unique_ptr<model::LaneSource> lane_;
};

// The task that a job's author described, out of the adapter. NOT_FOUND when the adapter names none.
absl::StatusOr<v1::Task> TaskOf(const method::Adapter& adapter);

// Chosen for the vocabulary where `task` leaves it open.
absl::StatusOr<model::TaskSpec> TaskFor(const model::Model& model, v1::Task task);

// What a replay of an adapter's journal has shown.
struct VerifyReport {
  uint32_t steps = 0;
  int64_t multipliers = 0;
  int64_t deltas = 0;
  uint64_t replica_digest = 0;
  bool digest_recorded = false;  // whether the adapter named one to compare with
};

// Checks that every coefficient follows from the measured gradients by the method's rule, then replays the journal and
// compares the replica. Possible errors: FAILED_PRECONDITION (no journal, another model), DATA_LOSS (does not hold).
absl::StatusOr<VerifyReport> VerifyAdapter(const std::string& model_path, const method::Adapter& adapter, int threads);

}  // namespace qzo::client

#endif  // QZO_CLIENT_LOCAL_MODEL_H_
