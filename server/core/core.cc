#include "server/core/core.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace qzo::server::core {
namespace {

constexpr size_t kSamplesKept = 64;

}  // namespace

void Core::Handle(const Event& event, absl::Duration now, std::vector<Action>* actions) {
  now_ = now;
  out_ = actions;
  std::visit([this](const auto& e) { On(e); }, event);
  OpenReplicas();
  Dispatch();
  out_ = nullptr;
}

std::optional<JobStatus> Core::StatusOf(JobHandle handle) const {
  const auto it = jobs_.find(handle);
  if (it == jobs_.end()) return std::nullopt;
  return JobStatus{it->second.state, it->second.reason, it->second.next_step, ReadyReplicas(handle)};
}

bool HoldsWhole(const JobConfig& config, int64_t memory_bytes) {
  if (config.shape.layers.empty() || config.stages == 1) return true;
  return config.stages == 0 && (memory_bytes == 0 || memory_bytes >= config.shape.whole_bytes);
}

std::vector<JobHandle> Core::JobsOf(WorkerHandle worker) const {
  std::vector<JobHandle> handles;
  if (const auto it = workers_.find(worker); it != workers_.end()) {
    for (const auto& [handle, replica] : it->second.replicas) handles.push_back(handle);
  }
  return handles;
}

// --- jobs
// ------------------------------------------------------------------------------------------------------------------

void Core::On(const JobAdded& event) {
  Job job;
  job.config = event.config;
  job.next_step = event.history.next_step;
  job.rule = event.history.rule;
  job.non_finite_run = event.history.non_finite_run;
  job.evaluations = event.history.evaluations;
  job.state = event.history.paused ? JobState::kPaused : JobState::kQueued;
  // A newcomer starts level with the least served, so that it neither waits for others' past nor owns the future.
  for (const auto& [handle, other] : jobs_) {
    job.virtual_time =
        handle == jobs_.begin()->first ? other.virtual_time : std::min(job.virtual_time, other.virtual_time);
  }
  if (!project_time_.contains(event.config.project)) {
    double least = 0;
    for (const auto& [project, time] : project_time_)
      least = project == project_time_.begin()->first ? time : std::min(least, time);
    project_time_[event.config.project] = least;
  }
  jobs_[event.job] = std::move(job);
  replicas_wanted_ = true;
}

void Core::On(const JobPaused& event) {
  const auto it = jobs_.find(event.job);
  if (it == jobs_.end() || it->second.state == JobState::kPaused) return;
  CloseAll(event.job);
  SetState(event.job, it->second, JobState::kPaused, "PAUSED", "paused by request");
}

void Core::On(const JobResumed& event) {
  const auto it = jobs_.find(event.job);
  if (it == jobs_.end() || it->second.state != JobState::kPaused) return;
  SetState(event.job, it->second, JobState::kQueued, "WAITING_FOR_TURN", "resumed");
  replicas_wanted_ = true;
}

void Core::On(const JobCancelled& event) {
  const auto it = jobs_.find(event.job);
  if (it == jobs_.end()) return;
  CloseAll(event.job);
  SetState(event.job, it->second, JobState::kCancelled, "CANCELLED", "cancelled by request");
  jobs_.erase(it);
}

void Core::On(const JobRemoved& event) {
  const auto it = jobs_.find(event.job);
  if (it == jobs_.end()) return;
  CloseAll(event.job);
  jobs_.erase(it);
}

void Core::SetState(JobHandle handle, Job& job, JobState state, const std::string& reason, const std::string& message,
                    absl::Status error) {
  if (job.state == state && job.reason == reason && (reason != job.short_reason || message == job.message)) return;
  job.state = state;
  job.reason = reason;
  job.message = message;
  out_->push_back(StateChanged{handle, state, reason, message, std::move(error)});
}

void Core::Fail(JobHandle handle, Job& job, const std::string& reason, const absl::Status& error) {
  CloseAll(handle);
  SetState(handle, job, JobState::kFailed, reason, std::string(error.message()), error);
  jobs_.erase(handle);
}

void Core::DropUnit(Job& job) {
  job.unit.reset();
  job.duplicated.clear();
  job.digest.reset();
}

void Core::CloseAll(JobHandle handle) {
  if (const auto it = jobs_.find(handle); it != jobs_.end()) DropUnit(it->second);
  for (auto& [worker_handle, worker] : workers_) {
    if (worker.busy && worker.busy->job == handle) worker.busy.reset();  // CloseJob makes it drop the work
    if (worker.replicas.erase(handle) > 0) out_->push_back(CloseReplica{worker_handle, handle});
    worker.seconds_per_item.erase(handle);
    worker.not_before.erase(handle);
  }
  replicas_wanted_ = true;
}

