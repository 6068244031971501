#include "server/dataset_service.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/tasks/builtin_tasks.h"
#include "model/tasks/task.h"
#include "proto/grpc_status.h"
#include "proto/spec_convert.h"
#include "qzo/v1/model.pb.h"
#include "server/dataset_rows.h"
#include "server/errors.h"
#include "server/file_intake.h"
#include "server/resource_names.h"
#include "server/resources.h"
#include "server/unary.h"
#include "server/upload_reactor.h"

namespace qzo::server {
namespace {

constexpr uint64_t kMaxDatasetBytes = uint64_t{4} << 30;
constexpr size_t kIdDigits = 12;

v1::DatasetReport ToProto(const model::DatasetReport& report) {
  v1::DatasetReport proto;
  proto.set_tokens(report.tokens);
  proto.set_truncated_rows(report.truncated_rows);
  proto.set_shortened_chats(report.shortened_chats);
  proto.set_lost_tokens(report.lost_tokens);
  proto.set_longest_row_tokens(report.longest);
  proto.mutable_label_counts()->Add(report.label_counts.begin(), report.label_counts.end());
  proto.mutable_length_histogram()->Add(report.length_histogram.begin(), report.length_histogram.end());
  return proto;
}

class DatasetReceiver final : public UploadReceiver<v1::CreateDatasetRequest::Header, v1::Dataset> {
 public:
  explicit DatasetReceiver(const Backend& backend)
      : backend_(backend), intake_(backend.keeper, backend.quota, kMaxDatasetBytes, /*digest_suffices=*/nullptr) {}

  absl::StatusOr<bool> Begin(const v1::CreateDatasetRequest::Header& header, const Identity&) override {
    header_ = header;
    QZO_ASSIGN_OR_RETURN(project_, ParseParent(header.parent()));
    if (!header.dataset_id().empty()) QZO_RETURN_IF_ERROR(CheckId("dataset_id", header.dataset_id()));
    QZO_RETURN_IF_ERROR(CheckRequestId(header.request_id()));
    QZO_RETURN_IF_ERROR(ResolveTask());
    if (!header.validate_only()) {
      const absl::StatusOr<StoredResource> earlier =
          ResourceOfRequest(backend_.store, kDatasetKind, project_, header.request_id());
      if (earlier.ok()) {
        QZO_ASSIGN_OR_RETURN(earlier_, ParseBody<v1::Dataset>(*earlier));
        return true;
      }
    }
    return intake_.Begin(project_, header.digest());
  }

  absl::Status Append(std::string_view data) override { return intake_.Append(data); }

  absl::StatusOr<v1::Dataset> Finish(const std::function<bool()>& aborted) override {
    if (earlier_) return *earlier_;
    QZO_ASSIGN_OR_RETURN(const std::string digest, intake_.Finish(aborted));
    v1::Dataset dataset;
    QZO_RETURN_IF_ERROR(Check(digest, &dataset));
    if (aborted()) return absl::CancelledError("the upload was broken off");
    return Store(std::move(dataset));
  }

 private:
  // The task must be sound, and the model there, before gigabytes are sent.
  absl::Status ResolveTask() {
    if (header_.has_task() != !header_.model().empty()) {
      return InvalidField(header_.has_task() ? "model" : "task", "missing, expected task and model together");
    }
    if (!header_.has_task()) return absl::OkStatus();
    QZO_ASSIGN_OR_RETURN(const auto model, GetMessage<v1::Model>(backend_.store, kModelKind, "model", header_.model()));
    QZO_ASSIGN_OR_RETURN(model_, backend_.models->Load(model.digest()));
    v1::Task task = header_.task();
    rpc::ResolveTask(model::DefaultsFor(*model_->tokenizer), &task);
    absl::StatusOr<model::TaskSpec> spec = rpc::ToTaskSpec(task);
    if (!spec.ok()) return rpc::ViolationsFromLines(spec.status(), "INVALID_TASK");
    task_ = *std::move(spec);
    return absl::OkStatus();
  }

  absl::Status Check(const std::string& digest, v1::Dataset* dataset) {
    QZO_ASSIGN_OR_RETURN(const std::unique_ptr<base::MappedFile> file, backend_.blobs->Open(digest));
    const std::string_view bytes = file->bytes();
    dataset->set_digest(digest);
    dataset->set_bytes(static_cast<int64_t>(bytes.size()));
    const std::string name = header_.dataset_id().empty() ? "data" : header_.dataset_id();
    model::DatasetReport report = CheckRows(bytes);
    if (report.errors_total > 0) return BadRows(report, name);
    if (report.rows == 0) return InvalidField("data", "no rows, expected one a line");
    if (task_) {
      report = {};
      const absl::Status loaded = model::TaskDataset::Load(*task_, *model_->tokenizer, bytes, name, &report).status();
      if (report.errors_total > 0) return BadRows(report, name);
      if (absl::IsInvalidArgument(loaded)) return rpc::ViolationsFromLines(loaded, "INVALID_TASK");
      QZO_RETURN_IF_ERROR(loaded);
      *dataset->mutable_report() = ToProto(report);
    }
    dataset->set_rows(report.rows);
    return absl::OkStatus();
  }

