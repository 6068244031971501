// How the coordinator's shell carries out what the core decides.
#include <google/protobuf/util/time_util.h>
#include <spdlog/spdlog.h>

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "method/journal.h"
#include "proto/grpc_status.h"
#include "server/coordinator_impl.h"

namespace qzo::server {
namespace {

using ::qzo::base::MutexLock;

constexpr uint32_t kStepEventsPerJob = 2000;
constexpr absl::Duration kSaveAgain = absl::Seconds(1);

uint64_t PipelineOf(const core::OpenReplica& open) { return open.stage ? open.stage->pipeline : 0; }

bool SameOpening(const core::OpenReplica& a, const core::OpenReplica& b) {
  return a.worker == b.worker && a.job == b.job && a.step == b.step && PipelineOf(a) == PipelineOf(b);
}

}  // namespace

void SetTime(absl::Time time, google::protobuf::Timestamp* out);  // coordinator.cc

LiveJob* Coordinator::Impl::Find(core::JobHandle handle) {
  const auto it = jobs_.find(handle);
  return it == jobs_.end() ? nullptr : &it->second;
}

void Coordinator::Impl::Apply(core::Event event) {
  events_.push_back(std::move(event));
  if (applying_) return;
  applying_ = true;
  std::vector<core::Action> actions;
  while (!events_.empty()) {
    const core::Event next = std::move(events_.front());
    events_.pop_front();
    actions.clear();
    core_.Handle(next, clock_->Monotonic(), &actions);
    for (const core::Action& action : actions) {
      std::visit([this](const auto& a) ABSL_NO_THREAD_SAFETY_ANALYSIS { Do(a); }, action);
    }
  }
  applying_ = false;
}

void Coordinator::Impl::Post(Task task) {
  {
    MutexLock lock(&inbox_mu_);
    inbox_.push_back(std::move(task));
    if (std::exchange(draining_, true)) return;
  }
  for (bool more = true; more;) {
    {
      MutexLock lock(&mu_);
      RunPosted();
      MutexLock inbox_lock(&inbox_mu_);
      more = draining_ = !inbox_.empty();
    }
    WakeWatchers();
  }
}

void Coordinator::Impl::RunPosted() {
  std::vector<Task> tasks;
  {
    MutexLock lock(&inbox_mu_);
    tasks.swap(inbox_);
  }
  for (const Task& task : tasks) task();
}

void Coordinator::Impl::Do(const core::OpenReplica& action) {
  ForgetOpen(action.worker, action.job);
  to_open_.push_back(action);
  wake_.SignalAll();
}

void Coordinator::Impl::ForgetOpen(core::WorkerHandle worker, core::JobHandle job) {
  std::erase_if(to_open_, [&](const core::OpenReplica& open) { return open.worker == worker && open.job == job; });
}

absl::Status Coordinator::Impl::ReadOpen(const core::OpenReplica& action, const v1::StoredJob& stored,
                                         const std::string& uid, v1::OpenJob* open) {
  open->set_job(action.job);
  open->set_name(stored.job().name());
  *open->mutable_spec() = stored.job().spec();
  open->set_step(action.step);
  if (const auto& snapshot = stored.snapshot();
      !snapshot.blob().empty() && snapshot.step() <= action.step && blobs_->Exists(snapshot.blob())) {
    open->set_snapshot_blob(snapshot.blob());
    open->set_snapshot_step(snapshot.step());
  }
  if (open->snapshot_step() == action.step) return absl::OkStatus();
  QZO_ASSIGN_OR_RETURN(const method::JournalChunk tail, store_->ReadJournal(uid, open->snapshot_step(), action.step));
  if (tail.records.size() != action.step - open->snapshot_step()) {
    return absl::DataLossError(absl::StrCat("the journal of ", stored.job().name(), " ends at step ",
                                            open->snapshot_step() + tail.records.size(), ", expected ", action.step));
  }
  open->set_journal(method::EncodeChunk(tail));
  return absl::OkStatus();
}

void Coordinator::Impl::SendOpens() {
  for (;;) {
    core::OpenReplica action;
    v1::StoredJob stored;
    std::string uid;
    {
      MutexLock lock(&mu_);
      if (to_open_.empty() || stopping_) return;
      action = to_open_.front();
      LiveJob* live = Find(action.job);
      if (live == nullptr || !workers_.contains(action.worker)) {
        to_open_.pop_front();
        continue;
      }
      stored = live->stored;
      uid = live->uid;
    }
    v1::CoordinatorMessage message;
    const absl::Status status = ReadOpen(action, stored, uid, message.mutable_open());
    MutexLock lock(&mu_);
    // Meanwhile the replica may have been closed, or wanted at another step or in another pipeline.
    const auto worker = workers_.find(action.worker);
    if (to_open_.empty() || !SameOpening(to_open_.front(), action) || worker == workers_.end()) continue;
    to_open_.pop_front();
    if (status.ok()) {
      if (action.stage) FillStage(action.worker, *action.stage, message.mutable_open()->mutable_stage());
      worker->second.stream->Send(message);
    } else {
      Apply(core::ReplicaTrouble{action.worker, action.job, status, PipelineOf(action)});
    }
  }
}

void Coordinator::Impl::Do(const core::CloseReplica& action) {
  ForgetOpen(action.worker, action.job);
  const auto worker = workers_.find(action.worker);
  if (worker == workers_.end()) return;
  v1::CoordinatorMessage message;
  message.mutable_close()->set_job(action.job);
  worker->second.stream->Send(message);
}

void Coordinator::Impl::Do(const core::SendWork& action) {
  const auto worker = workers_.find(action.worker);
  LiveJob* live = Find(action.job);
  if (worker == workers_.end() || live == nullptr) return;
  v1::CoordinatorMessage message;
  const auto fill = [&](auto& work) {
    work.set_job(action.job);
    work.set_step(action.step);
    work.mutable_coefficients()->Add(action.coefficients.begin(), action.coefficients.end());
    work.set_first_item(action.first_item);
    work.set_item_count(action.item_count);
  };
  if (action.evaluate) {
    fill(*message.mutable_eval_work());
    message.mutable_eval_work()->set_split(static_cast<v1::Split>(*action.evaluate));
  } else {
    fill(*message.mutable_work());
    const size_t bytes = message.ByteSizeLong();
    metrics_->payload_down_bytes.Increment(static_cast<double>(bytes));
    v1::Progress& progress = *live->job().mutable_progress();
    progress.set_payload_down_bytes(progress.payload_down_bytes() + bytes);
  }
  worker->second.stream->Send(message);
}

void Coordinator::Impl::Do(const core::RequestSnapshot& action) {
  const auto worker = workers_.find(action.worker);
  if (worker == workers_.end()) return;
  v1::CoordinatorMessage message;
  message.mutable_snapshot()->set_job(action.job);
  message.mutable_snapshot()->set_step(action.step);
  worker->second.stream->Send(message);
}

void Coordinator::Impl::Do(const core::CommitStep& action) {
  LiveJob* live = Find(action.job);
  if (live == nullptr) return;
  const absl::Duration submitted = clock_->Monotonic();
  const auto done = [this, job = action.job, step = action.record.step, probes = action.record.d.size(),
                     submitted](absl::Status status) {
    metrics_->journal_commit_duration.Observe(absl::ToDoubleSeconds(clock_->Monotonic() - submitted));
    if (status.ok()) {
      metrics_->journal_entries.Increment();
      metrics_->journal_bytes.Increment(static_cast<double>(probes * 2 * sizeof(float)));
    } else {
      metrics_->store_errors.Add({{"op", "append_step"}}).Increment();
    }
    Post([this, job, step, status = std::move(status)]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      if (!stopping_) Apply(core::StepStored{job, step, status});
    });
  };
  store_->Submit({AppendStep{live->uid, live->epoch, action.record, action.state_after}}, done);
}