// --- workers
// ---------------------------------------------------------------------------------------------------------------

void Core::On(const WorkerAttached& event) {
  workers_[event.worker] = Worker{.kind = event.kind, .memory_bytes = event.memory_bytes, .only = event.only};
  replicas_wanted_ = true;
}

std::optional<uint32_t> Core::DropReplica(WorkerHandle worker_handle, Worker& worker, JobHandle handle, bool failure) {
  worker.replicas.erase(handle);
  if (worker.busy && worker.busy->job == handle) worker.busy.reset();
  replicas_wanted_ = true;
  const auto it = jobs_.find(handle);
  if (it == jobs_.end()) return std::nullopt;
  Observe(Observed::Kind::kReplicaLost, handle, worker_handle, 1);
  if (!it->second.unit) return std::nullopt;
  if (const Assignment* assignment = it->second.unit->Of(worker_handle); assignment != nullptr) {
    Observe(Observed::Kind::kReassigned, handle, worker_handle, assignment->count);
  }
  return it->second.unit->Release(worker_handle, failure);
}

void Core::On(const WorkerDetached& event) {
  const auto it = workers_.find(event.worker);
  if (it == workers_.end()) return;
  Worker worker = std::move(it->second);
  workers_.erase(it);
  const std::vector<std::pair<JobHandle, Replica>> replicas(worker.replicas.begin(), worker.replicas.end());
  for (const auto& [handle, replica] : replicas) {
    const std::optional<uint32_t> poison = DropReplica(event.worker, worker, handle, !event.orderly);
    if (!poison) continue;
    Job& job = jobs_.at(handle);
    Fail(handle, job, "POISON_ITEM",
         absl::InternalError(absl::StrCat("item ", *poison, " of step ", job.unit->step(), " ended ", kMaxItemFailures,
                                          " workers in a row; the workers' logs say how")));
  }
}

void Core::On(const WorkerLeaving& event) {
  if (const auto it = workers_.find(event.worker); it != workers_.end()) it->second.leaving = true;
}

void Core::On(const ReplicaReady& event) {
  const auto worker = workers_.find(event.worker);
  const auto job = jobs_.find(event.job);
  if (worker == workers_.end() || job == jobs_.end()) return;
  const auto replica = worker->second.replicas.find(event.job);
  if (replica == worker->second.replicas.end() || replica->second.ready) return;
  replica->second.ready = true;
  if (job->second.digest && job->second.unit->step() == event.step && *job->second.digest != event.digest) {
    Diverged(event.job, job->second,
             absl::StrCat("a replica rebuilt at step ", event.step, " differs from the others"));
  }
}

void Core::On(const ReplicaTrouble& event) {
  const auto worker = workers_.find(event.worker);
  const auto it = jobs_.find(event.job);
  if (worker == workers_.end() || it == jobs_.end() || !worker->second.replicas.contains(event.job)) return;
  Job& job = it->second;
  const std::optional<uint32_t> poison = DropReplica(event.worker, worker->second, event.job, true);
  out_->push_back(CloseReplica{event.worker, event.job});
  worker->second.not_before[event.job] = now_ + options_.trouble_backoff;
  Observe(Observed::Kind::kTrouble, event.job, event.worker, 1, std::string(event.status.message()));
  ++job.troubles;
  if (poison || (job.troubles >= options_.trouble_limit && ReadyReplicas(event.job) == 0)) {
    Fail(event.job, job, poison ? "POISON_ITEM" : "WORKER_TROUBLE", event.status);
  }
}

void Core::On(const WorkersShort& event) {
  const auto it = jobs_.find(event.job);
  if (it == jobs_.end()) return;
  it->second.short_reason = event.reason;
  it->second.short_message = event.message;
  UpdateReason(event.job, it->second);
}

// --- answers
// ---------------------------------------------------------------------------------------------------------------

void Core::On(const ItemResults& event) {
  TakeAnswers(event.worker, event.job, event.step, std::nullopt, event.first_item,
              static_cast<uint32_t>(event.losses.size()), event.digest,
              [&](uint32_t i) -> Unit::Answer { return event.losses[i]; });
}

void Core::On(const EvaluationResults& event) {
  TakeAnswers(event.worker, event.job, event.step, event.split, event.first_item,
              static_cast<uint32_t>(event.sums.size()), event.digest,
              [&](uint32_t i) -> Unit::Answer { return event.sums[i]; });
}

