#include "server/project_quota.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "proto/grpc_status.h"
#include "qzo/v1/dataset.pb.h"
#include "qzo/v1/job.pb.h"
#include "qzo/v1/model.pb.h"
#include "qzo/v1/stored.pb.h"
#include "server/resource_names.h"
#include "server/resources.h"

namespace qzo::server {
namespace {

constexpr int kPageSize = 1000;

absl::StatusOr<int64_t> BytesOf(const StoredResource& resource) {
  if (resource.key.kind == kDatasetKind) {
    QZO_ASSIGN_OR_RETURN(const auto dataset, ParseBody<v1::Dataset>(resource));
    return dataset.bytes();
  }
  if (resource.key.kind == kModelKind) {
    QZO_ASSIGN_OR_RETURN(const auto model, ParseBody<v1::Model>(resource));
    return model.bytes();
  }
  QZO_ASSIGN_OR_RETURN(const auto adapter, ParseBody<v1::StoredAdapter>(resource));
  return adapter.adapter().bytes();
}

}  // namespace

absl::StatusOr<uint64_t> ProjectQuota::StoredBytes(const std::string& project) const {
  uint64_t bytes = 0;
  for (const char* kind : {kDatasetKind, kModelKind, kAdapterKind}) {
    std::string page_token;
    do {
      QZO_ASSIGN_OR_RETURN(const ResourcePage page,
                           ListResources(store_, kind, absl::StrCat("projects/", project), kPageSize, page_token));
      for (const StoredResource& resource : page.resources) {
        QZO_ASSIGN_OR_RETURN(const int64_t size, BytesOf(resource));
        bytes += static_cast<uint64_t>(size);
      }
      page_token = page.next_page_token;
    } while (!page_token.empty());
  }
  return bytes;
}

absl::Status ProjectQuota::Fits(const std::string& project, uint64_t stored) {
  const auto found = on_their_way_.find(project);
  const uint64_t coming = found == on_their_way_.end() ? 0 : found->second;
  if (options_.bytes == 0 || stored + coming <= options_.bytes) return absl::OkStatus();
  return rpc::WithReason(absl::ResourceExhaustedError(absl::StrCat(
                             "projects/", project, " would hold more than ", base::HumanBytes(options_.bytes), ": ",
                             base::HumanBytes(stored), " of datasets, models and adapters, and ",
                             base::HumanBytes(coming), " on their way; delete what is not needed")),
                         "PROJECT_FULL");
}

absl::StatusOr<std::unique_ptr<ProjectQuota::Room>> ProjectQuota::Open(const std::string& project) {
  uint64_t stored = 0;
  if (options_.bytes > 0) {
    QZO_ASSIGN_OR_RETURN(stored, StoredBytes(project));
  }
  return std::unique_ptr<Room>(new Room(this, project, stored));
}

absl::Status ProjectQuota::Room::Take(uint64_t bytes) {
  base::MutexLock lock(&quota_->mu_);
  quota_->on_their_way_[project_] += bytes;
  taken_ += bytes;
  return quota_->Fits(project_, stored_);
}

absl::Status ProjectQuota::Room::Confirm() {
  if (quota_->options_.bytes == 0) return absl::OkStatus();
  QZO_ASSIGN_OR_RETURN(stored_, quota_->StoredBytes(project_));
  base::MutexLock lock(&quota_->mu_);
  return quota_->Fits(project_, stored_);
}

ProjectQuota::Room::~Room() {
  base::MutexLock lock(&quota_->mu_);
  if (const auto found = quota_->on_their_way_.find(project_); found != quota_->on_their_way_.end()) {
    found->second -= taken_;
    if (found->second == 0) quota_->on_their_way_.erase(found);
  }
}

absl::Status ProjectQuota::CheckJobs(const std::string& project) {
  if (options_.open_jobs == 0) return absl::OkStatus();
  ListQuery query;
  query.kind = kJobKind;
  query.project = project;
  query.states = {v1::FineTuningJob::QUEUED, v1::FineTuningJob::RUNNING, v1::FineTuningJob::PAUSED};
  query.limit = options_.open_jobs;
  QZO_ASSIGN_OR_RETURN(const std::vector<StoredResource> open, store_->List(query));
  if (open.size() < static_cast<size_t>(options_.open_jobs)) return absl::OkStatus();
  return rpc::WithReason(
      absl::ResourceExhaustedError(absl::StrCat("projects/", project, " has ", open.size(),
                                                open.size() == 1 ? " job that has" : " jobs that have",
                                                " not ended, as many as it may; wait for one, or cancel one")),
      "TOO_MANY_JOBS");
}

}  // namespace qzo::server
