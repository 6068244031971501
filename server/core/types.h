// What goes into the coordinator's core and what comes out: plain data, no gRPC, no store, no clock.
#ifndef QZO_SERVER_CORE_TYPES_H_
#define QZO_SERVER_CORE_TYPES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "method/journal.h"
#include "method/rule.h"
#include "method/spec.h"
#include "model/tasks/evaluation.h"
#include "server/core/split.h"

namespace qzo::server::core {

using JobHandle = uint32_t;  // names a job on the workers' streams; never reused by one coordinator process
using WorkerHandle = uint64_t;

enum class Split : uint8_t { kTrain = 1, kValidation = 2, kTest = 3 };
enum class JobState : uint8_t { kQueued = 1, kRunning = 2, kPaused = 3, kSucceeded = 4, kFailed = 5, kCancelled = 6 };
constexpr bool IsTerminal(JobState state) { return state >= JobState::kSucceeded; }

// Never changes while the job lives.
struct JobConfig {
  std::string project;
  method::MethodSpec method;
  int32_t priority = 0;
  uint32_t min_workers = 1;  // replicas: of a model in stages, as many pipelines
  std::string kind;          // "" = any
  uint32_t stages = 1;       // workers to a replica; 0 = one where a worker can hold it, else as few as can
  ModelShape shape;
  std::string base_model;         // digest
  uint32_t eval_steps = 0;        // 0 = only before the first step and after the last
  uint32_t patience = 0;          // 0 = no early stopping
  uint32_t snapshot_steps = 0;    // 0 = none
  uint32_t validation_items = 0;  // 0 = no such split
  uint32_t test_items = 0;
};

// One finished evaluation.
struct EvaluationRecord {
  uint32_t step = 0;
  Split split = Split::kValidation;
  model::EvalSums sums;
  uint64_t replica_digest = 0;
};

// What is known of a job when the core takes it over: all of it comes from the store.
struct JobHistory {
  uint32_t next_step = 0;  // steps in the journal
  method::RuleState rule;
  uint32_t non_finite_run = 0;  // trailing steps with a NaN projected gradient
  std::vector<EvaluationRecord> evaluations;
  bool paused = false;
};

// --- events
// ----------------------------------------------------------------------------------------------------------------

struct JobAdded {
  JobHandle job;
  JobConfig config;
  JobHistory history;
};
struct JobPaused {
  JobHandle job;
};
struct JobResumed {
  JobHandle job;
};
struct JobCancelled {
  JobHandle job;
};
// The job is dropped without a change of state: another coordinator owns it, or it was deleted.
struct JobRemoved {
  JobHandle job;
};
struct WorkerAttached {
  WorkerHandle worker;
  std::string kind;
  int64_t memory_bytes = 0;       // that models and replicas may take; 0 = it did not say
  bool stages = false;            // it can be a stage
  std::optional<JobHandle> only;  // serves that job alone: a pipeline
};
struct WorkerDetached {
  WorkerHandle worker;
  bool orderly;  // it had announced its leave: its items count as no failure of theirs
};
struct WorkerLeaving {
  WorkerHandle worker;
};
struct ReplicaReady {
  WorkerHandle worker;
  JobHandle job;
  uint32_t step;
  uint64_t digest;
  uint64_t pipeline = 0;  // see Stage; 0 = a replica of the whole
};
struct ItemResults {
  WorkerHandle worker;
  JobHandle job;
  uint32_t step;
  uint32_t first_item;
  std::vector<method::ItemLosses> losses;
  uint64_t digest;
};
struct EvaluationResults {
  WorkerHandle worker;
  JobHandle job;
  uint32_t step;
  Split split;
  uint32_t first_item;
  std::vector<model::EvalSums> sums;
  uint64_t digest;
};
struct ReplicaTrouble {
  WorkerHandle worker;
  JobHandle job;
  absl::Status status;
  uint64_t pipeline = 0;
};
// Why no worker can hold the job at present, so that it may say so; "" = some can.
struct WorkersShort {
  JobHandle job;
  std::string reason;
  std::string message;
};
// The store's answer to CommitStep.
struct StepStored {
  JobHandle job;
  uint32_t step;
  absl::Status status;  // ABORTED: another coordinator owns the job; anything else may be tried again
};
// The shell's answer to SaveResult.
struct ResultSaved {
  JobHandle job;
  absl::Status status;
};
struct Tick {};

using Event = std::variant<JobAdded, JobPaused, JobResumed, JobCancelled, JobRemoved, WorkerAttached, WorkerDetached,
                           WorkerLeaving, ReplicaReady, ItemResults, EvaluationResults, ReplicaTrouble, WorkersShort,
                           StepStored, ResultSaved, Tick>;

// --- actions
// ---------------------------------------------------------------------------------------------------------------

// The part of a pipeline that a worker is.
struct Stage {
  uint64_t pipeline = 0;  // another number each time that the pipeline's replica is made anew
  uint32_t index = 0;
  uint32_t count = 0;
  LayerRange layers;
  WorkerHandle previous = 0;  // that sends to it; 0 = it is the first
  WorkerHandle next = 0;      // that it sends to; 0 = it is the last
};
// Make the worker's replica anew at `step`; without a stage, of the whole.
struct OpenReplica {
  WorkerHandle worker;
  JobHandle job;
  uint32_t step;
  std::optional<Stage> stage = std::nullopt;
};
struct CloseReplica {
  WorkerHandle worker;
  JobHandle job;
};
// Coefficients of step − 1 (empty: none), then items of `step`; item_count 0 = commit only.
struct SendWork {
  WorkerHandle worker;
  JobHandle job;
  uint32_t step;
  std::vector<float> coefficients;
  std::optional<Split> evaluate;  // nothing: training items
  uint32_t first_item;
  uint32_t item_count;
};
struct RequestSnapshot {
  WorkerHandle worker;
  JobHandle job;
  uint32_t step;
};
// Make the step durable, then answer with StepStored. Nothing of it is broadcast before.
struct CommitStep {
  JobHandle job;
  method::StepRecord record;
  method::RuleState state_after;
};
// A step is durable: for events and metrics.
struct StepCommitted {
  JobHandle job;
  uint32_t step;  // steps in the journal now
  double train_loss;
  double learning_rate;
  double gradient_rms;
  absl::Duration duration;      // from the step's plan to its durability
  absl::Duration collect_wait;  // from the first answer to the last
  uint32_t workers;             // that answered
};
// Make the evaluation durable. It needs no answer: a lost one is measured again.
struct SaveEvaluation {
  JobHandle job;
  EvaluationRecord record;
};
// Build and store the adapter at `step`, then answer with ResultSaved.
struct SaveResult {
  JobHandle job;
  uint32_t step;
  uint64_t replica_digest;
};
struct StateChanged {
  JobHandle job;
  JobState state;
  std::string reason;   // UPPER_SNAKE
  std::string message;  // for people
  absl::Status error;   // kFailed only
};
// Something worth a metric, a log line and perhaps an event of the job.
struct Observed {
  enum class Kind : uint8_t {
    kAccepted,
    kLate,
    kDuplicate,
    kNonFinite,
    kMismatch,  // answers of items, `count` of them
    kDivergence,
    kReassigned,
    kDuplicated,
    kReplicaLost,
    kTrouble,
  };
  Kind kind;
  JobHandle job;
  WorkerHandle worker;
  uint32_t count = 1;
  std::string message;
};

// Workers that hold a job's model between them, in the order of its layers.
struct StageHolder {
  WorkerHandle worker = 0;
  LayerRange layers;
};
struct PipelineFormed {
  JobHandle job;
  std::vector<StageHolder> stages;
};
// It ended before its job did, and another is formed of who is there.
struct PipelineLost {
  enum class Cause : uint8_t { kWorkerGone, kWorkerLeft, kLink, kTrouble, kLate };
  JobHandle job;
  WorkerHandle worker;  // whose stage ended it; it may be gone
  uint32_t index;       // of that stage
  Cause cause;
  std::string message;  // of the trouble
};

using Action = std::variant<OpenReplica, CloseReplica, SendWork, RequestSnapshot, CommitStep, StepCommitted,
                            SaveEvaluation, SaveResult, StateChanged, Observed, PipelineFormed, PipelineLost>;

}  // namespace qzo::server::core

#endif  // QZO_SERVER_CORE_TYPES_H_