template <typename At>
void Core::TakeAnswers(WorkerHandle worker_handle, JobHandle handle, uint32_t step, std::optional<Split> split,
                       uint32_t first, uint32_t count, uint64_t digest, At at) {
  const auto worker_it = workers_.find(worker_handle);
  if (worker_it == workers_.end()) return;
  Worker& worker = worker_it->second;
  double seconds = 0;
  if (worker.busy && worker.busy->job == handle && worker.busy->step == step && worker.busy->evaluate == split &&
      worker.busy->first == first && worker.busy->count == count) {
    seconds = absl::ToDoubleSeconds(now_ - worker.busy->sent);
    worker.busy.reset();
  }
  const auto job_it = jobs_.find(handle);
  if (job_it == jobs_.end()) return;
  Job& job = job_it->second;
  if (!job.unit || job.committing || job.unit->step() != step || job.unit->evaluate() != split ||
      !job.unit->Covers(first, count) || job.unit->Of(worker_handle) == nullptr) {
    Observe(Observed::Kind::kLate, handle, worker_handle, count);
    return;
  }
  if (job.digest && *job.digest != digest) {
    Diverged(handle, job, absl::StrCat("replicas disagree at step ", step));
    return;
  }
  job.digest = digest;
  job.troubles = 0;
  if (seconds > 0) {
    const double per_item = seconds / count;
    if (!split) {
      double& average = worker.seconds_per_item[handle];
      average = average == 0 ? per_item : 0.7 * average + 0.3 * per_item;
    }
    std::deque<double>& recent = split ? job.evaluation_seconds : job.item_seconds;
    recent.push_back(per_item);
    if (recent.size() > kSamplesKept) recent.pop_front();
  }
  uint32_t accepted = 0;
  for (uint32_t i = 0; i < count; ++i) {
    switch (job.unit->Take(worker_handle, worker.kind, first + i, at(i), now_)) {
      case Unit::Verdict::kAccepted:
        ++accepted;
        break;
      case Unit::Verdict::kDuplicate:
        Observe(Observed::Kind::kDuplicate, handle, worker_handle, 1);
        break;
      case Unit::Verdict::kMismatch:
        Observe(Observed::Kind::kMismatch, handle, worker_handle, 1,
                absl::StrCat("item ", first + i, " of step ", step, ": workers of kinds ", worker.kind, " and ",
                             job.unit->KindOf(first + i), " differ by more than they may"));
        break;
      case Unit::Verdict::kAskAgain:
        Observe(Observed::Kind::kNonFinite, handle, worker_handle, 1,
                absl::StrCat("item ", first + i, " of step ", step, ": the loss is not finite; asking again"));
        break;
    }
  }
  if (accepted > 0) Observe(Observed::Kind::kAccepted, handle, worker_handle, accepted);
  job.unit->Release(worker_handle, false);
  if (job.unit->complete()) Complete(handle, job);
}

void Core::Diverged(JobHandle handle, Job& job, const std::string& message) {
  Observe(Observed::Kind::kDivergence, handle, 0, 1, message);
  if (++job.divergences >= options_.divergence_limit) {
    Fail(handle, job, "REPLICAS_DISAGREE",
         absl::InternalError(absl::StrCat(message, ", ", job.divergences, " times in a row although all were rebuilt: ",
                                          "the memory or the build of a worker is at fault")));
    return;
  }
  const uint32_t step = TargetStep(job);
  DropUnit(job);  // its answers may have been measured at wrong multipliers
  ForEachReplica(
      handle, [&](WorkerHandle worker_handle, Worker& worker, Replica&) { Open(worker_handle, worker, handle, step); });
}

void Core::Complete(JobHandle handle, Job& job) {
  if (!job.unit->evaluate()) {
    CompleteTraining(handle, job);
    return;
  }
  EvaluationRecord record{job.unit->step(), *job.unit->evaluate(), job.unit->Sums(), job.digest.value_or(0)};
  DropUnit(job);
  job.evaluations.push_back(record);
  out_->push_back(SaveEvaluation{handle, std::move(record)});
}

void Core::CompleteTraining(JobHandle handle, Job& job) {
  const method::MethodSpec& spec = job.config.method;
  const std::vector<method::ItemLosses> losses = job.unit->Losses();
  CommitStep commit{handle, {}, job.rule};
  commit.record.step = job.next_step;
  for (uint32_t p = 0; p < spec.probes; ++p) {
    commit.record.d.push_back(method::ProjectedGradient(
        absl::MakeConstSpan(losses).subspan(size_t{p} * spec.micro_batches, spec.micro_batches), spec.epsilon));
  }
  commit.record.coefficients = method::Coefficients(spec, job.next_step, commit.record.d, &commit.state_after);
  job.committed = StepCommitted{handle,
                                job.next_step + 1,
                                method::MeanLoss(losses),
                                method::LearningRate(spec, job.next_step),
                                std::sqrt(commit.state_after.mean_square),
                                job.unit->planned(),
                                job.unit->collect_wait(),
                                job.unit->answering_workers()};
  job.committing = commit;
  out_->push_back(std::move(commit));
}

