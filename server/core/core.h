// The coordinator's decisions as a pure state machine: Handle(event, now) changes the state and appends actions. No
// gRPC, no thread, no clock, no I/O, no randomness: the same events give the same actions, so every failure schedule is
// a fast test. Thread-compatible: the shell (server/coordinator.h) holds a mutex.
//
// Life of a step: a unit is planned at the job's step and its items go to idle workers with a ready replica; answers
// come in; complete, it becomes a CommitStep; once StepStored says that is durable, the commit travels with the next
// items. Replicas that get no items lag one commit behind and get it when the next one is made.
#ifndef QZO_SERVER_CORE_CORE_H_
#define QZO_SERVER_CORE_CORE_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/core/history.h"
#include "server/core/types.h"
#include "server/core/unit.h"

namespace qzo::server::core {

struct CoreOptions {
  absl::Duration prepare_timeout = absl::Minutes(10);
  absl::Duration trouble_backoff = absl::Seconds(10);  // before a worker is asked again to hold a job it failed at
  absl::Duration store_retry = absl::Seconds(1);
  absl::Duration least_deadline = absl::Seconds(2);  // of an assignment, however fast items usually are
  absl::Duration first_deadline = absl::Minutes(5);  // while nothing is known of a job's items
  int max_replicas_per_worker = 64;
  uint32_t non_finite_limit = 10;  // steps in a row
  int trouble_limit = 3;           // in a row, without any answer between
  int divergence_limit = 3;        // of one step
};

// What the shell shows of a job.
struct JobStatus {
  JobState state = JobState::kQueued;
  std::string reason;
  uint32_t next_step = 0;
  uint32_t ready_workers = 0;
};

// Whether a worker with so much memory is asked for a replica of the whole model; 0 = it did not say.
bool HoldsWhole(const JobConfig& config, int64_t memory_bytes);

class Core {
 public:
  explicit Core(const CoreOptions& options) : options_(options) {}

  void Handle(const Event& event, absl::Duration now, std::vector<Action>* actions);

  // nullopt for jobs that have ended or were never added.
  std::optional<JobStatus> StatusOf(JobHandle job) const;
  std::vector<JobHandle> JobsOf(WorkerHandle worker) const;
  // Replicas that the job has, and how many more it could use.
  uint32_t ReplicasHeld(JobHandle job) const;
  uint32_t ReplicasWanted(JobHandle job) const;

 private:
  struct Replica {
    bool ready = false;
    uint32_t step = 0;  // where it stands once it has processed everything that was sent
    absl::Duration opened;
  };
  struct Busy {
    JobHandle job = 0;
    uint32_t step = 0;
    std::optional<Split> evaluate;
    uint32_t first = 0;
    uint32_t count = 0;
    absl::Duration sent;
  };
  struct Worker {
    std::string kind;
    int64_t memory_bytes = 0;
    std::optional<JobHandle> only;
    bool leaving = false;
    std::map<JobHandle, Replica> replicas;
    std::optional<Busy> busy;
    std::map<JobHandle, double> seconds_per_item;    // moving average
    std::map<JobHandle, absl::Duration> not_before;  // after trouble
  };
  struct Job {
    JobConfig config;
    JobState state = JobState::kQueued;
    std::string reason;
    std::string message;       // of the reason
    std::string short_reason;  // why no worker can hold it; "" = some can
    std::string short_message;
    uint32_t next_step = 0;
    method::RuleState rule;
    uint32_t non_finite_run = 0;
    std::vector<EvaluationRecord> evaluations;
    std::optional<Unit> unit;
    std::set<WorkerHandle> duplicated;       // assignments of the unit that have been given out twice
    std::optional<uint64_t> digest;          // of replicas at the unit's step
    std::vector<float> last_coefficients;    // of step next_step − 1, for replicas that lag
    std::optional<CommitStep> committing;    // submitted and not yet answered
    std::optional<StepCommitted> committed;  // what to tell once it is
    std::optional<SaveResult> saving;
    std::optional<absl::Duration> retry_at;  // submit `committing` or `saving` again then
    std::deque<double> item_seconds;         // recent, for the deadline
    std::deque<double> evaluation_seconds;
    int troubles = 0;
    int divergences = 0;      // since the last committed step
    double virtual_time = 0;  // worker-seconds spent, for fair shares
  };
  using Actions = std::vector<Action>;

