#include "server/coordinator.h"

#include <google/protobuf/util/time_util.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "proto/grpc_status.h"
#include "server/coordinator_impl.h"

namespace qzo::server {
namespace {

using ::qzo::base::MutexLock;
using Job = v1::FineTuningJob;

std::string NewUid() {
  std::random_device random;
  return absl::StrFormat("%08x%08x%08x%08x", random(), random(), random(), random());
}

absl::Status NoSuchJob(const std::string& name) {
  return rpc::WithResource(rpc::WithReason(absl::NotFoundError(absl::StrCat("no job ", name)), "JOB_NOT_FOUND"), "job",
                           name);
}

absl::Status WrongState(const std::string& name, const char* verb, Job::State state) {
  return rpc::WithReason(
      absl::FailedPreconditionError(absl::StrCat("cannot ", verb, " ", name, ": it is ", Job::State_Name(state))),
      "WRONG_JOB_STATE");
}

}  // namespace

std::string NewStageKey();  // coordinator_pipelines.cc

void SetTime(absl::Time time, google::protobuf::Timestamp* out) {
  *out = google::protobuf::util::TimeUtil::NanosecondsToTimestamp(absl::ToUnixNanos(time));
}

Coordinator::Impl::Impl(const Options& options, Store* store, BlobStore* blobs, const base::Clock* clock,
                        Metrics* metrics)
    : options_(options),
      store_(store),
      blobs_(blobs),
      clock_(clock),
      metrics_(metrics),
      stage_key_(NewStageKey()),
      core_(core::CoreOptions{.prepare_timeout = options.prepare_timeout}),
      thread_([this] { Run(); }) {}

Coordinator::Impl::~Impl() { Stop(); }

void Coordinator::Impl::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    wake_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
  if (const absl::Status status = store_->Write({}); !status.ok()) spdlog::warn("store: {}", status.ToString());
}

void Coordinator::Impl::Run() {
  for (;;) {
    std::vector<core::SaveResult> saves;
    std::vector<std::string> discards;
    {
      MutexLock lock(&mu_);
      if (!stopping_ && to_save_.empty() && to_open_.empty()) wake_.WaitFor(&mu_, options_.tick);
      if (stopping_) return;
      saves.swap(to_save_);
      discards.swap(to_discard_);
      Apply(core::Tick{});
      for (auto& [id, worker] : workers_) {
        if (worker.stream != nullptr) worker.stream->Tick();
      }
      for (auto& [handle, live] : jobs_) {
        if (!live.unsaved.empty() && clock_->Monotonic() >= live.save_again_at)
          Save(handle, std::exchange(live.unsaved, {}));
      }
    }
    SendOpens();
    for (const core::SaveResult& save : saves) BuildAndStoreAdapter(save);
    for (const std::string& blob : discards) {
      if (!blob.empty()) options_.discard_blob(blob);
    }
    WakeWatchers();
  }
}

// --- jobs
// ------------------------------------------------------------------------------------------------------------------

absl::Status Coordinator::Impl::Recover() {
  ListQuery query{.kind = "job", .states = {Job::QUEUED, Job::RUNNING, Job::PAUSED}};
  for (;;) {
    QZO_ASSIGN_OR_RETURN(const std::vector<StoredResource> page, store_->List(query));
    for (const StoredResource& resource : page) {
      if (const absl::Status status = Take(resource); !status.ok()) {
        spdlog::error("job {} cannot be recovered and is left as it is: {}", resource.key.id, status.ToString());
      }
    }
    if (page.size() < static_cast<size_t>(query.limit)) return absl::OkStatus();
    query.before_time = page.back().create_time;
    query.before_uid = page.back().uid;
  }
}

absl::Status Coordinator::Impl::Take(const StoredResource& resource) {
  QZO_RETURN_IF_ERROR(store_->Write({TakeEpoch{resource.uid}}));
  QZO_ASSIGN_OR_RETURN(const StoredResource taken, store_->GetByUid(resource.uid));
  v1::StoredJob stored;
  if (!stored.ParseFromString(taken.body))
    return absl::DataLossError(absl::StrCat("the stored job ", taken.key.id, " is damaged"));
  QZO_ASSIGN_OR_RETURN(core::JobHistory history, ReadHistory(store_, taken));
  QZO_ASSIGN_OR_RETURN(const uint64_t events, store_->LastEventSequence(taken.uid));
  MutexLock lock(&mu_);
  return AddLive(taken, std::move(stored), std::move(history), events);
}