void Core::On(const StepStored& event) {
  const auto it = jobs_.find(event.job);
  if (it == jobs_.end() || !it->second.committing || it->second.committing->record.step != event.step) return;
  Job& job = it->second;
  if (absl::IsAborted(event.status)) {
    CloseAll(event.job);
    jobs_.erase(it);
    return;
  }
  if (!event.status.ok()) {
    job.retry_at = now_ + options_.store_retry;
    SetState(event.job, job, job.state, "STORE_ERROR", std::string(event.status.message()));
    return;
  }
  const CommitStep commit = *std::exchange(job.committing, std::nullopt);
  StepCommitted told = *std::exchange(job.committed, std::nullopt);
  told.duration = now_ - told.duration;  // it held the time of the plan
  DropUnit(job);
  // Those that still lag behind the commit before this one get it now, by itself.
  ForEachReplica(event.job, [&](WorkerHandle worker, Worker&, Replica& replica) {
    if (replica.step + 1 != job.next_step) return;
    replica.step = job.next_step;
    out_->push_back(SendWork{worker, event.job, job.next_step, job.last_coefficients, std::nullopt, 0, 0});
  });
  job.rule = commit.state_after;
  job.divergences = 0;
  job.last_coefficients = commit.record.coefficients;
  ++job.next_step;
  const bool non_finite =
      std::any_of(commit.record.d.begin(), commit.record.d.end(), [](float d) { return std::isnan(d); });
  job.non_finite_run = non_finite ? job.non_finite_run + 1 : 0;
  out_->push_back(told);
  if (job.non_finite_run >= options_.non_finite_limit) {
    Fail(event.job, job, "DIVERGED",
         absl::FailedPreconditionError(absl::StrCat("the loss was not finite in ", job.non_finite_run,
                                                    " steps in a row; try a lower learning_rate or epsilon")));
    return;
  }
  if (job.config.snapshot_steps > 0 && job.next_step % job.config.snapshot_steps == 0 &&
      job.next_step < job.config.method.steps) {
    bool asked = false;
    ForEachReplica(event.job, [&](WorkerHandle worker, Worker&, Replica& replica) {
      if (asked || !replica.ready || replica.step + 1 != job.next_step) return;
      replica.step = job.next_step;
      out_->push_back(SendWork{worker, event.job, job.next_step, job.last_coefficients, std::nullopt, 0, 0});
      out_->push_back(RequestSnapshot{worker, event.job, job.next_step});
      asked = true;
    });
  }
}

void Core::On(const ResultSaved& event) {
  const auto it = jobs_.find(event.job);
  if (it == jobs_.end() || !it->second.saving) return;
  if (!event.status.ok()) {
    it->second.retry_at = now_ + options_.store_retry;
    SetState(event.job, it->second, it->second.state, "STORE_ERROR", std::string(event.status.message()));
    return;
  }
  CloseAll(event.job);
  jobs_.erase(it);
}

void Core::On(const Tick&) {
  for (auto& [handle, job] : jobs_) {
    if (job.retry_at && now_ >= *job.retry_at) {
      job.retry_at.reset();
      if (job.committing) {
        out_->push_back(*job.committing);
      } else if (job.saving) {
        out_->push_back(*job.saving);
      }
    }
    ForEachReplica(handle, [&, &job_handle = handle](WorkerHandle worker, Worker& state, Replica& replica) {
      if (replica.ready || now_ - replica.opened < options_.prepare_timeout) return;
      Observe(Observed::Kind::kTrouble, job_handle, worker, 1, "did not get ready in time");
      Open(worker, state, job_handle, TargetStep(jobs_.at(job_handle)));
    });
    DuplicateLateItems(handle, job);
    UpdateReason(handle, job);
  }
  replicas_wanted_ = true;  // backoffs may have passed
}

void Core::Observe(Observed::Kind kind, JobHandle job, WorkerHandle worker, uint32_t count, std::string message) {
  out_->push_back(Observed{kind, job, worker, count, std::move(message)});
}

uint32_t Core::ReadyReplicas(JobHandle handle) const {
  uint32_t ready = 0;
  for (const auto& [worker_handle, worker] : workers_) {
    const auto it = worker.replicas.find(handle);
    if (it != worker.replicas.end() && it->second.ready && !worker.leaving) ++ready;
  }
  return ready;
}

}  // namespace qzo::server::core