  void On(const JobAdded& event);
  void On(const JobPaused& event);
  void On(const JobResumed& event);
  void On(const JobCancelled& event);
  void On(const JobRemoved& event);
  void On(const WorkerAttached& event);
  void On(const WorkerDetached& event);
  void On(const WorkerLeaving& event);
  void On(const ReplicaReady& event);
  void On(const ItemResults& event);
  void On(const EvaluationResults& event);
  void On(const ReplicaTrouble& event);
  void On(const WorkersShort& event);
  void On(const StepStored& event);
  void On(const ResultSaved& event);
  void On(const Tick& event);

  // Answers of one message; `at(i)` is item first + i.
  template <typename At>
  void TakeAnswers(WorkerHandle worker, JobHandle job, uint32_t step, std::optional<Split> split, uint32_t first,
                   uint32_t count, uint64_t digest, At at);
  void Complete(JobHandle handle, Job& job);
  void CompleteTraining(JobHandle handle, Job& job);
  void Diverged(JobHandle handle, Job& job, const std::string& message);

  // Plans and hands out whatever can be.
  void Dispatch();
  void OpenReplicas();
  // True when the job had nothing to measure any more and went over to saving its result.
  bool FinishIfDone(JobHandle handle, Job& job);
  void PlanUnit(JobHandle handle, Job& job);
  void HandOut(JobHandle handle, Job& job, const std::vector<WorkerHandle>& candidates);
  void Send(WorkerHandle worker, JobHandle handle, Job& job, uint32_t first, uint32_t count);
  void DuplicateLateItems(JobHandle handle, Job& job);
  void UpdateReason(JobHandle handle, Job& job);

  uint32_t TargetStep(const Job& job) const;
  bool MayHold(const Worker& worker, JobHandle handle, const Job& job) const;
  bool CanServe(const Worker& worker, JobHandle handle, const Job& job, uint32_t step) const;
  absl::Duration Deadline(const Job& job, uint32_t count) const;
  void Open(WorkerHandle worker_handle, Worker& worker, JobHandle handle, uint32_t step);
  // Forgets the open unit. Workers that are still at it stay busy until they answer (late) or their replica is
  // replaced.
  static void DropUnit(Job& job);
  void CloseAll(JobHandle handle);
  // Returns an item that has ended too many workers.
  std::optional<uint32_t> DropReplica(WorkerHandle worker_handle, Worker& worker, JobHandle handle, bool failure);
  void SetState(JobHandle handle, Job& job, JobState state, const std::string& reason, const std::string& message,
                absl::Status error = absl::OkStatus());
  void Fail(JobHandle handle, Job& job, const std::string& reason, const absl::Status& error);
  void Observe(Observed::Kind kind, JobHandle job, WorkerHandle worker, uint32_t count, std::string message = "");
  uint32_t ReadyReplicas(JobHandle handle) const;
  template <typename Function>
  void ForEachReplica(JobHandle handle, Function function);

  const CoreOptions options_;
  std::map<WorkerHandle, Worker> workers_;
  std::map<JobHandle, Job> jobs_;
  std::map<std::string, double> project_time_;  // worker-seconds spent per project
  bool replicas_wanted_ = false;                // something changed that OpenReplicas should look at
  absl::Duration now_;                          // of the event being handled
  Actions* out_ = nullptr;
};

template <typename Function>
void Core::ForEachReplica(JobHandle handle, Function function) {
  for (auto& [worker_handle, worker] : workers_) {
    const auto it = worker.replicas.find(handle);
    if (it != worker.replicas.end()) function(worker_handle, worker, it->second);
  }
}

}  // namespace qzo::server::core

#endif  // QZO_SERVER_CORE_CORE_H_