absl::Status Coordinator::Impl::AddLive(const StoredResource& resource, v1::StoredJob stored, core::JobHistory history,
                                        uint64_t events) {
  QZO_ASSIGN_OR_RETURN(core::JobConfig config, ConfigOf(stored, resource.key.project));
  const core::JobHandle handle = next_job_++;
  LiveJob live;
  live.stored = std::move(stored);
  live.key = resource.key;
  live.uid = resource.uid;
  live.epoch = resource.epoch;
  live.events = events;
  live.heard_at = clock_->Monotonic();
  v1::Progress& progress = *live.job().mutable_progress();
  progress.set_step(history.next_step);
  progress.set_total_steps(config.method.steps);
  jobs_[handle] = std::move(live);
  by_key_[resource.key] = handle;
  Apply(core::JobAdded{handle, std::move(config), std::move(history)});
  CountJobs();
  return absl::OkStatus();
}

absl::StatusOr<Job> Coordinator::Impl::Create(Job job, const JobFacts& facts, const std::string& request_id) {
  QZO_ASSIGN_OR_RETURN(ResourceKey key, JobKey(job.name()));
  StoredResource resource{.key = key, .uid = NewUid(), .state = Job::QUEUED, .create_time = clock_->Now()};
  resource.update_time = resource.create_time;
  job.set_uid(resource.uid);
  job.set_state(Job::QUEUED);
  job.set_reason("WAITING_FOR_TURN");
  SetTime(resource.create_time, job.mutable_create_time());
  *job.mutable_update_time() = job.create_time();
  job.mutable_progress()->set_total_steps(job.spec().method().steps());
  v1::StoredJob stored;
  *stored.mutable_job() = job;
  stored.set_validation_items(facts.validation_items);
  stored.set_test_items(facts.test_items);
  stored.set_tokens_per_step(facts.tokens_per_step);
  StoreShape(facts.shape, stored.mutable_shape());
  resource.body = stored.SerializeAsString();

  v1::JobEvent event;
  event.set_sequence(1);
  event.set_level(v1::JobEvent::INFO);
  event.set_type("state");
  event.set_message("created");
  event.set_state(Job::QUEUED);
  *event.mutable_time() = job.create_time();
  const absl::Status status =
      store_->Write({CreateResource{resource, request_id},
                     AppendEvent{resource.uid, {1, resource.create_time, event.SerializeAsString()}}});
  if (absl::IsAlreadyExists(status) && !request_id.empty()) {
    QZO_ASSIGN_OR_RETURN(const std::optional<std::string> uid,
                         store_->ResourceOfRequest("job", key.project, request_id));
    if (uid) {
      QZO_ASSIGN_OR_RETURN(const StoredResource earlier, store_->GetByUid(*uid));
      return Get(absl::StrCat("projects/", earlier.key.project, "/jobs/", earlier.key.id));
    }
  }
  if (absl::IsAlreadyExists(status)) {
    return rpc::WithResource(
        rpc::WithReason(absl::AlreadyExistsError(absl::StrCat(job.name(), " exists already")), "JOB_EXISTS"), "job",
        job.name());
  }
  QZO_RETURN_IF_ERROR(status);
  metrics_->jobs_submitted.Increment();
  {
    MutexLock lock(&mu_);
    QZO_RETURN_IF_ERROR(AddLive(resource, std::move(stored), {}, 1));
  }
  return Get(job.name());
}

Job Coordinator::Impl::Shown(const StoredResource& resource) const {
  v1::StoredJob stored;
  stored.ParseFromString(resource.body);
  Job job = std::move(*stored.mutable_job());
  job.mutable_progress()->set_step(resource.next_step);
  job.set_etag(absl::StrCat(resource.epoch, "-", absl::ToUnixNanos(resource.update_time)));
  return job;
}

Job Coordinator::Impl::Show(core::JobHandle handle, LiveJob& live) {
  Job job = live.job();
  if (const auto status = core_.StatusOf(handle)) job.mutable_progress()->set_workers(status->ready_workers);
  ShowPipelines(handle, &job);
  job.set_etag(absl::StrCat(live.epoch, "-", live.events));
  return job;
}

absl::StatusOr<Job> Coordinator::Impl::Get(const std::string& name) {
  QZO_ASSIGN_OR_RETURN(const ResourceKey key, JobKey(name));
  {
    MutexLock lock(&mu_);
    if (const auto it = by_key_.find(key); it != by_key_.end()) return Show(it->second, jobs_.at(it->second));
  }
  const absl::StatusOr<StoredResource> resource = store_->Get(key);
  if (absl::IsNotFound(resource.status())) return NoSuchJob(name);
  QZO_RETURN_IF_ERROR(resource.status());
  return Shown(*resource);
}

