// Who gets what, when: the scheduling half of Core.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "server/core/core.h"

namespace qzo::server::core {
namespace {

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

constexpr double kDeviations = 6;  // an item later than median + 6 MAD is given out again
constexpr size_t kSamplesForDeadline = 5;
// A step's items go out in one message a worker, because messages are what a step costs; an evaluation is long, and
// goes out in pieces so that workers that get ready meanwhile can help.
constexpr uint32_t kEvaluationItemsAtOnce = 2;

}  // namespace

uint32_t Core::TargetStep(const Job& job) const {
  if (job.unit) return job.unit->step();
  const Next next = NextOf(job.config, job.next_step, job.evaluations);
  const auto* evaluate = std::get_if<EvaluateNext>(&next);
  return evaluate != nullptr ? evaluate->step : job.next_step;
}

void Core::Open(WorkerHandle worker_handle, Worker& worker, JobHandle handle, uint32_t step) {
  if (worker.busy && worker.busy->job == handle) worker.busy.reset();  // OpenJob makes it drop the work
  worker.replicas[handle] = Replica{false, step, now_};
  out_->push_back(OpenReplica{worker_handle, handle, step});
}

bool Core::MayHold(const Worker& worker, JobHandle handle, const Job& job) const {
  if (worker.only) return *worker.only == handle;
  return HoldsWhole(job.config, worker.memory_bytes) && (job.config.kind.empty() || job.config.kind == worker.kind);
}

uint32_t Core::ReplicasHeld(JobHandle handle) const {
  uint32_t held = 0;
  for (const auto& [worker_handle, worker] : workers_) held += !worker.leaving && worker.replicas.contains(handle);
  return held;
}

uint32_t Core::ReplicasWanted(JobHandle handle) const {
  const auto it = jobs_.find(handle);
  if (it == jobs_.end() || it->second.state == JobState::kPaused || it->second.saving) return 0;
  // More workers than items could not all be used.
  const JobConfig& config = it->second.config;
  const uint32_t useful = std::max({config.method.items(), config.validation_items, config.min_workers});
  return useful - std::min(useful, ReplicasHeld(handle));
}

void Core::OpenReplicas() {
  if (!replicas_wanted_) return;
  replicas_wanted_ = false;
  std::vector<std::pair<JobHandle, Job*>> wanting;
  for (auto& [handle, job] : jobs_) {
    if (job.state != JobState::kPaused && !job.saving) wanting.emplace_back(handle, &job);
  }
  std::stable_sort(wanting.begin(), wanting.end(),
                   [](const auto& a, const auto& b) { return a.second->config.priority > b.second->config.priority; });
  for (auto& [handle, job] : wanting) {
    uint32_t wanted = ReplicasWanted(handle);
    for (auto& [worker_handle, worker] : workers_) {
      if (wanted == 0) break;
      if (worker.leaving || worker.replicas.contains(handle) ||
          worker.replicas.size() >= static_cast<size_t>(options_.max_replicas_per_worker) ||
          !MayHold(worker, handle, *job)) {
        continue;
      }
      if (const auto it = worker.not_before.find(handle); it != worker.not_before.end() && now_ < it->second) continue;
      Open(worker_handle, worker, handle, TargetStep(*job));
      --wanted;
    }
  }
}

bool Core::FinishIfDone(JobHandle handle, Job& job) {
  const Next next = NextOf(job.config, job.next_step, job.evaluations);
  const auto* finish = std::get_if<FinishNext>(&next);
  if (finish == nullptr) return false;
  job.saving = SaveResult{handle, finish->step, finish->replica_digest};
  SetState(handle, job, JobState::kRunning, finish->stopped_early ? "EARLY_STOPPED" : "SAVING_ADAPTER",
           absl::StrCat("saving the adapter of step ", finish->step));
  out_->push_back(*job.saving);
  return true;
}

bool Core::CanServe(const Worker& worker, JobHandle handle, const Job& job, uint32_t step) const {
  if (worker.leaving || worker.busy) return false;
  const auto it = worker.replicas.find(handle);
  if (it == worker.replicas.end() || !it->second.ready) return false;
  return it->second.step == step || (it->second.step + 1 == step && step == job.next_step);
}

void Core::PlanUnit(JobHandle handle, Job& job) {
  const Next next = NextOf(job.config, job.next_step, job.evaluations);
  if (const auto* evaluate = std::get_if<EvaluateNext>(&next); evaluate != nullptr) {
    job.unit.emplace(evaluate->step, evaluate->split, evaluate->items, now_, job.config.shape.layers.size());
    SetState(handle, job, JobState::kRunning, "EVALUATING", absl::StrCat("evaluating at step ", evaluate->step));
  } else {
    job.unit.emplace(job.next_step, std::nullopt, job.config.method.items(), now_, job.config.shape.layers.size());
    SetState(handle, job, JobState::kRunning, "STEPPING", "training");
  }
}

void Core::Dispatch() {
  const bool idle = std::any_of(workers_.begin(), workers_.end(),
                                [](const auto& entry) { return !entry.second.busy && !entry.second.leaving; });
  std::vector<std::pair<JobHandle, Job*>> runnable;
  for (auto& [handle, job] : jobs_) {
    if (job.state == JobState::kPaused || job.committing || job.saving) continue;
    if (!job.unit && FinishIfDone(handle, job)) continue;
    if (idle) runnable.emplace_back(handle, &job);
  }
  std::stable_sort(runnable.begin(), runnable.end(), [this](const auto& a, const auto& b) {
    const auto key = [this](const Job& job) {
      return std::make_tuple(-job.config.priority, project_time_.at(job.config.project), job.virtual_time);
    };
    return key(*a.second) < key(*b.second);
  });
  for (auto& [handle, job] : runnable) {
    const uint32_t step = TargetStep(*job);
    if (!job->unit) {
      // Replicas that stand elsewhere (the final test runs at the best step) are made anew where they are needed.
      const bool may_follow = step == job->next_step;
      ForEachReplica(handle, [&, h = handle](WorkerHandle worker_handle, Worker& worker, Replica& replica) {
        if (replica.step != step && !(replica.step + 1 == step && may_follow)) Open(worker_handle, worker, h, step);
      });
      if (ReadyReplicas(handle) < job->config.min_workers) continue;
    }
    std::vector<WorkerHandle> candidates;
    for (const auto& [worker_handle, worker] : workers_) {
      if (CanServe(worker, handle, *job, step)) candidates.push_back(worker_handle);
    }
    if (candidates.empty()) continue;
    if (!job->unit) PlanUnit(handle, *job);
    HandOut(handle, *job, candidates);
  }
}

void Core::HandOut(JobHandle handle, Job& job, const std::vector<WorkerHandle>& candidates) {
  const bool others = ReadyReplicas(handle) > 1;
  // Shares by measured speed; a worker without a measurement counts as an average one.
  double known = 0;
  int measured = 0;
  const auto speed = [&](WorkerHandle worker) {
    const auto& seconds = workers_.at(worker).seconds_per_item;
    const auto it = seconds.find(handle);
    return it == seconds.end() || it->second <= 0 ? 0.0 : 1 / it->second;
  };
  for (const WorkerHandle worker : candidates) {
    if (speed(worker) > 0) {
      known += speed(worker);
      ++measured;
    }
  }
  const double usual = measured > 0 ? known / measured : 1;
  double weight_left = known + usual * static_cast<double>(candidates.size() - static_cast<size_t>(measured));
  for (const WorkerHandle worker : candidates) {
    const auto free = job.unit->Free(worker, others);
    uint32_t items_left = 0;
    for (const auto& [first, count] : free) items_left += count;
    const double weight = speed(worker) > 0 ? speed(worker) : usual;
    if (items_left > 0) {
      auto share = static_cast<uint32_t>(std::lround(items_left * weight / weight_left));
      if (job.unit->evaluate()) share = std::min(share, kEvaluationItemsAtOnce);
      const auto largest =
          std::max_element(free.begin(), free.end(), [](auto a, auto b) { return a.second < b.second; });
      Send(worker, handle, job, largest->first, std::clamp<uint32_t>(share, 1, largest->second));
    }
    weight_left -= weight;
  }
}

void Core::Send(WorkerHandle worker_handle, JobHandle handle, Job& job, uint32_t first, uint32_t count) {
  Worker& worker = workers_.at(worker_handle);
  Replica& replica = worker.replicas.at(handle);
  SendWork work{worker_handle, handle, job.unit->step(), {}, job.unit->evaluate(), first, count};
  if (replica.step != work.step) work.coefficients = job.last_coefficients;
  replica.step = work.step;
  worker.busy = Busy{handle, work.step, work.evaluate, first, count, now_};
  job.unit->Assign(worker_handle, first, count, now_);
  const double cost = job.item_seconds.empty() ? 1e-3 : job.item_seconds.back() * count;
  job.virtual_time += cost;
  project_time_[job.config.project] += cost;
  out_->push_back(std::move(work));
}

absl::Duration Core::Deadline(const Job& job, uint32_t count) const {
  const std::deque<double>& recent = job.unit->evaluate() ? job.evaluation_seconds : job.item_seconds;
  if (recent.size() < kSamplesForDeadline) return options_.first_deadline;
  const std::vector<double> seconds(recent.begin(), recent.end());
  const double median = Median(seconds);
  std::vector<double> deviations;
  deviations.reserve(seconds.size());
  for (const double s : seconds) deviations.push_back(std::abs(s - median));
  return std::max(options_.least_deadline, absl::Seconds(count * (median + kDeviations * Median(deviations))));
}

void Core::DuplicateLateItems(JobHandle handle, Job& job) {
  if (!job.unit || job.committing) return;
  const std::map<WorkerHandle, Assignment> assignments = job.unit->assignments();
  for (const auto& [late, assignment] : assignments) {
    if (now_ - assignment.sent < Deadline(job, assignment.count) || job.duplicated.contains(late) ||
        !job.unit->StillNeeded(assignment)) {
      continue;
    }
    for (const auto& [worker_handle, worker] : workers_) {
      if (!CanServe(worker, handle, job, job.unit->step())) continue;
      job.duplicated.insert({late, worker_handle});
      Observe(Observed::Kind::kDuplicated, handle, late, assignment.count,
              absl::StrCat("items ", assignment.first, " to ", assignment.first + assignment.count - 1, " of step ",
                           job.unit->step(), " are late; another worker measures them too"));
      Send(worker_handle, handle, job, assignment.first, assignment.count);
      break;
    }
  }
}

void Core::UpdateReason(JobHandle handle, Job& job) {
  if (job.state == JobState::kPaused || job.committing || job.saving) return;
  const uint32_t ready = ReadyReplicas(handle);
  uint32_t preparing = 0;
  ForEachReplica(handle, [&](WorkerHandle, Worker& worker, Replica& replica) {
    if (!replica.ready && !worker.leaving) ++preparing;
  });
  const uint32_t needed = std::max<uint32_t>(1, job.config.min_workers);
  if (ready < needed && !(job.unit && ready > 0)) {
    if (ready == 0 && preparing == 0 && !job.short_reason.empty()) {
      SetState(handle, job, job.state, job.short_reason, job.short_message);
      return;
    }
    const std::string kind = job.config.kind.empty() ? "" : absl::StrCat(" of kind ", job.config.kind);
    SetState(handle, job, job.state, preparing > 0 ? "PREPARING_WORKERS" : "WAITING_FOR_WORKERS",
             absl::StrCat("needs ", needed, needed == 1 ? " worker" : " workers", kind, ": ", ready, " ready, ",
                          preparing, " preparing"));
  } else if (job.state == JobState::kQueued) {
    SetState(handle, job, job.state, "WAITING_FOR_TURN", "the workers are busy with other jobs");
  } else if (job.unit) {
    SetState(handle, job, job.state, job.unit->evaluate() ? "EVALUATING" : "STEPPING",
             job.unit->evaluate() ? "evaluating" : "training");
  }
}

}  // namespace qzo::server::core