void Coordinator::Impl::Do(const core::StepCommitted& action) {
  LiveJob* live = Find(action.job);
  if (live == nullptr) return;
  metrics_->steps.Increment();
  live->heard_at = clock_->Monotonic();
  metrics_->step_duration.Observe(absl::ToDoubleSeconds(action.duration));
  metrics_->step_collect_wait.Observe(absl::ToDoubleSeconds(action.collect_wait));
  ShowStep(action, live->stored.tokens_per_step(), clock_->Monotonic(), live);
  const uint32_t total = live->job().progress().total_steps();
  const uint32_t stride = (total + kStepEventsPerJob - 1) / kStepEventsPerJob;
  if (stride > 1 && action.step % stride != 0 && action.step != total) {
    to_wake_.insert(live->uid);
    return;
  }
  v1::JobEvent event;
  event.set_level(v1::JobEvent::INFO);
  event.set_type("step");
  event.set_message(absl::StrFormat("step %d of %d: loss %.4f", action.step, total, action.train_loss));
  v1::StepMetrics& step = *event.mutable_step();
  step.set_step(action.step);
  step.set_train_loss(action.train_loss);
  step.set_learning_rate(action.learning_rate);
  step.set_gradient_rms(action.gradient_rms);
  step.set_seconds(absl::ToDoubleSeconds(action.duration));
  step.set_workers(action.workers);
  Save(action.job, {NewEvent(*live, std::move(event))});
}