absl::StatusOr<Job> Coordinator::Impl::Steer(const std::string& name, const char* verb,
                                             const std::set<Job::State>& allowed,
                                             const std::function<core::Event(core::JobHandle)>& event) {
  QZO_ASSIGN_OR_RETURN(const Job before, Get(name));
  QZO_ASSIGN_OR_RETURN(const ResourceKey key, JobKey(name));
  Job after;
  {
    MutexLock lock(&mu_);
    const auto it = by_key_.find(key);
    if (it == by_key_.end()) return WrongState(name, verb, before.state());
    const core::JobHandle handle = it->second;
    if (!allowed.contains(jobs_.at(handle).job().state()))
      return WrongState(name, verb, jobs_.at(handle).job().state());
    Apply(event(handle));
    after = Show(handle, jobs_.at(handle));
  }
  QZO_RETURN_IF_ERROR(store_->Write({}));  // the change was submitted before this barrier
  WakeWatchers();
  return after;
}

absl::StatusOr<Job> Coordinator::Impl::Retry(const std::string& name) {
  QZO_ASSIGN_OR_RETURN(Job job, Get(name));
  QZO_ASSIGN_OR_RETURN(const ResourceKey key, JobKey(name));
  if (job.state() != Job::FAILED && job.state() != Job::CANCELLED) return WrongState(name, "retry", job.state());
  QZO_ASSIGN_OR_RETURN(StoredResource resource, store_->Get(key));
  v1::StoredJob stored;
  if (!stored.ParseFromString(resource.body))
    return absl::DataLossError(absl::StrCat("the stored job ", name, " is damaged"));
  stored.mutable_job()->set_state(Job::QUEUED);
  stored.mutable_job()->set_reason("WAITING_FOR_TURN");
  stored.mutable_job()->set_message("retried");
  stored.mutable_job()->clear_error();
  stored.mutable_job()->clear_end_time();
  QZO_RETURN_IF_ERROR(
      store_->Write({UpdateResource{resource.uid, resource.epoch, Job::QUEUED, stored.SerializeAsString()}}));
  QZO_ASSIGN_OR_RETURN(resource, store_->Get(key));
  QZO_RETURN_IF_ERROR(Take(resource));
  return Get(name);
}

absl::Status Coordinator::Impl::Delete(const std::string& name, bool force) {
  QZO_ASSIGN_OR_RETURN(const Job job, Get(name));
  if (!IsTerminal(job.state()) && !force) return WrongState(name, "delete", job.state());
  QZO_ASSIGN_OR_RETURN(const ResourceKey key, JobKey(name));
  std::string snapshot;
  {
    MutexLock lock(&mu_);
    if (const auto it = by_key_.find(key); it != by_key_.end()) {
      const core::JobHandle handle = it->second;
      snapshot = jobs_.at(handle).stored.snapshot().blob();
      Apply(core::JobRemoved{handle});
      jobs_.erase(handle);
      by_key_.erase(key);
      CountJobs();
    }
  }
  QZO_RETURN_IF_ERROR(store_->Write({DeleteResource{job.uid()}}));
  {
    MutexLock lock(&mu_);
    to_discard_.push_back(snapshot);
    to_wake_.insert(job.uid());
  }
  WakeWatchers();
  return absl::OkStatus();
}

std::vector<JobView> Coordinator::Impl::LiveJobs() {
  std::vector<JobView> views;
  MutexLock lock(&mu_);
  const absl::Duration now = clock_->Monotonic();
  for (auto& [handle, live] : jobs_) {
    const Job& job = live.job();
    if (IsTerminal(job.state())) continue;
    const v1::Method& method = job.spec().method();
    JobView view{live.key.project, live.key.id, job.state(), job.progress(), method.probes() * method.micro_batches()};
    if (const auto status = core_.StatusOf(handle)) view.progress.set_workers(status->ready_workers);
    if (job.state() == Job::RUNNING) view.quiet = now - live.heard_at;
    views.push_back(std::move(view));
  }
  return views;
}

bool Coordinator::Impl::InUse(const std::string& resource_name) {
  MutexLock lock(&mu_);
  return std::any_of(jobs_.begin(), jobs_.end(), [&](auto& entry) {
    const v1::JobSpec& spec = entry.second.job().spec();
    return spec.base_model() == resource_name || spec.training_dataset() == resource_name ||
           spec.validation_dataset() == resource_name || spec.test_dataset() == resource_name;
  });
}

absl::StatusOr<uint64_t> Coordinator::Impl::Watch(const std::string& name, std::function<void()> wake) {
  QZO_ASSIGN_OR_RETURN(const Job job, Get(name));
  wake();
  MutexLock lock(&watch_mu_);
  watchers_[next_watch_] = {job.uid(), std::move(wake)};
  return next_watch_++;
}

void Coordinator::Impl::Unwatch(uint64_t watch) {
  MutexLock lock(&watch_mu_);
  watchers_.erase(watch);
}

