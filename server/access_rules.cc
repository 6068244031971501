#include "server/access_rules.h"

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "proto/grpc_status.h"
#include "server/errors.h"
#include "server/resource_names.h"

namespace qzo::server {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::DescriptorPool;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::qzo::base::ToAbsl;
using Role = v1::Token;

constexpr bool kChanges = true;
constexpr std::string_view kModelOrData[] = {"job.spec.base_model", "job.spec.training_dataset",
                                             "job.spec.validation_dataset", "job.spec.test_dataset"};

const std::vector<AccessRule>& Rules() {
  static const auto& rules = *new std::vector<AccessRule>{
      {"qzo.v1.JobService.CreateJob", Role::SUBMITTER, "parent", kChanges, {kModelOrData, std::end(kModelOrData)}},
      {"qzo.v1.JobService.GetJob", Role::VIEWER, "name"},
      {"qzo.v1.JobService.ListJobs", Role::VIEWER, "parent"},
      {"qzo.v1.JobService.DeleteJob", Role::SUBMITTER, "name", kChanges},
      {"qzo.v1.JobService.CancelJob", Role::SUBMITTER, "name", kChanges},
      {"qzo.v1.JobService.PauseJob", Role::SUBMITTER, "name", kChanges},
      {"qzo.v1.JobService.ResumeJob", Role::SUBMITTER, "name", kChanges},
      {"qzo.v1.JobService.RetryJob", Role::SUBMITTER, "name", kChanges},
      {"qzo.v1.JobService.WatchJob", Role::VIEWER, "name"},
      {"qzo.v1.JobService.ListJobEvents", Role::VIEWER, "parent"},
      {"qzo.v1.JobService.ListEvaluations", Role::VIEWER, "parent"},
      {"qzo.v1.JobService.DownloadJournal", Role::VIEWER, "name"},

      {"qzo.v1.DatasetService.CreateDataset", Role::SUBMITTER, "parent", kChanges, {"model"}},
      {"qzo.v1.DatasetService.GetDataset", Role::VIEWER, "name"},
      {"qzo.v1.DatasetService.ListDatasets", Role::VIEWER, "parent"},
      {"qzo.v1.DatasetService.DeleteDataset", Role::SUBMITTER, "name", kChanges},

      {"qzo.v1.ModelService.CreateModel", Role::SUBMITTER, "parent", kChanges},
      {"qzo.v1.ModelService.FindMissingFiles", Role::SUBMITTER, "parent"},
      {"qzo.v1.ModelService.GetModel", Role::VIEWER, "name"},
      {"qzo.v1.ModelService.ListModels", Role::VIEWER, "parent"},
      {"qzo.v1.ModelService.DeleteModel", Role::SUBMITTER, "name", kChanges},
      {"qzo.v1.ModelService.DownloadModel", Role::VIEWER, "name"},

      {"qzo.v1.AdapterService.GetAdapter", Role::VIEWER, "name"},
      {"qzo.v1.AdapterService.ListAdapters", Role::VIEWER, "parent"},
      {"qzo.v1.AdapterService.DeleteAdapter", Role::SUBMITTER, "name", kChanges},
      {"qzo.v1.AdapterService.DownloadAdapter", Role::VIEWER, "name"},

      {"qzo.v1.InferenceService.Generate", Role::VIEWER, "parent", !kChanges, {"model", "adapter"}},
      {"qzo.v1.InferenceService.Score", Role::VIEWER, "parent", !kChanges, {"model", "adapter"}},

      {"qzo.v1.TokenService.CreateToken", Role::ADMIN, "parent", kChanges},
      {"qzo.v1.TokenService.GetToken", Role::ADMIN, "name"},
      {"qzo.v1.TokenService.ListTokens", Role::ADMIN, "parent"},
      {"qzo.v1.TokenService.RevokeToken", Role::ADMIN, "name", kChanges},

      {"qzo.v1.AuditService.ListAuditRecords", Role::ADMIN, "parent"},

      {"qzo.v1.WorkerService.GetWorker", Role::VIEWER},
      {"qzo.v1.WorkerService.ListWorkers", Role::VIEWER},
      {"qzo.v1.WorkerService.DrainWorker", Role::ADMIN, "", kChanges},

      {"qzo.v1.Coordination.Work", Role::WORKER, "", kChanges},
      {"qzo.v1.Coordination.FetchBlob", Role::WORKER},
      {"qzo.v1.Coordination.PutSnapshot", Role::WORKER},
      {"qzo.v1.Serving.Serve", Role::WORKER, "", kChanges},
  };
  return rules;
}

// VIEWER < SUBMITTER < ADMIN; WORKER stands beside them, and ADMIN covers it.
bool Covers(v1::Token::Role has, v1::Token::Role needed) {
  if (has == Role::ADMIN || has == needed) return true;
  return has != Role::WORKER && needed != Role::WORKER && has > needed;
}

// The text at a dotted path; "" when a message on the way is not set.
std::string TextAt(const Message& message, std::string_view path) {
  const Message* at = &message;
  for (const absl::string_view name : absl::StrSplit(ToAbsl(path), '.')) {
    const FieldDescriptor* field = at->GetDescriptor()->FindFieldByName(std::string(name));
    QZO_CHECK(field != nullptr);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) return at->GetReflection()->GetString(*at, field);
    at = &at->GetReflection()->GetMessage(*at, field);
  }
  return "";
}

