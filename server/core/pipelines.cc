#include "server/core/pipelines.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/text.h"

namespace qzo::server::core {
namespace {

constexpr WorkerHandle kFirstPipeline = WorkerHandle{1} << 63;
using Cause = PipelineLost::Cause;
bool IsPipeline(WorkerHandle handle) { return handle >= kFirstPipeline; }

// Until a pipeline is formed in place of one that lost a link: by then it is mostly known who died.
constexpr absl::Duration kFirstBackoff = absl::Milliseconds(200);
constexpr absl::Duration kLongestBackoff = absl::Minutes(1);

std::string Bytes(int64_t bytes) { return base::HumanBytes(static_cast<uint64_t>(bytes)); }

uint32_t IndexIn(const std::vector<StageHolder>& stages, WorkerHandle worker) {
  const auto at = std::find_if(stages.begin(), stages.end(), [&](const auto& stage) { return stage.worker == worker; });
  return static_cast<uint32_t>(at - stages.begin());
}

bool InStages(const JobConfig& config) { return !config.shape.layers.empty() && config.stages != 1; }

}  // namespace

void Pipelines::Handle(const Event& event, absl::Duration now, std::vector<Action>* actions) {
  now_ = now;
  out_ = actions;
  std::visit([this](const auto& e) { On(e); }, event);
  while (wanted_ || !dissolved_.empty()) {
    for (const WorkerHandle handle : std::exchange(dissolved_, {})) Pass(WorkerDetached{handle, true});
    if (std::exchange(wanted_, false)) Form();
  }
  spokesmen_.clear();
  out_ = nullptr;
}

bool Pipelines::Pipeline::IsReady() const {
  return std::all_of(ready.begin(), ready.end(), [](bool r) { return r; });
}

std::vector<JobHandle> Pipelines::JobsOf(WorkerHandle worker) const {
  std::vector<JobHandle> jobs = core_.JobsOf(worker);
  if (const auto it = workers_.find(worker); it != workers_.end()) {
    for (const auto& [job, pipeline] : it->second.pipelines) jobs.push_back(job);
  }
  std::sort(jobs.begin(), jobs.end());
  return jobs;
}

std::vector<std::vector<StageHolder>> Pipelines::PipelinesOf(JobHandle job) const {
  std::vector<std::vector<StageHolder>> found;
  for (const auto& [handle, pipeline] : pipelines_) {
    if (pipeline.job == job) found.push_back(pipeline.stages);
  }
  return found;
}

// --- events
// ------------------------------------------------------------------------------------------------------------------

template <typename Other>
void Pipelines::On(const Other& event) {
  Pass(event);
}

void Pipelines::On(const JobAdded& event) {
  jobs_[event.job] = Job{.config = event.config};
  wanted_ = true;
  Pass(event);
}

void Pipelines::On(const JobResumed& event) {
  wanted_ = true;
  Pass(event);
}

void Pipelines::On(const WorkerAttached& event) {
  workers_[event.worker] = Worker{.kind = event.kind, .memory_bytes = event.memory_bytes, .stages = event.stages};
  wanted_ = true;
  Pass(event);
}

void Pipelines::On(const WorkerDetached& event) {
  LoseAllOf(event.worker, Cause::kWorkerGone, event.orderly);
  workers_.erase(event.worker);
  wanted_ = true;
  Pass(event);
}

void Pipelines::On(const WorkerLeaving& event) {
  if (const auto it = workers_.find(event.worker); it != workers_.end()) it->second.leaving = true;
  LoseAllOf(event.worker, Cause::kWorkerLeft, /*orderly=*/true);
  wanted_ = true;
  Pass(event);
}

void Pipelines::On(const ReplicaReady& event) {
  if (event.pipeline == 0) return Pass(event);
  uint32_t index = 0;
  const auto [handle, pipeline] = Find(event.worker, event.job, event.pipeline, &index);
  if (pipeline == nullptr || pipeline->ready[index]) return;
  pipeline->ready[index] = true;
  pipeline->digest += event.digest;
  if (pipeline->IsReady()) Pass(ReplicaReady{handle, event.job, event.step, pipeline->digest});
}

template <typename Results>
void Pipelines::PassResults(Results event) {
  const auto worker = workers_.find(event.worker);
  if (worker != workers_.end()) {
    if (const auto it = worker->second.pipelines.find(event.job); it != worker->second.pipelines.end()) {
      if (pipelines_.at(it->second).stages.back().worker != event.worker) return;  // only the last stage has losses
      event.worker = it->second;
      jobs_.at(event.job).backoff = absl::ZeroDuration();  // it works: an earlier loss of links is over
    }
  }
  Pass(event);
}

void Pipelines::On(const ItemResults& event) { PassResults(event); }
void Pipelines::On(const EvaluationResults& event) { PassResults(event); }

void Pipelines::On(const ReplicaTrouble& event) {
  const auto worker = workers_.find(event.worker);
  const bool member = worker != workers_.end() && worker->second.pipelines.contains(event.job);
  if (event.pipeline == 0) {
    // A member speaks of an opening that it never had, or lost and told so.
    if (member) return;
    wanted_ = true;
    return Pass(event);
  }
  uint32_t index = 0;
  const auto [handle, pipeline] = Find(event.worker, event.job, event.pipeline, &index);
  if (pipeline == nullptr) return;
  if (!absl::IsUnavailable(event.status)) return Lose(handle, index, Cause::kTrouble, false, event.status);
  Job& job = jobs_.at(event.job);
  job.backoff = std::clamp(2 * job.backoff, kFirstBackoff, kLongestBackoff);
  job.form_not_before = now_ + job.backoff;
  for (const StageHolder& stage : pipeline->stages) ++workers_.at(stage.worker).links_lost[event.job];
  Lose(handle, index, Cause::kLink, false, event.status);
}

void Pipelines::On(const Tick& event) {
  if (retry_at_ && now_ >= *retry_at_) {
    retry_at_.reset();
    wanted_ = true;
  }
  // The core would make the replica anew at the same workers.
  std::vector<std::pair<WorkerHandle, uint32_t>> late;
  for (const auto& [handle, pipeline] : pipelines_) {
    if (pipeline.IsReady() || now_ - pipeline.opened < options_.prepare_timeout) continue;
    const auto stage = std::find(pipeline.ready.begin(), pipeline.ready.end(), false);
    late.emplace_back(handle, static_cast<uint32_t>(stage - pipeline.ready.begin()));
  }
  for (const auto& [handle, index] : late) {
    if (pipelines_.contains(handle)) Lose(handle, index, Cause::kLate, /*orderly=*/true);
  }
  Pass(event);
}

// --- the core's actions
// ------------------------------------------------------------------------------------------------------

void Pipelines::Pass(const Event& event) {
  std::vector<Action> actions;
  core_.Handle(event, now_, &actions);
  for (const Action& action : actions) {
    std::visit([this](const auto& a) { Translate(a); }, action);
  }
}

template <typename Other>
void Pipelines::Translate(const Other& action) {
  out_->push_back(action);
}

void Pipelines::Translate(const OpenReplica& action) {
  if (!IsPipeline(action.worker)) return out_->push_back(action);
  Pipeline& pipeline = pipelines_.at(action.worker);
  if (pipeline.number == 0) out_->push_back(PipelineFormed{action.job, pipeline.stages});
  pipeline.number = next_number_++;
  pipeline.step = action.step;
  pipeline.opened = now_;
  pipeline.digest = 0;
  const auto count = static_cast<uint32_t>(pipeline.stages.size());
  pipeline.ready.assign(count, false);
  for (uint32_t i = 0; i < count; ++i) {
    out_->push_back(OpenReplica{pipeline.stages[i].worker, action.job, action.step,
                                Stage{.pipeline = pipeline.number,
                                      .index = i,
                                      .count = count,
                                      .layers = pipeline.stages[i].layers,
                                      .previous = i > 0 ? pipeline.stages[i - 1].worker : 0,
                                      .next = i + 1 < count ? pipeline.stages[i + 1].worker : 0}});
  }
}

// Its one replica is not wanted any more: nor is the pipeline.
void Pipelines::Translate(const CloseReplica& action) {
  wanted_ = true;
  if (!IsPipeline(action.worker)) return out_->push_back(action);
  if (!pipelines_.contains(action.worker)) return;  // it has ended
  const Pipeline pipeline = Remove(action.worker);
  for (const StageHolder& stage : pipeline.stages) out_->push_back(CloseReplica{stage.worker, action.job});
  dissolved_.insert(action.worker);
}

void Pipelines::Translate(const SendWork& action) {
  if (!IsPipeline(action.worker)) return out_->push_back(action);
  SendWork work = action;
  for (const StageHolder& stage : pipelines_.at(action.worker).stages) {
    work.worker = stage.worker;
    out_->push_back(work);
  }
}

void Pipelines::Translate(const RequestSnapshot& action) {
  if (!IsPipeline(action.worker)) return out_->push_back(action);
  for (const StageHolder& stage : pipelines_.at(action.worker).stages) {
    out_->push_back(RequestSnapshot{stage.worker, action.job, action.step});
  }
}

void Pipelines::Translate(const Observed& action) {
  Observed observed = action;
  if (const auto it = spokesmen_.find(action.worker); it != spokesmen_.end()) {
    observed.worker = it->second;
  } else if (const auto pipeline = pipelines_.find(action.worker); pipeline != pipelines_.end()) {
    observed.worker = pipeline->second.stages.back().worker;  // who answers for it
  }
  out_->push_back(std::move(observed));
}

// --- the ends of pipelines
// ------------------------------------------------------------------------------------------------------

std::pair<WorkerHandle, Pipelines::Pipeline*> Pipelines::Find(WorkerHandle worker, JobHandle job, uint64_t number,
                                                              uint32_t* index) {
  const auto it = workers_.find(worker);
  if (it == workers_.end()) return {0, nullptr};
  const auto member = it->second.pipelines.find(job);
  if (member == it->second.pipelines.end()) return {0, nullptr};
  Pipeline& pipeline = pipelines_.at(member->second);
  if (pipeline.number != number) return {0, nullptr};
  *index = IndexIn(pipeline.stages, worker);
  return {member->second, &pipeline};
}

Pipelines::Pipeline Pipelines::Remove(WorkerHandle handle) {
  Pipeline pipeline = std::move(pipelines_.extract(handle).mapped());
  for (const StageHolder& stage : pipeline.stages) workers_.at(stage.worker).pipelines.erase(pipeline.job);
  spokesmen_[handle] = pipeline.stages.back().worker;
  wanted_ = true;
  return pipeline;
}

void Pipelines::Lose(WorkerHandle handle, uint32_t index, Cause cause, bool orderly, const absl::Status& status) {
  const Pipeline pipeline = Remove(handle);
  const WorkerHandle guilty = pipeline.stages[index].worker;
  spokesmen_[handle] = guilty;
  for (const StageHolder& stage : pipeline.stages) {
    if (cause != Cause::kWorkerGone || stage.worker != guilty) {
      out_->push_back(CloseReplica{stage.worker, pipeline.job});
    }
  }
  out_->push_back(PipelineLost{pipeline.job, guilty, index, cause, std::string(status.message())});
  if (cause == Cause::kTrouble || cause == Cause::kLate) {
    workers_.at(guilty).not_before[pipeline.job] = now_ + options_.trouble_backoff;
  }
  // The core counts it, and may find that it was the job's last.
  if (cause == Cause::kTrouble) Pass(ReplicaTrouble{handle, pipeline.job, status});
  Pass(WorkerDetached{handle, orderly});
}

void Pipelines::LoseAllOf(WorkerHandle worker, Cause cause, bool orderly) {
  const auto it = workers_.find(worker);
  if (it == workers_.end()) return;
  while (!it->second.pipelines.empty()) {
    const WorkerHandle handle = it->second.pipelines.begin()->second;
    Lose(handle, IndexIn(pipelines_.at(handle).stages, worker), cause, orderly);
  }
}

// --- their beginnings
// -----------------------------------------------------------------------------------------------------------

void Pipelines::RetryAt(absl::Duration time) { retry_at_ = retry_at_ ? std::min(*retry_at_, time) : time; }

void Pipelines::Form() {
  std::vector<JobHandle> order;
  for (auto it = jobs_.begin(); it != jobs_.end();) {
    if (!core_.StatusOf(it->first)) {
      for (auto& [worker_handle, worker] : workers_) {
        worker.not_before.erase(it->first);
        worker.links_lost.erase(it->first);
      }
      it = jobs_.erase(it);
      continue;
    }
    if (InStages(it->second.config)) order.push_back(it->first);
    ++it;
  }
  std::stable_sort(order.begin(), order.end(), [this](JobHandle a, JobHandle b) {
    return jobs_.at(a).config.priority > jobs_.at(b).config.priority;
  });
  for (const JobHandle handle : order) {
    Job& job = jobs_.at(handle);
    if (std::pair<std::string, std::string> shortage = FormFor(handle, job); shortage != job.told) {
      job.told = shortage;
      Pass(WorkersShort{handle, std::move(shortage.first), std::move(shortage.second)});
    }
  }
}

std::pair<std::string, std::string> Pipelines::FormFor(JobHandle handle, const Job& job) {
  if (now_ < job.form_not_before) {
    RetryAt(job.form_not_before);
    return {};
  }
  std::vector<std::vector<StageHolder>> plans = PlanAll(handle, job);
  const uint32_t reached = core_.ReplicasHeld(handle) + static_cast<uint32_t>(plans.size());
  if (!plans.empty() && reached < job.config.min_workers) {
    return {"WAITING_FOR_WORKERS",
            absl::StrCat("needs ", job.config.min_workers,
                         " replicas, each held by several workers: there are workers for ", reached)};
  }
  if (plans.empty()) return Shortage(handle, job);
  // One by one: when the core hears of one it may give memory to other jobs.
  for (; !plans.empty(); plans = PlanAll(handle, job)) Attach(handle, std::move(plans.front()));
  return {};
}

std::vector<std::vector<StageHolder>> Pipelines::PlanAll(JobHandle handle, const Job& job) {
  const uint32_t wanted = core_.ReplicasWanted(handle);
  std::vector<std::vector<StageHolder>> plans;
  for (auto& [kind, candidates] : Candidates(handle, job)) {
    while (plans.size() < wanted) {
      std::optional<std::vector<StageHolder>> plan = Plan(job.config, &candidates);
      if (!plan) break;
      plans.push_back(*std::move(plan));
    }
  }
  return plans;
}

std::optional<std::vector<StageHolder>> Pipelines::Plan(const JobConfig& config,
                                                        std::vector<WorkerHandle>* candidates) const {
  std::vector<int64_t> memory;
  for (const WorkerHandle worker : *candidates) memory.push_back(FreeMemory(worker, workers_.at(worker)));
  const auto most = static_cast<uint32_t>(std::min(candidates->size(), config.shape.layers.size()));
  const bool automatic = config.stages == 0;
  for (uint32_t stages = automatic ? 2 : config.stages; stages <= (automatic ? most : config.stages); ++stages) {
    if (stages > most || MissingBytes(config.shape, stages, memory) > 0) continue;
    const std::optional<Placing> placing = PlaceStages(config.shape, stages, memory);
    if (!placing) continue;
    std::vector<StageHolder> plan;
    for (uint32_t i = 0; i < stages; ++i) plan.push_back({(*candidates)[placing->order[i]], placing->layers[i]});
    std::erase_if(*candidates, [&](WorkerHandle worker) { return IndexIn(plan, worker) < plan.size(); });
    return plan;
  }
  return std::nullopt;
}

void Pipelines::Attach(JobHandle handle, std::vector<StageHolder> stages) {
  const WorkerHandle pipeline = kFirstPipeline + next_pipeline_++;
  for (const StageHolder& stage : stages) workers_.at(stage.worker).pipelines[handle] = pipeline;
  const std::string kind = workers_.at(stages.front().worker).kind;
  pipelines_[pipeline] = Pipeline{.job = handle, .stages = std::move(stages)};
  Pass(WorkerAttached{.worker = pipeline, .kind = kind, .only = handle});
  // The core may have preferred a worker that holds the whole, and could be asked again just now.
  if (const auto it = pipelines_.find(pipeline); it != pipelines_.end() && it->second.number == 0) {
    Remove(pipeline);
    dissolved_.insert(pipeline);
  }
}

bool Pipelines::Usable(const Worker& worker, const JobConfig& config) const {
  return !worker.leaving && (config.kind.empty() || config.kind == worker.kind);
}

bool Pipelines::IsBarred(const Worker& worker, JobHandle handle) const {
  const auto it = worker.not_before.find(handle);
  return it != worker.not_before.end() && now_ < it->second;
}

std::map<std::string, std::vector<WorkerHandle>> Pipelines::Candidates(JobHandle handle, const Job& job) {
  std::map<std::string, std::vector<WorkerHandle>> by_kind;
  for (const auto& [worker_handle, worker] : workers_) {
    if (!worker.stages || !Usable(worker, job.config) || worker.pipelines.contains(handle) ||
        HoldsWhole(job.config, worker.memory_bytes)) {
      continue;
    }
    if (IsBarred(worker, handle)) {
      RetryAt(worker.not_before.at(handle));
      continue;
    }
    by_kind[worker.kind].push_back(worker_handle);
  }
  for (auto& [kind, workers] : by_kind) {
    const auto key = [&](WorkerHandle member) {
      const Worker& worker = workers_.at(member);
      const auto lost = worker.links_lost.find(handle);
      return std::make_pair(worker.pipelines.size(), lost == worker.links_lost.end() ? 0 : lost->second);
    };
    std::stable_sort(workers.begin(), workers.end(), [&](WorkerHandle a, WorkerHandle b) { return key(a) < key(b); });
  }
  return by_kind;
}

int64_t Pipelines::FreeMemory(WorkerHandle handle, const Worker& worker) const {
  if (worker.memory_bytes == 0) return kUnlimited;
  int64_t free = worker.memory_bytes;
  for (const auto& [job, pipeline_handle] : worker.pipelines) {
    const Pipeline& pipeline = pipelines_.at(pipeline_handle);
    for (const StageHolder& stage : pipeline.stages) {
      if (stage.worker == handle) free -= StageBytes(jobs_.at(job).config.shape, stage.layers);
    }
  }
  // Jobs on one base model share its weights: the largest stands for all of them.
  std::map<std::string, int64_t> whole;
  for (const JobHandle job : core_.JobsOf(handle)) {
    const auto it = jobs_.find(job);
    if (it == jobs_.end()) continue;
    int64_t& bytes = whole[it->second.config.base_model];
    bytes = std::max(bytes, it->second.config.shape.whole_bytes);
  }
  for (const auto& [base_model, bytes] : whole) free -= bytes;
  return std::max<int64_t>(free, 0);
}

std::pair<std::string, std::string> Pipelines::Shortage(JobHandle handle, const Job& job) const {
  const JobConfig& config = job.config;
  std::vector<int64_t> memory;
  std::map<std::string, std::vector<int64_t>> by_kind;
  int64_t largest = 0;
  for (const auto& [worker_handle, worker] : workers_) {
    if (!Usable(worker, config)) continue;
    if (worker.pipelines.contains(handle) || HoldsWhole(config, worker.memory_bytes) || IsBarred(worker, handle)) {
      return {};
    }
    largest = std::max(largest, worker.memory_bytes);
    if (worker.stages) by_kind[worker.kind].push_back(FreeMemory(worker_handle, worker));
  }
  // The kind that comes closest.
  for (const auto& [kind, found] : by_kind) {
    if (found.size() > memory.size()) memory = found;
  }
  const std::string kind = config.kind.empty() ? "one kind" : absl::StrCat("kind ", config.kind);
  const size_t stages = memory.size();
  if (config.stages == 0 && workers_.empty()) return {};  // nobody is there: the core says so
  if (stages < std::max<uint32_t>(2, config.stages)) {
    return {
        "WAITING_FOR_WORKERS",
        config.stages == 0
            ? absl::StrCat("no worker holds the model, ", Bytes(config.shape.whole_bytes), " with its multipliers (",
                           Bytes(largest), " at most), and ", stages, " of ", kind, " can hold a part of it")
            : absl::StrCat("needs ", config.stages, " workers of ", kind,
                           " that can hold a part of the model (--stage-address): ", stages, " attached")};
  }
  const auto most = static_cast<uint32_t>(std::min(stages, config.shape.layers.size()));
  int64_t missing = kUnlimited;
  uint32_t best = 0;
  for (uint32_t s = config.stages == 0 ? 2 : config.stages; s <= (config.stages == 0 ? most : config.stages); ++s) {
    const int64_t lacks = MissingBytes(config.shape, s, memory);
    if (lacks < missing) {
      missing = lacks;
      best = s;
    }
  }
  const std::string needed = absl::StrCat(best, " stages of the model need ", Bytes(PipelineBytes(config.shape, best)),
                                          " of workers of ", kind);
  return {"WAITING_FOR_MEMORY",
          missing > 0
              ? absl::StrCat(needed, ": ", Bytes(missing), " are missing")
              : absl::StrCat(needed, ": they have it, but some layer fits none of them; other jobs may hold it")};
}

}  // namespace qzo::server::core
