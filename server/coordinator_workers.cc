// Workers as the coordinator's shell sees them: they attach, answer, leave and are shown.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/text.h"
#include "proto/grpc_status.h"
#include "server/coordinator_impl.h"

namespace qzo::server {
namespace {

using ::qzo::base::MutexLock;

absl::Status NoSuchWorker(const std::string& name) {
  return rpc::WithResource(
      rpc::WithReason(absl::NotFoundError(absl::StrCat("no worker ", name, " is attached")), "WORKER_NOT_FOUND"),
      "worker", name);
}

std::string WorkerName(const std::string& id) { return absl::StrCat("workers/", id); }

}  // namespace

void SetTime(absl::Time time, google::protobuf::Timestamp* out);  // coordinator.cc

absl::StatusOr<std::string> Coordinator::Impl::Attach(const v1::Attach& attach, WorkerStream* stream) {
  if (attach.worker().empty() || attach.worker().size() > 128 || attach.kind().empty() || attach.kind().size() > 64 ||
      attach.incarnation().empty() || attach.stage_address().size() > 256 ||
      base::FindInvalidUtf8(attach.worker()) != std::string::npos) {
    return rpc::WithReason(
        absl::InvalidArgumentError("attach: worker (1 to 128 characters), incarnation and kind must be set, "
                                   "stage_address hold at most 256 characters"),
        "BAD_ATTACH");
  }
  MutexLock lock(&mu_);
  if (stopping_) return absl::UnavailableError("the coordinator is shutting down");
  std::string id = attach.worker();
  for (int suffix = 2; by_id_.contains(id); ++suffix) id = absl::StrCat(attach.worker(), "-", suffix);
  const core::WorkerHandle handle = next_worker_++;
  workers_[handle] = LiveWorker{id, stream, attach, clock_->Now(), clock_->Monotonic()};
  by_id_[id] = handle;
  v1::CoordinatorMessage message;
  message.mutable_attached()->set_worker(WorkerName(id));
  stream->Send(message);
  spdlog::info("worker {} attached: kind {}, variant {}, {} threads, on {}", id, attach.kind(), attach.variant(),
               attach.threads(), attach.hostname());
  Apply(core::WorkerAttached{handle, attach.kind(), std::max<int64_t>(0, attach.memory_bytes()),
                             !attach.stage_address().empty()});
  CountWorkers();
  return id;
}

void Coordinator::Impl::Receive(const std::string& id, const v1::WorkerMessage& message) {
  Post([this, id, message]() ABSL_NO_THREAD_SAFETY_ANALYSIS { Take(id, message); });
}

void Coordinator::Impl::Take(const std::string& id, const v1::WorkerMessage& message) {
  const auto it = by_id_.find(id);
  if (it == by_id_.end() || stopping_) return;
  const core::WorkerHandle handle = it->second;
  LiveWorker& worker = workers_.at(handle);
  const auto heard = [&](core::JobHandle job, int64_t memory_bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    worker.peak_memory_bytes = std::max(worker.peak_memory_bytes, memory_bytes);
    if (LiveJob* live = Find(job); live != nullptr) {
      v1::Progress& progress = *live->job().mutable_progress();
      progress.set_peak_worker_memory_bytes(
          std::max<uint64_t>(progress.peak_worker_memory_bytes(), worker.peak_memory_bytes));
    }
  };
  switch (message.message_case()) {
    case v1::WorkerMessage::kResults: {
      absl::StatusOr<core::ItemResults> event = ToCore(handle, message.results());
      if (!event.ok()) return worker.stream->Close(event.status());
      const size_t bytes = message.ByteSizeLong();
      metrics_->payload_up_bytes.Increment(static_cast<double>(bytes));
      worker.items += event->losses.size();
      if (LiveJob* live = Find(event->job); live != nullptr) {
        v1::Progress& progress = *live->job().mutable_progress();
        progress.set_payload_up_bytes(progress.payload_up_bytes() + bytes);
        progress.set_worker_steps(progress.worker_steps() + 1);
      }
      Apply(*std::move(event));
      break;
    }
    case v1::WorkerMessage::kEvalResults: {
      absl::StatusOr<core::EvaluationResults> event = ToCore(handle, message.eval_results());
      if (!event.ok()) return worker.stream->Close(event.status());
      heard(event->job, message.eval_results().resident_memory_bytes());
      Apply(*std::move(event));
      break;
    }
    case v1::WorkerMessage::kReady:
      heard(message.ready().job(), message.ready().resident_memory_bytes());
      Apply(core::ReplicaReady{handle, message.ready().job(), message.ready().step(), message.ready().digest(),
                               message.ready().pipeline()});
      break;
    case v1::WorkerMessage::kTrouble:
      Apply(core::ReplicaTrouble{handle, message.trouble().job(), rpc::FromProto(message.trouble().status()),
                                 message.trouble().pipeline()});
      break;
    case v1::WorkerMessage::kLeaving:
      worker.leaving = true;
      spdlog::info("worker {} is leaving", id);
      Apply(core::WorkerLeaving{handle});
      CountWorkers();
      break;
    case v1::WorkerMessage::kAttach:
    case v1::WorkerMessage::MESSAGE_NOT_SET:
      return worker.stream->Close(
          absl::InvalidArgumentError("a second Attach, or a message of a newer version, on this stream"));
  }
}

void Coordinator::Impl::Detach(const std::string& id, std::string_view reason) {
  {
    MutexLock lock(&mu_);
    RunPosted();  // what this worker sent before
    const auto it = by_id_.find(id);
    if (it == by_id_.end()) return;
    const core::WorkerHandle handle = it->second;
    const bool orderly = workers_.at(handle).leaving;
    spdlog::info("worker {} detached: {}", id, reason);
    metrics_->worker_disconnects.Add({{"reason", std::string(reason)}}).Increment();
    if (!stopping_) Apply(core::WorkerDetached{handle, orderly});  // whose events still name it
    workers_.erase(handle);
    by_id_.erase(it);
    CountWorkers();
  }
  WakeWatchers();
}

v1::Worker Coordinator::Impl::Show(core::WorkerHandle handle, const LiveWorker& worker) {
  v1::Worker shown;
  shown.set_name(WorkerName(worker.id));
  shown.set_state(worker.leaving ? v1::Worker::DRAINING : v1::Worker::READY);
  shown.set_kind(worker.attach.kind());
  shown.set_variant(worker.attach.variant());
  shown.set_hostname(worker.attach.hostname());
  shown.set_version(worker.attach.version());
  shown.set_threads(worker.attach.threads());
  shown.set_memory_bytes(worker.attach.memory_bytes());
  shown.set_stage_address(worker.attach.stage_address());
  shown.set_resident_memory_bytes(worker.peak_memory_bytes);
  SetTime(worker.attach_time, shown.mutable_attach_time());
  for (const core::JobHandle job : core_.JobsOf(handle)) {
    if (LiveJob* live = Find(job); live != nullptr) shown.add_jobs(live->job().name());
  }
  shown.set_items(worker.items);
  const double seconds = absl::ToDoubleSeconds(clock_->Monotonic() - worker.attached_at);
  if (seconds > 0) shown.set_items_per_second(static_cast<double>(worker.items) / seconds);
  return shown;
}

absl::StatusOr<v1::Worker> Coordinator::Impl::GetWorker(const std::string& name) {
  MutexLock lock(&mu_);
  for (const auto& [handle, worker] : workers_) {
    if (WorkerName(worker.id) == name) return Show(handle, worker);
  }
  return NoSuchWorker(name);
}

std::vector<v1::Worker> Coordinator::Impl::ListWorkers() {
  MutexLock lock(&mu_);
  std::vector<v1::Worker> shown;
  for (const auto& [handle, worker] : workers_) shown.push_back(Show(handle, worker));
  return shown;
}

absl::StatusOr<v1::Worker> Coordinator::Impl::Drain(const std::string& name) {
  MutexLock lock(&mu_);
  for (auto& [handle, worker] : workers_) {
    if (WorkerName(worker.id) != name) continue;
    worker.leaving = true;
    v1::CoordinatorMessage message;
    message.mutable_drain();
    worker.stream->Send(message);
    Apply(core::WorkerLeaving{handle});
    CountWorkers();
    return Show(handle, worker);
  }
  return NoSuchWorker(name);
}

}  // namespace qzo::server
