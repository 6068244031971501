#include "worker/agent.h"

#include <spdlog/spdlog.h>

#include <new>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/graph/cpu_passes.h"
#include "model/graph/gpu_passes.h"
#include "model/graph/stage_passes.h"
#include "proto/grpc_status.h"
#include "worker/process.h"

namespace qzo::worker {
namespace {

constexpr uint64_t kTransferLane = 0;

// Ends a transfer when its job is closed.
class AbortableSource final : public BlobSource {
 public:
  AbortableSource(BlobSource* source, const std::atomic<bool>* closed) : source_(source), closed_(closed) {}
  absl::Status Fetch(const std::string& digest, const BlobSink& sink) override {
    return source_->Fetch(digest, [&](std::string_view piece) {
      return *closed_ ? absl::CancelledError("the job was closed") : sink(piece);
    });
  }

 private:
  BlobSource* const source_;
  const std::atomic<bool>* const closed_;
};

template <typename Result>
absl::StatusOr<Result> NoMemoryIsAStatus(const std::function<absl::StatusOr<Result>()>& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  }
}

}  // namespace

Agent::Agent(const Options& options, ModelCache* cache, BlobSource* blobs, SnapshotSink* snapshots,
             const base::Clock* clock, Metrics* metrics)
    : options_(options),
      cache_(cache),
      blobs_(blobs),
      snapshots_(snapshots),
      metrics_(metrics),
      pool_(options.threads),
      workshop_{options.kernels, &pool_, clock, metrics, options.memory_bytes, &replica_bytes_},
      serving_({.compute = &compute_,
                .transfers = &transfers_,
                .blobs = blobs,
                .workshop = workshop_,
                .arithmetic = options.arithmetic,
                .replay_slice = options.replay_slice,
                .engine_for = [this](const std::string& digest) { return EngineFor(digest, blobs_); },
                .mapped_bytes = [this] { return cache_->mapped_bytes(); }}) {
  compute_thread_ = std::thread([this] {
    while (compute_.RunNext()) {
    }
  });
  transfer_thread_ = std::thread([this] {
    while (transfers_.RunNext()) {
    }
  });
}

Agent::~Agent() {
  Connect(nullptr);
  std::list<StageThread> stages;
  {
    base::MutexLock lock(&mu_);
    stages.swap(stage_threads_);
  }
  for (StageThread& stage : stages) stage.thread.join();  // while their turns still come
  transfers_.Stop();
  compute_.Stop();
  transfer_thread_.join();
  compute_thread_.join();
}

void Agent::Connect(const std::shared_ptr<Uplink>& uplink) {
  std::map<uint32_t, SlotPtr> dropped;
  bool leave = false;
  {
    base::MutexLock lock(&mu_);
    dropped.swap(slots_);
    uplink_ = uplink;
    leave = draining_ && uplink != nullptr;
  }
  for (const auto& [job, slot] : dropped) Close(slot);
  if (leave) DrainFrom(uplink);
}

void Agent::Receive(const v1::CoordinatorMessage& message) {
  switch (message.message_case()) {
    case v1::CoordinatorMessage::kWork:
      if (const SlotPtr slot = FindSlot(message.work().job())) {
        Schedule(slot, [work = message.work()](Slot* at) -> absl::StatusOr<bool> {
          v1::WorkerMessage answer;
          QZO_ASSIGN_OR_RETURN(*answer.mutable_results(), at->replica->Measure(work, at->closed));
          if (work.item_count() > 0 && at->replica->answers() && !at->closed) at->uplink->Send(answer);
          return false;
        });
      }
      return;
    case v1::CoordinatorMessage::kEvalWork:
      if (const SlotPtr slot = FindSlot(message.eval_work().job())) {
        Schedule(slot, [work = message.eval_work()](Slot* at) -> absl::StatusOr<bool> {
          v1::WorkerMessage answer;
          QZO_ASSIGN_OR_RETURN(*answer.mutable_eval_results(), at->replica->Evaluate(work, at->closed));
          if (at->replica->answers() && !at->closed) at->uplink->Send(answer);
          return false;
        });
      }
      return;
    case v1::CoordinatorMessage::kSnapshot:
      if (const SlotPtr slot = FindSlot(message.snapshot().job())) {
        Schedule(slot, [this](Slot* at) -> absl::StatusOr<bool> {
          QZO_RETURN_IF_ERROR(SendSnapshot(at));
          return false;
        });
      }
      return;
    case v1::CoordinatorMessage::kOpen:
      return Open(message.open());
    case v1::CoordinatorMessage::kClose: {
      SlotPtr slot;
      {
        base::MutexLock lock(&mu_);
        if (auto node = slots_.extract(message.close().job())) slot = std::move(node.mapped());
      }
      if (slot != nullptr) Close(slot);
      return;
    }
    case v1::CoordinatorMessage::kDrain:
      return Drain();
    case v1::CoordinatorMessage::kAttached:
      return spdlog::info("attached as {}", message.attached().worker());
    case v1::CoordinatorMessage::MESSAGE_NOT_SET:
      return spdlog::warn("ignored a message of a kind that this version does not know");
  }
}