  absl::StatusOr<v1::Dataset> Store(v1::Dataset dataset) {
    const std::string id = header_.dataset_id().empty() ? absl::StrCat("data-", dataset.digest().substr(0, kIdDigits))
                                                        : header_.dataset_id();
    StoredResource resource = NewResource({kDatasetKind, project_, id}, backend_.clock->Now());
    dataset.set_name(NameOf(resource.key));
    dataset.set_display_name(header_.display_name());
    if (header_.validate_only()) return dataset;
    dataset.set_uid(resource.uid);
    *dataset.mutable_create_time() = ToTimestamp(resource.create_time);
    resource.body = dataset.SerializeAsString();
    const absl::StatusOr<StoredResource> created = CreateOnce(backend_.store, resource, header_.request_id());
    if (created.ok()) return ParseBody<v1::Dataset>(*created);
    if (absl::IsAlreadyExists(created.status()) && header_.dataset_id().empty()) {
      QZO_ASSIGN_OR_RETURN(const auto there,
                           GetMessage<v1::Dataset>(backend_.store, kDatasetKind, "name", dataset.name()));
      if (there.digest() == dataset.digest()) return there;
    }
    return created.status();
  }

  const Backend backend_;
  v1::CreateDatasetRequest::Header header_;
  std::string project_;
  std::optional<model::TaskSpec> task_;
  std::shared_ptr<const LoadedModel> model_;
  std::optional<v1::Dataset> earlier_;
  FileIntake intake_;
};

}  // namespace

grpc::ServerReadReactor<v1::CreateDatasetRequest>* DatasetService::CreateDataset(grpc::CallbackServerContext* context,
                                                                                 v1::Dataset* response) {
  return new UploadReactor<v1::CreateDatasetRequest, v1::Dataset>(backend_, context, response,
                                                                  std::make_unique<DatasetReceiver>(backend_));
}

grpc::ServerUnaryReactor* DatasetService::GetDataset(grpc::CallbackServerContext* context,
                                                     const v1::GetDatasetRequest* request, v1::Dataset* response) {
  return AnswerOn(backend_, context, request, response, [this, request] {
    return GetMessage<v1::Dataset>(backend_.store, kDatasetKind, "name", request->name());
  });
}

grpc::ServerUnaryReactor* DatasetService::ListDatasets(grpc::CallbackServerContext* context,
                                                       const v1::ListDatasetsRequest* request,
                                                       v1::ListDatasetsResponse* response) {
  return AnswerOn(backend_, context, request, response, [this, request]() -> absl::StatusOr<v1::ListDatasetsResponse> {
    QZO_ASSIGN_OR_RETURN(const ResourcePage page, ListResources(backend_.store, kDatasetKind, request->parent(),
                                                                request->page_size(), request->page_token()));
    v1::ListDatasetsResponse answer;
    for (const StoredResource& resource : page.resources) {
      QZO_ASSIGN_OR_RETURN(*answer.add_datasets(), ParseBody<v1::Dataset>(resource));
    }
    answer.set_next_page_token(page.next_page_token);
    return answer;
  });
}

grpc::ServerUnaryReactor* DatasetService::DeleteDataset(grpc::CallbackServerContext* context,
                                                        const v1::DeleteDatasetRequest* request,
                                                        google::protobuf::Empty* response) {
  return AnswerOn(backend_, context, request, response, [this, request]() -> absl::StatusOr<google::protobuf::Empty> {
    QZO_ASSIGN_OR_RETURN(const StoredResource resource,
                         FindResource(backend_.store, kDatasetKind, "name", request->name()));
    QZO_ASSIGN_OR_RETURN(const auto dataset, ParseBody<v1::Dataset>(resource));
    if (backend_.coordinator->InUse(request->name())) return InUse(kDatasetKind, request->name());
    QZO_RETURN_IF_ERROR(backend_.store->Write({DeleteResource{resource.uid}}));
    backend_.keeper->Discard(dataset.digest());
    return google::protobuf::Empty();
  });
}

}  // namespace qzo::server