void Coordinator::Impl::Do(const core::SaveEvaluation& action) {
  LiveJob* live = Find(action.job);
  if (live == nullptr) return;
  const core::EvaluationRecord& record = action.record;
  ShowEvaluation(record, live->job().mutable_progress());
  WriteBatch batch = {PutEvaluation{live->uid, record.step, SplitName(record.split), EncodeEvaluation(record)},
                      Update(*live)};
  if (record.split != core::Split::kTrain) {
    const model::EvalFigures figures = model::Figures(record.sums);
    v1::JobEvent event;
    event.set_level(v1::JobEvent::INFO);
    event.set_type("evaluation");
    event.set_message(absl::StrFormat("%s at step %d: loss %.4f", SplitName(record.split), record.step, figures.loss));
    if (!record.sums.confusion.empty()) {
      absl::StrAppendFormat(event.mutable_message(), ", accuracy %.2f %%, macro-F1 %.3f", 100 * figures.accuracy,
                            figures.macro_f1);
    }
    const v1::Progress& progress = live->job().progress();
    *event.mutable_evaluation() = record.split == core::Split::kValidation ? progress.last_validation()
                                  : record.step == 0                       ? progress.first_test()
                                                                           : progress.final_test();
    batch.push_back(NewEvent(*live, std::move(event)));
  }
  Save(action.job, batch);
}

void Coordinator::Impl::Do(const core::SaveResult& action) {
  to_save_.push_back(action);
  wake_.SignalAll();
}

void Coordinator::Impl::Do(const core::StateChanged& action) {
  LiveJob* live = Find(action.job);
  if (live == nullptr) return;
  v1::FineTuningJob& job = live->job();
  const v1::FineTuningJob::State before = job.state();
  job.set_state(ToProto(action.state));
  if (job.state() != before) live->heard_at = clock_->Monotonic();
  job.set_reason(action.reason);
  job.set_message(action.message);
  SetTime(clock_->Now(), job.mutable_update_time());
  if (before == v1::FineTuningJob::QUEUED && job.state() == v1::FineTuningJob::RUNNING && !job.has_start_time()) {
    *job.mutable_start_time() = job.update_time();
    metrics_->job_queue_wait.Observe(static_cast<double>(google::protobuf::util::TimeUtil::DurationToMilliseconds(
                                         job.start_time() - job.create_time())) /
                                     1e3);
  }
  if (!action.error.ok()) *job.mutable_error() = rpc::ToProto(rpc::WithReason(action.error, action.reason));
  if (core::IsTerminal(action.state)) {
    *job.mutable_end_time() = job.update_time();
    job.mutable_progress()->clear_eta();
    metrics_->jobs_finished.Add({{"outcome", action.state == core::JobState::kFailed ? "failed" : "cancelled"}})
        .Increment();
  }
  WriteBatch batch = {Update(*live)};
  // STEPPING and EVALUATING alternate all the time: that is progress, not news.
  if (before != job.state() || (action.reason != "STEPPING" && action.reason != "EVALUATING")) {
    v1::JobEvent event;
    event.set_level(action.state == core::JobState::kFailed ? v1::JobEvent::ERROR : v1::JobEvent::INFO);
    event.set_type("state");
    event.set_message(action.message);
    event.set_state(job.state());
    batch.push_back(NewEvent(*live, std::move(event)));
    spdlog::info("{}: {} ({}): {}", job.name(), v1::FineTuningJob::State_Name(job.state()), action.reason,
                 action.message);
  }
  Save(action.job, batch);
  CountJobs();
}