absl::Status OtherProject(const Identity& caller, std::string_view project) {
  return rpc::WithReason(absl::PermissionDeniedError(absl::StrCat(caller.name, " is of project ", caller.project,
                                                                  ", not of ", ToAbsl(project))),
                         "OTHER_PROJECT");
}

// "projects/p" or "projects/p/jobs/j".
absl::Status CheckName(const Identity& caller, std::string_view field, const std::string& name) {
  const std::vector<std::string> parts = absl::StrSplit(name, '/');
  if (parts.size() < 2 || parts[0] != "projects" || parts[1].empty()) {
    return InvalidField(field, "expected projects/{project}/…");
  }
  if (parts[1] == caller.project) return absl::OkStatus();
  if (parts.size() < 4 || parts[2].size() < 2) return OtherProject(caller, parts[1]);
  return NoSuch(parts[2].substr(0, parts[2].size() - 1), name);  // "jobs" → "job"
}

}  // namespace

absl::Span<const AccessRule> AccessRules() { return Rules(); }

const AccessRule* RuleOf(const Descriptor* request) {
  static const auto& by_request = *[] {
    auto* map = new absl::flat_hash_map<const Descriptor*, const AccessRule*>();
    for (const AccessRule& rule : Rules()) {
      const auto* method = DescriptorPool::generated_pool()->FindMethodByName(std::string(rule.method));
      QZO_CHECK(method != nullptr && map->emplace(method->input_type(), &rule).second);
    }
    return map;
  }();
  const auto found = by_request.find(request);
  return found == by_request.end() ? nullptr : found->second;
}

absl::Status CheckRole(const AccessRule& rule, const Identity& caller) {
  const bool everywhere = rule.where.empty() && rule.role != Role::VIEWER;
  if (Covers(caller.role, rule.role) && (!everywhere || caller.project == kEveryProject)) return absl::OkStatus();
  return rpc::WithReason(
      absl::PermissionDeniedError(absl::StrCat(
          caller.name, " is ", v1::Token::Role_Name(caller.role), caller.project == kEveryProject ? "" : " of project ",
          caller.project == kEveryProject ? "" : caller.project, "; ", ToAbsl(rule.method), " needs ",
          v1::Token::Role_Name(rule.role), everywhere ? " of every project" : "")),
      "ROLE_NEEDED");
}

absl::Status CheckProjects(const AccessRule& rule, const Identity& caller, const Message& request) {
  if (caller.project == kEveryProject || rule.where.empty()) return absl::OkStatus();
  QZO_RETURN_IF_ERROR(CheckName(caller, rule.where, TextAt(request, rule.where)));
  for (const std::string_view path : rule.references) {
    const std::string name = TextAt(request, path);
    if (!name.empty()) QZO_RETURN_IF_ERROR(CheckName(caller, path, name));
  }
  return absl::OkStatus();
}

std::string ResourceOf(const AccessRule& rule, const Message& request) {
  if (!rule.where.empty()) return TextAt(request, rule.where);
  const bool named = request.GetDescriptor()->FindFieldByName("name") != nullptr;
  return named ? TextAt(request, "name") : "";
}

}  // namespace qzo::server