Agent::SlotPtr Agent::FindSlot(uint32_t job) {
  std::shared_ptr<Uplink> uplink;
  {
    base::MutexLock lock(&mu_);
    if (const auto found = slots_.find(job); found != slots_.end()) return found->second;
    if (draining_) return nullptr;  // jobs that came too late
    uplink = uplink_;
  }
  v1::WorkerMessage message;
  message.mutable_trouble()->set_job(job);
  *message.mutable_trouble()->mutable_status() =
      rpc::ToProto(absl::NotFoundError(absl::StrCat("job ", job, " is not open")));
  if (uplink != nullptr) uplink->Send(message);
  return nullptr;
}

void Agent::Open(const v1::OpenJob& open) {
  SlotPtr slot, replaced;
  {
    base::MutexLock lock(&mu_);
    if (draining_ || uplink_ == nullptr) return;
    slot = std::make_shared<Slot>(open.job(), next_lane_++, uplink_);
    if (auto node = slots_.extract(open.job())) replaced = std::move(node.mapped());
  }
  if (replaced != nullptr) Close(replaced);
  const absl::Status staged = open.has_stage() ? OpenStage(slot, open.stage()) : absl::OkStatus();
  QueueOf(*slot).Hold(slot->lane);  // commits may arrive before the job is loaded
  bool late = false;                // the stream has ended meanwhile, or the worker drains
  {
    base::MutexLock lock(&mu_);
    late = draining_ || uplink_ != slot->uplink;
    if (!late) slots_[open.job()] = slot;
  }
  if (late) return Close(slot);
  if (!staged.ok()) return Fail(slot, staged);
  Schedule(slot, [this, name = open.name()](Slot* at) -> absl::StatusOr<bool> {
    QZO_ASSIGN_OR_RETURN(const bool done, at->replica->Replay(options_.replay_slice));
    if (!done) return true;
    if (at->stage != nullptr) QZO_RETURN_IF_ERROR(at->stage->Connect());
    v1::WorkerMessage message;
    *message.mutable_ready() = at->replica->Ready();
    spdlog::info("{}: replica ready at step {}", name, message.ready().step());
    if (!at->closed) at->uplink->Send(message);
    at->ready = true;
    return false;
  });
  transfers_.Push(kTransferLane, [this, slot, open] { return Load(slot, open), false; });
}

absl::Status Agent::OpenStage(const SlotPtr& slot, const v1::StagePlan& plan) {
  slot->pipeline = plan.pipeline();
  if (options_.stages == nullptr) {
    return absl::FailedPreconditionError(
        "this worker has no --stage-address, so that it can be no stage of a pipeline");
  }
  slot->own_queue = std::make_shared<FairQueue>();
  // Looks at the links when one has ended while nobody waited for it. Holds nothing but the queue, for it may be called
  // when slot and agent are gone.
  const auto link_ended = [this, queue = slot->own_queue, weak = std::weak_ptr<Slot>(slot), lane = slot->lane] {
    queue->Push(lane, [this, weak] {
      const SlotPtr found = weak.lock();
      if (found == nullptr) return false;
      return RunWork(found, [](Slot* at) -> absl::StatusOr<bool> {
        QZO_RETURN_IF_ERROR(at->stage->link_status());
        return false;
      });
    });
  };
  QZO_ASSIGN_OR_RETURN(slot->stage, Stage::Open(plan,
                                                {.transport = options_.stages,
                                                 .communicators = options_.communicators,
                                                 .compute = &compute_,
                                                 .lane = slot->lane,
                                                 .clock = workshop_.clock,
                                                 .metrics = metrics_},
                                                link_ended));
  StartStageThread(slot->own_queue);
  return absl::OkStatus();
}