void Coordinator::Impl::Do(const core::Observed& action) {
  using Kind = core::Observed::Kind;
  const auto contribution = [&](const char* result) {
    metrics_->contributions.Add({{"result", result}}).Increment(action.count);
  };
  switch (action.kind) {
    case Kind::kAccepted:
      if (LiveJob* live = Find(action.job); live != nullptr) live->heard_at = clock_->Monotonic();
      return contribution("accepted");
    case Kind::kLate:
      return contribution("late");
    case Kind::kDuplicate:
      return contribution("duplicate");
    case Kind::kNonFinite:
      contribution("non_finite");
      break;
    case Kind::kMismatch:
      contribution("mismatch");
      break;
    case Kind::kDivergence:
      metrics_->divergence.Increment();
      break;
    case Kind::kReassigned:
    case Kind::kReplicaLost:
      return;
    case Kind::kDuplicated:
    case Kind::kTrouble:
      break;
  }
  const auto worker = workers_.find(action.worker);
  const std::string message =
      worker == workers_.end() ? action.message : absl::StrCat("worker ", worker->second.id, ": ", action.message);
  spdlog::warn("{}", message);
  LiveJob* live = Find(action.job);
  if (live == nullptr) return;
  v1::JobEvent event;
  event.set_level(v1::JobEvent::WARN);
  event.set_type(action.kind == Kind::kTrouble || action.kind == Kind::kDivergence ? "worker" : "item");
  event.set_message(message);
  Save(action.job, {NewEvent(*live, std::move(event))});
}

UpdateResource Coordinator::Impl::Update(LiveJob& live) {
  return {live.uid, live.epoch, live.job().state(), live.stored.SerializeAsString()};
}

AppendEvent Coordinator::Impl::NewEvent(LiveJob& live, v1::JobEvent event) {
  const absl::Time now = clock_->Now();
  event.set_sequence(++live.events);
  SetTime(now, event.mutable_time());
  return {live.uid, {live.events, now, event.SerializeAsString()}};
}

void Coordinator::Impl::Save(core::JobHandle handle, const WriteBatch& batch) {
  store_->Submit(batch, [this, handle, batch](const absl::Status& status) {
    Post([=, this]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      LiveJob* live = Find(handle);
      if (live == nullptr) return;
      if (!status.ok()) {
        metrics_->store_errors.Add({{"op", "update_job"}}).Increment();
        // The job is another process's now, unless it is refused for the gap that an earlier failure left.
        const bool lost = (absl::IsAborted(status) || absl::IsNotFound(status)) && live->unsaved.empty();
        if (live->unsaved.empty()) {
          spdlog::error("{}: not stored{}: {}", live->job().name(), lost ? "" : ", to be tried again",
                        status.ToString());
          live->save_again_at = clock_->Monotonic() + kSaveAgain;
        }
        if (!lost) live->unsaved.insert(live->unsaved.end(), batch.begin(), batch.end());
        return;
      }
      to_wake_.insert(live->uid);
      if (IsTerminal(live->job().state()) && !core_.StatusOf(handle)) {
        by_key_.erase(live->key);
        jobs_.erase(handle);
        CountJobs();
      }
    });
  });
}