void Coordinator::Impl::WakeWatchers() {
  MutexLock lock(&watch_mu_);
  std::set<std::string> uids;
  {
    MutexLock inner(&mu_);
    uids.swap(to_wake_);
  }
  if (uids.empty()) return;
  for (const auto& [id, watcher] : watchers_) {
    if (uids.contains(watcher.uid)) watcher.wake();
  }
}

absl::Status Coordinator::Impl::SnapshotStored(const v1::PutSnapshotRequest::Header& header, const std::string& blob) {
  QZO_ASSIGN_OR_RETURN(const ResourceKey key, JobKey(header.job()));
  std::string old;
  {
    MutexLock lock(&mu_);
    const auto it = by_key_.find(key);
    if (it == by_key_.end()) return NoSuchJob(header.job());
    LiveJob& live = jobs_.at(it->second);
    if (header.step() <= live.stored.snapshot().step() || header.step() > live.job().progress().step()) {
      return absl::FailedPreconditionError(absl::StrCat("a snapshot of step ", header.step(), " is not wanted"));
    }
    old = live.stored.snapshot().blob();
    live.stored.mutable_snapshot()->set_step(header.step());
    live.stored.mutable_snapshot()->set_blob(blob);
    live.stored.mutable_snapshot()->set_replica_digest(header.digest());
    Save(it->second, {Update(live)});
  }
  QZO_RETURN_IF_ERROR(store_->Write({}));  // the old one is let go only when the store names the new one
  MutexLock lock(&mu_);
  if (old != blob) to_discard_.push_back(old);
  return absl::OkStatus();
}

// --- the public face
// -------------------------------------------------------------------------------------------------------

Coordinator::Coordinator(const Options& options, Store* store, BlobStore* blobs, const base::Clock* clock,
                         Metrics* metrics)
    : impl_(std::make_unique<Impl>(options, store, blobs, clock, metrics)) {}
Coordinator::~Coordinator() = default;
absl::Status Coordinator::Recover() { return impl_->Recover(); }
void Coordinator::Stop() { impl_->Stop(); }
absl::StatusOr<Job> Coordinator::Create(Job job, const JobFacts& facts, const std::string& request_id) {
  return impl_->Create(std::move(job), facts, request_id);
}
absl::StatusOr<Job> Coordinator::Get(const std::string& name) { return impl_->Get(name); }
absl::StatusOr<Job> Coordinator::Cancel(const std::string& name) {
  return impl_->Steer(name, "cancel", {Job::QUEUED, Job::RUNNING, Job::PAUSED},
                      [](core::JobHandle job) { return core::JobCancelled{job}; });
}
absl::StatusOr<Job> Coordinator::Pause(const std::string& name) {
  return impl_->Steer(name, "pause", {Job::QUEUED, Job::RUNNING},
                      [](core::JobHandle job) { return core::JobPaused{job}; });
}
absl::StatusOr<Job> Coordinator::Resume(const std::string& name) {
  return impl_->Steer(name, "resume", {Job::PAUSED}, [](core::JobHandle job) { return core::JobResumed{job}; });
}
absl::StatusOr<Job> Coordinator::Retry(const std::string& name) { return impl_->Retry(name); }
absl::Status Coordinator::Delete(const std::string& name, bool force) { return impl_->Delete(name, force); }
std::vector<JobView> Coordinator::LiveJobs() { return impl_->LiveJobs(); }
bool Coordinator::InUse(const std::string& resource_name) { return impl_->InUse(resource_name); }
absl::StatusOr<uint64_t> Coordinator::Watch(const std::string& name, std::function<void()> wake) {
  return impl_->Watch(name, std::move(wake));
}
void Coordinator::Unwatch(uint64_t watch) { impl_->Unwatch(watch); }
absl::StatusOr<std::string> Coordinator::Attach(const v1::Attach& attach, WorkerStream* stream) {
  return impl_->Attach(attach, stream);
}
void Coordinator::Receive(const std::string& worker, const v1::WorkerMessage& message) {
  impl_->Receive(worker, message);
}
void Coordinator::Detach(const std::string& worker, std::string_view reason) { impl_->Detach(worker, reason); }
absl::StatusOr<v1::Worker> Coordinator::GetWorker(const std::string& name) { return impl_->GetWorker(name); }
std::vector<v1::Worker> Coordinator::ListWorkers() { return impl_->ListWorkers(); }
absl::StatusOr<v1::Worker> Coordinator::Drain(const std::string& name) { return impl_->Drain(name); }
absl::Status Coordinator::SnapshotStored(const v1::PutSnapshotRequest::Header& header, const std::string& blob) {
  return impl_->SnapshotStored(header, blob);
}

}  // namespace qzo::server
