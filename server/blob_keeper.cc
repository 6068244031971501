#include "server/blob_keeper.h"

#include <spdlog/spdlog.h>

#include <vector>

#include "base/status_macros.h"
#include "qzo/v1/dataset.pb.h"
#include "qzo/v1/model.pb.h"
#include "qzo/v1/stored.pb.h"
#include "server/resource_names.h"
#include "server/resources.h"

namespace qzo::server {

BlobKeeper::Hold::Hold(BlobKeeper* keeper) : keeper_(keeper) {
  base::MutexLock lock(&keeper_->mu_);
  ++keeper_->holds_;
}

BlobKeeper::Hold::~Hold() {
  base::MutexLock lock(&keeper_->mu_);
  if (--keeper_->holds_ == 0) keeper_->Collect();
}

void BlobKeeper::Discard(const std::string& digest) {
  base::MutexLock lock(&mu_);
  discarded_.insert(digest);
  if (holds_ == 0) Collect();
}

void BlobKeeper::Collect() {
  if (discarded_.empty()) return;
  const absl::StatusOr<std::set<std::string>> references = References();
  if (!references.ok()) {
    spdlog::warn("blobs that may be unused are kept: {}", references.status().ToString());
    discarded_.clear();
    return;
  }
  for (const std::string& digest : discarded_) {
    if (references->contains(digest)) continue;
    if (const absl::Status removed = blobs_->Remove(digest); !removed.ok()) {
      spdlog::warn("unused blob {} is kept: {}", digest, removed.ToString());
    }
  }
  discarded_.clear();
}

absl::StatusOr<std::set<std::string>> BlobKeeper::References() const {
  std::set<std::string> digests;
  const auto visit = [&](const char* kind, const std::vector<int32_t>& states, const auto& add) -> absl::Status {
    std::string page_token;
    do {
      QZO_ASSIGN_OR_RETURN(const ResourcePage page,
                           ListResources(store_, kind, "projects/-", 1000, page_token, states));
      for (const StoredResource& resource : page.resources) QZO_RETURN_IF_ERROR(add(resource));
      page_token = page.next_page_token;
    } while (!page_token.empty());
    return absl::OkStatus();
  };
  QZO_RETURN_IF_ERROR(visit(kDatasetKind, {}, [&](const StoredResource& resource) -> absl::Status {
    QZO_ASSIGN_OR_RETURN(const auto dataset, ParseBody<v1::Dataset>(resource));
    digests.insert(dataset.digest());
    return absl::OkStatus();
  }));
  QZO_RETURN_IF_ERROR(visit(kModelKind, {}, [&](const StoredResource& resource) -> absl::Status {
    QZO_ASSIGN_OR_RETURN(const auto model, ParseBody<v1::Model>(resource));
    digests.insert(model.digest());
    for (const v1::Model::File& file : model.files()) digests.insert(file.digest());
    return absl::OkStatus();
  }));
  QZO_RETURN_IF_ERROR(visit(kAdapterKind, {}, [&](const StoredResource& resource) -> absl::Status {
    QZO_ASSIGN_OR_RETURN(const auto adapter, ParseBody<v1::StoredAdapter>(resource));
    digests.insert(adapter.blob());
    return absl::OkStatus();
  }));
  const std::vector<int32_t> live = {v1::FineTuningJob::QUEUED, v1::FineTuningJob::RUNNING, v1::FineTuningJob::PAUSED};
  QZO_RETURN_IF_ERROR(visit(kJobKind, live, [&](const StoredResource& resource) -> absl::Status {
    QZO_ASSIGN_OR_RETURN(const auto job, ParseBody<v1::StoredJob>(resource));
    const v1::JobSpec& spec = job.job().spec();
    digests.insert({spec.base_model_digest(), spec.training_digest(), spec.validation_digest(), spec.test_digest(),
                    job.snapshot().blob()});
    return absl::OkStatus();
  }));
  return digests;
}

}  // namespace qzo::server