void Coordinator::Impl::BuildAndStoreAdapter(const core::SaveResult& save) {
  v1::FineTuningJob job;
  ResourceKey key;
  std::string uid;
  {
    MutexLock lock(&mu_);
    LiveJob* live = Find(save.job);
    if (live == nullptr) return;
    job = live->job();
    key = live->key;
    uid = live->uid;
  }
  const auto stored = [&]() -> absl::StatusOr<v1::StoredAdapter> {
    QZO_ASSIGN_OR_RETURN(const method::JournalChunk journal, store_->ReadJournal(uid, 0, save.step));
    if (journal.records.size() != save.step)
      return absl::DataLossError(absl::StrCat("the journal of ", job.name(), " is shorter than ", save.step, " steps"));
    return options_.build_adapter(job, journal, save.replica_digest);
  }();
  const absl::Status& status = stored.status();
  if (status.ok()) {
    v1::Adapter adapter = stored->adapter();
    StoredResource resource{
        .key = {"adapter", key.project, key.id}, .uid = absl::StrCat(uid, "-adapter"), .create_time = clock_->Now()};
    const absl::StatusOr<StoredResource> taken = store_->Get(resource.key);
    if (taken.ok()) resource.key.id = absl::StrCat(key.id.substr(0, 50), "-", uid.substr(0, 8));
    resource.update_time = resource.create_time;
    adapter.set_name(absl::StrCat("projects/", key.project, "/adapters/", resource.key.id));
    adapter.set_uid(resource.uid);
    adapter.set_job(job.name());
    SetTime(resource.create_time, adapter.mutable_create_time());
    v1::Progress& progress = *job.mutable_progress();
    if (progress.has_first_test() && save.step == 0) *progress.mutable_final_test() = progress.first_test();
    if (progress.has_best_validation()) *adapter.mutable_validation() = progress.best_validation();
    if (progress.has_final_test()) *adapter.mutable_test() = progress.final_test();
    v1::StoredAdapter body = *stored;
    *body.mutable_adapter() = adapter;
    resource.body = body.SerializeAsString();

    MutexLock lock(&mu_);
    LiveJob* live = Find(save.job);
    if (live == nullptr || !core_.StatusOf(save.job)) return;  // cancelled or deleted meanwhile
    LiveJob finished = *live;
    v1::FineTuningJob& ended = finished.job();
    ended = job;
    ended.set_state(v1::FineTuningJob::SUCCEEDED);
    if (ended.reason() != "EARLY_STOPPED") ended.set_reason("COMPLETED");
    ended.set_message(absl::StrCat("the adapter of step ", save.step, " is ", adapter.name()));
    ended.set_adapter(adapter.name());
    ended.mutable_progress()->clear_eta();
    SetTime(clock_->Now(), ended.mutable_end_time());
    *ended.mutable_update_time() = ended.end_time();
    v1::JobEvent event;
    event.set_level(v1::JobEvent::INFO);
    event.set_type("state");
    event.set_message(ended.message());
    event.set_state(v1::FineTuningJob::SUCCEEDED);
    WriteBatch batch = {CreateResource{resource, ""}, NewEvent(finished, std::move(event)), Update(finished)};
    store_->Submit(std::move(batch), [this, handle = save.job, finished](const absl::Status& written) {
      {
        MutexLock inner(&mu_);
        if (LiveJob* now = Find(handle); now != nullptr && written.ok()) {
          spdlog::info("{}: SUCCEEDED: {}", now->job().name(), finished.stored.job().message());
          metrics_->jobs_finished.Add({{"outcome", "succeeded"}}).Increment();
          Apply(core::ResultSaved{handle, absl::OkStatus()});
          to_wake_.insert(now->uid);
          to_discard_.push_back(now->stored.snapshot().blob());
          by_key_.erase(now->key);
          jobs_.erase(handle);
          CountJobs();
        } else if (now != nullptr) {
          Apply(core::ResultSaved{handle, written});
        }
      }
      WakeWatchers();
    });
    return;
  }
  spdlog::error("{}: the adapter could not be saved: {}", job.name(), status.ToString());
  Post([this, job = save.job, status]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (!stopping_) Apply(core::ResultSaved{job, status});
  });
}

void Coordinator::Impl::CountJobs() {
  std::map<std::string, double> counts;
  for (const auto state : {v1::FineTuningJob::QUEUED, v1::FineTuningJob::RUNNING, v1::FineTuningJob::PAUSED}) {
    counts[v1::FineTuningJob::State_Name(state)] = 0;
  }
  for (auto& [handle, live] : jobs_) {
    if (!IsTerminal(live.job().state())) counts[v1::FineTuningJob::State_Name(live.job().state())] += 1;
  }
  for (const auto& [state, count] : counts) metrics_->jobs.Add({{"state", state}}).Set(count);
}

void Coordinator::Impl::CountWorkers() {
  std::map<std::pair<std::string, std::string>, double> counts;
  for (const char* state : {"ready", "draining"}) {
    for (const char* device : {"cpu", "cuda"}) counts[{state, device}] = 0;
  }
  for (const auto& [handle, worker] : workers_) {
    const bool cuda = worker.attach.kind().find("cuda") != std::string::npos;
    counts[{worker.leaving ? "draining" : "ready", cuda ? "cuda" : "cpu"}] += 1;
  }
  for (const auto& [labels, count] : counts) {
    metrics_->workers.Add({{"state", labels.first}, {"device", labels.second}}).Set(count);
  }
}

}  // namespace qzo::server
