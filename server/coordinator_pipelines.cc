// Pipelines as the coordinator's shell sees them: what their stages are told, and what people are.
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <spdlog/spdlog.h>

#include <array>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "model/formats/model_info.h"
#include "server/coordinator_impl.h"

namespace qzo::server {
namespace {

using Cause = core::PipelineLost::Cause;

constexpr size_t kKeyBytes = 32;

const char* CauseName(Cause cause) {
  switch (cause) {
    case Cause::kWorkerGone:
      return "worker_gone";
    case Cause::kWorkerLeft:
      return "worker_left";
    case Cause::kLink:
      return "link";
    case Cause::kTrouble:
      return "trouble";
    case Cause::kLate:
      return "late";
  }
  return "";
}

std::string Why(const core::PipelineLost& lost) {
  switch (lost.cause) {
    case Cause::kWorkerGone:
      return "the worker is gone";
    case Cause::kWorkerLeft:
      return "the worker leaves";
    case Cause::kLink:
    case Cause::kTrouble:
      return lost.message;
    case Cause::kLate:
      return "it did not get ready in time";
  }
  return "";
}

// "layers 2 to 3", counted from 0.
std::string Layers(const core::LayerRange& layers) {
  return layers.end - layers.first == 1 ? absl::StrCat("layer ", layers.first)
                                        : absl::StrCat("layers ", layers.first, " to ", layers.end - 1);
}

// Nobody can guess it, and each pipeline has its own.
std::string StageSecret(const std::string& key, uint64_t pipeline) {
  const std::string number = absl::StrCat(pipeline);
  std::array<unsigned char, EVP_MAX_MD_SIZE> mac{};
  unsigned int size = 0;
  QZO_CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                 reinterpret_cast<const unsigned char*>(number.data()), number.size(), mac.data(), &size) != nullptr);
  return {reinterpret_cast<const char*>(mac.data()), size};
}

}  // namespace

std::string NewStageKey() {
  std::array<unsigned char, kKeyBytes> bytes{};
  QZO_CHECK(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool Coordinator::Impl::ShareNccl(core::WorkerHandle one, core::WorkerHandle other) const {
  const auto a = workers_.find(one), b = workers_.find(other);
  return a != workers_.end() && b != workers_.end() && a->second.attach.nccl_version() != 0 &&
         a->second.attach.nccl_version() == b->second.attach.nccl_version();
}

void Coordinator::Impl::FillStage(core::WorkerHandle worker, const core::Stage& stage, v1::StagePlan* plan) {
  plan->set_pipeline(stage.pipeline);
  plan->set_index(stage.index);
  plan->set_count(stage.count);
  plan->set_first_layer(stage.layers.first);
  plan->set_end_layer(stage.layers.end);
  if (const auto next = workers_.find(stage.next); next != workers_.end()) {
    plan->set_next_address(next->second.attach.stage_address());
  }
  plan->set_secret(StageSecret(stage_key_, stage.pipeline));
  plan->set_pass_rows(model::kPassRows);
  plan->set_nccl_previous(ShareNccl(stage.previous, worker));
  plan->set_nccl_next(ShareNccl(worker, stage.next));
}

std::string Coordinator::Impl::NameOf(core::WorkerHandle handle) {
  const auto worker = workers_.find(handle);
  return worker == workers_.end() ? "" : worker->second.id;
}

void Coordinator::Impl::ShowPipelines(core::JobHandle handle, v1::FineTuningJob* job) {
  for (const std::vector<core::StageHolder>& stages : core_.PipelinesOf(handle)) {
    v1::Pipeline& pipeline = *job->add_pipelines();
    for (const core::StageHolder& holder : stages) {
      v1::Pipeline::Stage& stage = *pipeline.add_stages();
      stage.set_worker(absl::StrCat("workers/", NameOf(holder.worker)));
      stage.set_first_layer(holder.layers.first);
      stage.set_end_layer(holder.layers.end);
    }
  }
}

void Coordinator::Impl::Do(const core::PipelineFormed& action) {
  metrics_->pipelines_formed.Increment();
  LiveJob* live = Find(action.job);
  if (live == nullptr) return;
  std::vector<std::string> parts;
  for (const core::StageHolder& stage : action.stages) {
    parts.push_back(absl::StrCat(Layers(stage.layers), " at worker ", NameOf(stage.worker)));
  }
  v1::JobEvent event;
  event.set_level(v1::JobEvent::INFO);
  event.set_type("worker");
  event.set_message(absl::StrCat("pipeline of ", action.stages.size(), ": ", absl::StrJoin(parts, ", ")));
  spdlog::info("{}: {}", live->job().name(), event.message());
  Save(action.job, {NewEvent(*live, std::move(event))});
}

void Coordinator::Impl::Do(const core::PipelineLost& action) {
  metrics_->pipelines_lost.Add({{"cause", CauseName(action.cause)}}).Increment();
  LiveJob* live = Find(action.job);
  if (live == nullptr) return;
  v1::JobEvent event;
  event.set_level(v1::JobEvent::WARN);
  event.set_type("worker");
  event.set_message(absl::StrCat("a pipeline ended at stage ", action.index + 1, ", worker ", NameOf(action.worker),
                                 ": ", Why(action)));
  spdlog::warn("{}: {}", live->job().name(), event.message());
  Save(action.job, {NewEvent(*live, std::move(event))});
}

}  // namespace qzo::server
