// The inside of Coordinator: see coordinator.h. Split over coordinator.cc (jobs: what services call),
// coordinator_workers.cc, coordinator_actions.cc (carrying out what the core decides) and coordinator_pipelines.cc.
#ifndef QZO_SERVER_COORDINATOR_IMPL_H_
#define QZO_SERVER_COORDINATOR_IMPL_H_

#include <deque>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "server/coordinator.h"
#include "server/core/pipelines.h"
#include "server/live_job.h"

namespace qzo::server {

class Coordinator::Impl {
 public:
  Impl(const Options& options, Store* store, BlobStore* blobs, const base::Clock* clock, Metrics* metrics);
  ~Impl();

  absl::Status Recover();
  void Stop();
  absl::StatusOr<v1::FineTuningJob> Create(v1::FineTuningJob job, const JobFacts& facts, const std::string& request_id);
  absl::StatusOr<v1::FineTuningJob> Get(const std::string& name);
  // Cancel, Pause, Resume: `verb` for messages, `allowed` the states it may start from.
  absl::StatusOr<v1::FineTuningJob> Steer(const std::string& name, const char* verb,
                                          const std::set<v1::FineTuningJob::State>& allowed,
                                          const std::function<core::Event(core::JobHandle)>& event);
  absl::StatusOr<v1::FineTuningJob> Retry(const std::string& name);
  absl::Status Delete(const std::string& name, bool force);
  bool InUse(const std::string& resource_name);
  std::vector<JobView> LiveJobs();
  absl::StatusOr<uint64_t> Watch(const std::string& name, std::function<void()> wake);
  void Unwatch(uint64_t watch);

  absl::StatusOr<std::string> Attach(const v1::Attach& attach, WorkerStream* stream);
  void Receive(const std::string& id, const v1::WorkerMessage& message);
  void Detach(const std::string& id, std::string_view reason);
  absl::StatusOr<v1::Worker> GetWorker(const std::string& name);
  std::vector<v1::Worker> ListWorkers();
  absl::StatusOr<v1::Worker> Drain(const std::string& name);
  absl::Status SnapshotStored(const v1::PutSnapshotRequest::Header& header, const std::string& blob);

 private:
  struct LiveWorker {
    std::string id;
    WorkerStream* stream = nullptr;
    v1::Attach attach;
    absl::Time attach_time;
    absl::Duration attached_at;
    bool leaving = false;
    uint64_t items = 0;
    int64_t peak_memory_bytes = 0;
  };

  // Feeds the core and carries its actions out, and the events that those give rise to, until nothing is left.
  void Apply(core::Event event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Runs `task` with the mutex held, now or, when another thread is at it, on that thread soon: the store's thread does
  // not wait for workers' threads, nor they for it. Tasks run in the order of their coming. Wakes watchers afterwards.
  using Task = std::function<void()>;
  void Post(Task task) ABSL_LOCKS_EXCLUDED(mu_);
  void RunPosted() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Take(const std::string& id, const v1::WorkerMessage& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Do(const core::OpenReplica& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Do(const core::CloseReplica& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Do(const core::SendWork& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Do(const core::RequestSnapshot& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Do(const core::CommitStep& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Do(const core::StepCommitted& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Do(const core::SaveEvaluation& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Do(const core::SaveResult& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Do(const core::StateChanged& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Do(const core::Observed& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Do(const core::PipelineFormed& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Do(const core::PipelineLost& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Replicas are opened by the coordinator's own thread: reading a journal may take long. The first of to_open_ stays
  // there until its message is sent.
  void SendOpens() ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status ReadOpen(const core::OpenReplica& action, const v1::StoredJob& stored, const std::string& uid,
                        v1::OpenJob* open);
  // Whether rows between two stages can travel by NCCL: its versions do not understand each other.
  bool ShareNccl(core::WorkerHandle one, core::WorkerHandle other) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FillStage(core::WorkerHandle worker, const core::Stage& stage, v1::StagePlan* plan)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ForgetOpen(core::WorkerHandle worker, core::JobHandle job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The mutations that store a job's present state, with an event about it.
  UpdateResource Update(LiveJob& live) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  AppendEvent NewEvent(LiveJob& live, v1::JobEvent event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Submits; when durable, wakes the job's watchers, and forgets the job if it has ended. When not, tries again later.
  void Save(core::JobHandle handle, const WriteBatch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void BuildAndStoreAdapter(const core::SaveResult& save);

  absl::Status AddLive(const StoredResource& resource, v1::StoredJob stored, core::JobHistory history, uint64_t events)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Take(const StoredResource& resource) ABSL_LOCKS_EXCLUDED(mu_);
  v1::FineTuningJob Shown(const StoredResource& resource) const;
  v1::FineTuningJob Show(core::JobHandle handle, LiveJob& live) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  v1::Worker Show(core::WorkerHandle handle, const LiveWorker& worker) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string NameOf(core::WorkerHandle handle) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);  // "" of one that is gone
  void ShowPipelines(core::JobHandle handle, v1::FineTuningJob* job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  LiveJob* Find(core::JobHandle handle) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CountJobs() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CountWorkers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void WakeWatchers();
  void Run();  // the coordinator's thread: ticks, opens replicas, saves results

  const Options options_;
  Store* const store_;
  BlobStore* const blobs_;
  const base::Clock* const clock_;
  Metrics* const metrics_;
  const std::string stage_key_;  // what the secrets of pipelines are made from

  base::Mutex inbox_mu_ ABSL_ACQUIRED_AFTER(mu_);
  std::vector<Task> inbox_ ABSL_GUARDED_BY(inbox_mu_);
  bool draining_ ABSL_GUARDED_BY(inbox_mu_) = false;

  base::Mutex mu_;
  core::Pipelines core_ ABSL_GUARDED_BY(mu_);
  std::map<core::JobHandle, LiveJob> jobs_ ABSL_GUARDED_BY(mu_);
  std::map<ResourceKey, core::JobHandle> by_key_ ABSL_GUARDED_BY(mu_);
  core::JobHandle next_job_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<core::WorkerHandle, LiveWorker> workers_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, core::WorkerHandle> by_id_ ABSL_GUARDED_BY(mu_);
  core::WorkerHandle next_worker_ ABSL_GUARDED_BY(mu_) = 1;
  std::deque<core::Event> events_ ABSL_GUARDED_BY(mu_);  // that actions gave rise to
  bool applying_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<core::OpenReplica> to_open_ ABSL_GUARDED_BY(mu_);
  std::vector<core::SaveResult> to_save_ ABSL_GUARDED_BY(mu_);
  std::set<std::string> to_wake_ ABSL_GUARDED_BY(mu_);        // uids
  std::vector<std::string> to_discard_ ABSL_GUARDED_BY(mu_);  // blobs that lost a reference; may hold ""
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  base::CondVar wake_;

  // Never taken while mu_ is held: watchers may call back into Get.
  base::Mutex watch_mu_ ABSL_ACQUIRED_BEFORE(mu_);
  struct Watcher {
    std::string uid;
    std::function<void()> wake;
  };
  std::map<uint64_t, Watcher> watchers_ ABSL_GUARDED_BY(watch_mu_);
  uint64_t next_watch_ ABSL_GUARDED_BY(watch_mu_) = 1;

  std::thread thread_;
};

}  // namespace qzo::server

#endif  // QZO_SERVER_COORDINATOR_IMPL_H_
