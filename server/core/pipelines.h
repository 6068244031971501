// Jobs whose model is held in stages: a layer in front of the core, which sees each pipeline as one worker that serves
// one job. It decides who forms a pipeline, spreads what the core asks of it over the members, and makes one answer of
// theirs; everything else passes through. Pure and deterministic as the core is; thread-compatible.
//
// Life of a pipeline: formed when a job wants another replica and enough workers of one kind are free; opened, as often
// as the core makes its replica anew, each time under another number; ready when all its stages are, with the sum of
// their digests. A member that is lost, leaves or has trouble ends it: the others close theirs, and another is formed
// of who is there. The core never learns of members, nor members of the core's view.
#ifndef QZO_SERVER_CORE_PIPELINES_H_
#define QZO_SERVER_CORE_PIPELINES_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "server/core/core.h"
#include "server/core/types.h"

namespace qzo::server::core {

class Pipelines {
 public:
  explicit Pipelines(const CoreOptions& options) : options_(options), core_(options) {}

  // As Core::Handle. Events come from workers and actions go to workers; handles of workers are below 2^63.
  void Handle(const Event& event, absl::Duration now, std::vector<Action>* actions);

  std::optional<JobStatus> StatusOf(JobHandle job) const { return core_.StatusOf(job); }
  // Of which the worker holds a replica, or a stage of one.
  std::vector<JobHandle> JobsOf(WorkerHandle worker) const;
  std::vector<std::vector<StageHolder>> PipelinesOf(JobHandle job) const;

 private:
  struct Worker {
    std::string kind;
    int64_t memory_bytes = 0;
    bool stages = false;
    bool leaving = false;
    std::map<JobHandle, WorkerHandle> pipelines;     // that it is a member of, by job
    std::map<JobHandle, absl::Duration> not_before;  // after trouble
    std::map<JobHandle, int> links_lost;             // pipelines that it was in: others are rather tried
  };
  struct Pipeline {
    JobHandle job = 0;
    std::vector<StageHolder> stages;
    uint64_t number = 0;  // see Stage; 0 until it is opened, as soon as the core knows of it
    uint32_t step = 0;
    absl::Duration opened;
    std::vector<bool> ready;
    uint64_t digest = 0;  // sum over the stages that are
    bool IsReady() const;
  };
  struct Job {
    JobConfig config;
    // After a link was lost: when the next pipeline may be formed, and how long that waited. An answer ends the series.
    absl::Duration form_not_before;
    absl::Duration backoff;
    std::pair<std::string, std::string> told;  // reason and message of WorkersShort
  };

  void On(const JobAdded& event);
  void On(const JobResumed& event);
  void On(const WorkerAttached& event);
  void On(const WorkerDetached& event);
  void On(const WorkerLeaving& event);
  void On(const ReplicaReady& event);
  void On(const ItemResults& event);
  void On(const EvaluationResults& event);
  void On(const ReplicaTrouble& event);
  void On(const Tick& event);
  template <typename Other>
  void On(const Other& event);

  // Hands the event to the core and carries out what it says.
  void Pass(const Event& event);
  void Translate(const OpenReplica& action);
  void Translate(const CloseReplica& action);
  void Translate(const SendWork& action);
  void Translate(const RequestSnapshot& action);
  void Translate(const Observed& action);
  template <typename Other>
  void Translate(const Other& action);

  template <typename Results>
  void PassResults(Results event);
  // The pipeline of that number and the index of the worker in it; nullptr for one that has ended or was made anew.
  std::pair<WorkerHandle, Pipeline*> Find(WorkerHandle worker, JobHandle job, uint64_t number, uint32_t* index);
  // The member at `index` ended it. `orderly`: no failure of the items that were being measured.
  void Lose(WorkerHandle handle, uint32_t index, PipelineLost::Cause cause, bool orderly,
            const absl::Status& status = absl::OkStatus());
  void LoseAllOf(WorkerHandle worker, PipelineLost::Cause cause, bool orderly);
  // Takes it out of the books.
  Pipeline Remove(WorkerHandle handle);

  // Forms what pipelines can be formed, and tells jobs that lack workers why.
  void Form();
  // All that the job wants, as far as workers go; none as long as it would have fewer than its least number, for what
  // waits must keep no memory from what could run. Returns why there are none, or "".
  std::pair<std::string, std::string> FormFor(JobHandle handle, const Job& job);
  void Attach(JobHandle handle, std::vector<StageHolder> stages);
  std::vector<std::vector<StageHolder>> PlanAll(JobHandle handle, const Job& job);
  // A pipeline of some of the candidates, which it takes from there.
  std::optional<std::vector<StageHolder>> Plan(const JobConfig& config, std::vector<WorkerHandle>* candidates) const;
  std::pair<std::string, std::string> Shortage(JobHandle handle, const Job& job) const;
  // Workers that could be stages of the job now, by kind, the less occupied first, of equals those that lost fewer
  // links: somebody whom no other worker reaches is left out sooner or later.
  std::map<std::string, std::vector<WorkerHandle>> Candidates(JobHandle handle, const Job& job);
  bool IsBarred(const Worker& worker, JobHandle handle) const;
  int64_t FreeMemory(WorkerHandle handle, const Worker& worker) const;
  bool Usable(const Worker& worker, const JobConfig& config) const;
  void RetryAt(absl::Duration time);

  const CoreOptions options_;
  Core core_;
  std::map<WorkerHandle, Worker> workers_;
  std::map<JobHandle, Job> jobs_;  // that have not ended
  std::map<WorkerHandle, Pipeline> pipelines_;
  std::set<WorkerHandle> dissolved_;                // closed by the core, which is yet to be told that they are gone
  std::map<WorkerHandle, WorkerHandle> spokesmen_;  // of pipelines that end in this event: whom the core speaks of
  uint64_t next_pipeline_ = 0;
  uint64_t next_number_ = 1;
  bool wanted_ = false;                     // something changed that Form should look at
  std::optional<absl::Duration> retry_at_;  // when time alone may change something
  absl::Duration now_;                      // of the event being handled
  std::vector<Action>* out_ = nullptr;
};

}  // namespace qzo::server::core

#endif  // QZO_SERVER_CORE_PIPELINES_H_