void Agent::StartStageThread(std::shared_ptr<FairQueue> queue) {
  base::MutexLock lock(&mu_);
  for (auto stage = stage_threads_.begin(); stage != stage_threads_.end();) {
    if (!stage->ended) {
      ++stage;
      continue;
    }
    stage->thread.join();
    stage = stage_threads_.erase(stage);
  }
  StageThread& stage = stage_threads_.emplace_back();
  stage.queue = std::move(queue);
  stage.thread = std::thread([&stage] {  // lists keep their elements where they are
    while (stage.queue->RunNext()) {
    }
    stage.ended = true;
  });
}

void Agent::Close(const SlotPtr& slot) {
  slot->closed = true;
  if (slot->own_queue != nullptr) {
    if (slot->stage != nullptr) slot->stage->End();
    slot->own_queue->Drop(slot->lane);
    slot->own_queue->Stop();
  }
  compute_.Drop(slot->lane);
}

void Agent::Load(const SlotPtr& slot, const v1::OpenJob& open) {
  if (slot->closed) return;
  AbortableSource blobs(blobs_, &slot->closed);
  absl::StatusOr<std::unique_ptr<Job>> job =
      NoMemoryIsAStatus<std::unique_ptr<Job>>([&]() -> absl::StatusOr<std::unique_ptr<Job>> {
        const std::string& model = open.spec().base_model_digest();
        Stage* const stage = slot->stage.get();
        QZO_ASSIGN_OR_RETURN(std::shared_ptr<ModelEngine> engine,
                             stage == nullptr ? EngineFor(model, &blobs) : StageEngineFor(model, &blobs, stage));
        return Job::Load(open, std::move(engine), workshop_, cache_, &blobs, stage);
      });
  metrics_->peak_resident_bytes.Set(static_cast<double>(PeakResidentBytes()));
  if (!job.ok()) return Fail(slot, job.status());
  slot->replica = std::move(*job);
  QueueOf(*slot).Release(slot->lane);
}

absl::StatusOr<std::shared_ptr<ModelEngine>> Agent::EngineFor(const std::string& digest, BlobSource* blobs) {
  QZO_ASSIGN_OR_RETURN(std::shared_ptr<const model::Model> model, cache_->GetModel(digest, blobs));
  std::weak_ptr<ModelEngine>& known = engines_[digest];
  if (std::shared_ptr<ModelEngine> engine = known.lock()) return engine;
  QZO_ASSIGN_OR_RETURN(std::shared_ptr<ModelEngine> engine, MakeEngine(std::move(model), options_.max_rows, nullptr));
  known = engine;
  return engine;
}

// A stage's engine is not shared with other jobs: what it holds of a pass must last from one turn to the next.
absl::StatusOr<std::shared_ptr<ModelEngine>> Agent::StageEngineFor(const std::string& digest, BlobSource* blobs,
                                                                   Stage* stage) {
  QZO_ASSIGN_OR_RETURN(std::shared_ptr<const model::Model> model, cache_->GetModel(digest, blobs, stage->layers()));
  const model::Model& borrowed = *model;
  const v1::StagePlan& plan = stage->plan();
  if (borrowed.has_first_layer() != stage->first() || borrowed.has_last_layer() != stage->last()) {
    return absl::InvalidArgumentError(absl::StrCat("stage ", plan.index() + 1, " of ", plan.count(), ": layers [",
                                                   plan.first_layer(), ", ", plan.end_layer(), ") of ",
                                                   borrowed.info().layers));
  }
  stage->set_embedding_length(borrowed.info().embedding_length);
  return MakeEngine(std::move(model), plan.pass_rows(), stage);
}

absl::StatusOr<std::shared_ptr<ModelEngine>> Agent::MakeEngine(std::shared_ptr<const model::Model> model,
                                                               int64_t max_rows, Stage* stage) {
  const model::Model& borrowed = *model;
  std::unique_ptr<kernels::cuda::Gpu> gpu;
  std::unique_ptr<model::Passes> passes;
  if (options_.gpu != nullptr) {
    QZO_ASSIGN_OR_RETURN(gpu, options_.gpu->Share());
    QZO_ASSIGN_OR_RETURN(std::unique_ptr<model::GpuPasses> on_gpu,
                         model::GpuPasses::Create(borrowed, gpu.get(), stage));
    spdlog::info("{}: on {}: {}", borrowed.path(), gpu->name(), on_gpu->MemoryPlan());
    passes = std::move(on_gpu);
  } else if (stage != nullptr) {
    passes = std::make_unique<model::StagePasses>(borrowed, *options_.kernels, &pool_, options_.arithmetic, stage);
  } else {
    passes = std::make_unique<model::CpuPasses>(borrowed, *options_.kernels, &pool_, options_.arithmetic);
  }
  return std::shared_ptr<ModelEngine>(
      new ModelEngine{std::move(model), std::move(gpu), model::Engine(borrowed, std::move(passes), max_rows)});
}

void Agent::Schedule(const SlotPtr& slot, SlotWork work) {
  if (slot->closed) return;
  QueueOf(*slot).Push(slot->lane, [this, slot, work = std::move(work)] { return RunWork(slot, work); });
}

bool Agent::RunWork(const SlotPtr& slot, const SlotWork& work) {
  if (slot->closed) return false;
  const absl::StatusOr<bool> again = NoMemoryIsAStatus<bool>([&] { return work(slot.get()); });
  metrics_->peak_resident_bytes.Set(static_cast<double>(PeakResidentBytes()));
  if (again.ok()) return *again;
  if (slot->stage != nullptr && absl::IsCancelled(again.status())) {
    Close(slot);  // a neighbour ended the pipeline, and its coordinator knows why
  } else {
    Fail(slot, again.status());
  }
  if (slot->stage != nullptr) slot->stage->Abort();
  slot->replica.reset();
  return false;
}

absl::Status Agent::SendSnapshot(Slot* slot) {
  QZO_ASSIGN_OR_RETURN(std::optional<Job::Snapshot> snapshot, slot->replica->TakeSnapshot());
  if (!snapshot) return absl::OkStatus();
  transfers_.Push(kTransferLane, [this, snapshot = *std::move(snapshot)] {
    // A snapshot spares later replicas a replay; training goes on without it.
    if (const absl::Status status = snapshots_->Put(snapshot.header, snapshot.multipliers); !status.ok()) {
      spdlog::warn("{}: snapshot of step {} not sent: {}", snapshot.header.job(), snapshot.header.step(),
                   status.ToString());
    }
    return false;
  });
  return absl::OkStatus();
}

void Agent::Fail(const SlotPtr& slot, const absl::Status& status) {
  if (slot->closed.exchange(true)) return;
  Close(slot);
  if (LeaveIfLost()) return;
  metrics_->troubles.Increment();
  spdlog::warn("job {}: {}", slot->job, status.ToString());
  v1::WorkerMessage message;
  message.mutable_trouble()->set_job(slot->job);
  if (slot->pipeline != 0) message.mutable_trouble()->set_pipeline(slot->pipeline);
  *message.mutable_trouble()->mutable_status() = rpc::ToProto(status);
  slot->uplink->Send(message);
}

bool Agent::LeaveIfLost() {
  const absl::Status health = options_.gpu == nullptr ? absl::OkStatus() : options_.gpu->Health();
  if (health.ok()) return false;
  std::shared_ptr<Uplink> uplink;
  {
    base::MutexLock lock(&mu_);
    if (!lost_.ok()) return true;
    lost_ = health;
    draining_ = true;
    uplink = uplink_;
  }
  spdlog::error("{}: leaving", base::ToStd(health.message()));
  serving_.Retire();
  if (uplink != nullptr) uplink->Abort();
  return true;
}

absl::Status Agent::lost() const {
  base::MutexLock lock(&mu_);
  return lost_;
}

bool Agent::draining() const {
  base::MutexLock lock(&mu_);
  return draining_;
}

void Agent::Drain() {
  std::shared_ptr<Uplink> uplink;
  {
    base::MutexLock lock(&mu_);
    if (std::exchange(draining_, true)) return;
    uplink = uplink_;
  }
  serving_.Retire();
  if (uplink != nullptr) DrainFrom(uplink);
}

void Agent::DrainFrom(const std::shared_ptr<Uplink>& uplink) {
  v1::WorkerMessage message;
  message.mutable_leaving();
  uplink->Send(message);
  std::vector<SlotPtr> ended;
  {
    base::MutexLock lock(&mu_);
    for (const auto& [job, slot] : slots_) {
      if (!slot->ready || slot->stage != nullptr) ended.push_back(slot);  // the others of a pipeline go on without us
    }
  }
  for (const SlotPtr& slot : ended) Close(slot);
  // Close behind all that the jobs have to do, and behind the snapshots that this sends.
  compute_.WhenIdle([this, uplink] { transfers_.Push(kTransferLane, [uplink] { return uplink->Close(), false; }); });
}

}  // namespace qzo::worker
