// Every method of the API, called by everyone: who is let in, as a table that the test makes on its own.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/dynamic_message.h>
#include <gtest/gtest.h>

#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "base/digest.h"
#include "qzo/v1/stored.pb.h"
#include "server/access_rules.h"
#include "server/resource_names.h"
#include "server/sqlite_store.h"
#include "server/test_server.h"
#include "tests/support/generic_call.h"

namespace qzo::server {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::google::protobuf::MethodDescriptor;
using ::qzo::testing::CallAny;
using ::qzo::testing::EveryMethod;
using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;
using Role = v1::Token;

// Who may call a method, from its name alone; nullopt for a name that says nothing.
std::optional<v1::Token::Role> RoleFor(const MethodDescriptor& method) {
  const std::string service = method.service()->name();
  if (service == "Coordination" || service == "Serving") return Role::WORKER;
  if (service == "TokenService" || service == "AuditService" || method.name() == "DrainWorker") return Role::ADMIN;
  for (const char* verb : {"Get", "List", "Watch", "Download", "Generate", "Score"}) {
    if (absl::StartsWith(method.name(), verb)) return Role::VIEWER;
  }
  for (const char* verb : {"Create", "Find", "Delete", "Cancel", "Pause", "Resume", "Retry"}) {
    if (absl::StartsWith(method.name(), verb)) return Role::SUBMITTER;
  }
  return std::nullopt;
}

bool OfTheServer(const MethodDescriptor& method) {
  const std::string service = method.service()->name();
  return service == "WorkerService" || service == "Coordination" || service == "Serving";
}

// What JobService calls "jobs".
std::string CollectionOf(const MethodDescriptor& method) {
  std::string word = method.service()->name();
  word = word.substr(0, word.find("Service"));
  return absl::AsciiStrToLower(word) + "s";
}

// Whether the request is about a whole project rather than something in it.
bool OfProject(const MethodDescriptor& method) {
  return method.name() == "List" + method.service()->name().substr(0, method.service()->name().find("Service")) + "s" ||
         absl::StartsWith(method.name(), "Create") || absl::StartsWith(method.name(), "Find") ||
         method.service()->name() == "InferenceService" || method.service()->name() == "AuditService";
}

std::unique_ptr<Message> RequestFor(const MethodDescriptor& method, const std::string& project) {
  std::unique_ptr<Message> request(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(method.input_type())->New());
  Message* target = request.get();
  if (const FieldDescriptor* header = method.input_type()->FindFieldByName("header"); header != nullptr)
    target = request->GetReflection()->MutableMessage(request.get(), header);
  for (const char* name : {"name", "parent"}) {
    const FieldDescriptor* field = target->GetDescriptor()->FindFieldByName(name);
    if (field == nullptr) continue;
    const std::string value = OfTheServer(method) ? "workers/none"
                              : OfProject(method) ? "projects/" + project
                                                  : absl::StrCat("projects/", project, "/", CollectionOf(method), "/x");
    target->GetReflection()->SetString(target, field, value);
  }
  return request;
}

struct Caller {
  std::string name;
  std::string secret;
  v1::Token::Role role = Role::ROLE_UNSPECIFIED;  // that the server knows
  std::string project;
};

// The code that keeps `caller` out, or OK.
absl::StatusCode Barrier(const MethodDescriptor& method, const Caller& caller, const std::string& project) {
  if (caller.role == Role::ROLE_UNSPECIFIED) return absl::StatusCode::kUnauthenticated;
  const v1::Token::Role needed = *RoleFor(method);
  const bool everywhere = caller.project == kEveryProject;
  const bool enough =
      caller.role == needed || caller.role == Role::ADMIN || (caller.role == Role::SUBMITTER && needed == Role::VIEWER);
  if (!enough) return absl::StatusCode::kPermissionDenied;
  if (OfTheServer(method))
    return needed == Role::VIEWER || everywhere ? absl::StatusCode::kOk : absl::StatusCode::kPermissionDenied;
  if (everywhere || caller.project == project) return absl::StatusCode::kOk;
  return OfProject(method) ? absl::StatusCode::kPermissionDenied : absl::StatusCode::kNotFound;
}

class AccessTest : public ::testing::Test {
 protected:
  AccessTest() { server_.secret = server_.AdminSecret(); }
  static void Configure(Server::Options* options) {
    RequireTokens(options);
    options->calls_per_second = 0;
  }
  // Things of this project for others to want: a model, a dataset and a job.
  void Fill(const std::string& project) {
    v1::CreateModelRequest::Header model;
    model.set_parent("projects/" + project);
    model.set_model_id("x");
    ASSERT_OK(server_.UploadModel(model, StoriesModel()));
    v1::CreateDatasetRequest::Header dataset;
    dataset.set_parent("projects/" + project);
    dataset.set_dataset_id("x");
    ASSERT_OK(server_.UploadDataset(dataset, Rows(8)));
    v1::CreateJobRequest job = JobRequest("x");
    job.set_parent("projects/" + project);
    job.mutable_job()->mutable_spec()->set_base_model("projects/" + project + "/models/x");
    job.mutable_job()->mutable_spec()->set_training_dataset("projects/" + project + "/datasets/x");
    ASSERT_OK(server_.Call(server_.jobs, &v1::JobService::Stub::CreateJob, job));
  }
  // A token that expired a while ago, put into the store of a server that is down.
  void AddExpired(const std::string& secret) {
    server_.Stop();
    {
      absl::StatusOr<std::unique_ptr<SqliteStore>> store =
          SqliteStore::Open({.path = server_.directory().File("data/qzo.db")});
      ASSERT_OK(store);
      v1::StoredToken stored;
      stored.mutable_token()->set_name("projects/-/tokens/expired");
      stored.mutable_token()->set_role(Role::ADMIN);
      stored.mutable_token()->mutable_expire_time()->set_seconds(1'000'000);
      stored.set_sha256(base::Sha256Hex(secret));
      StoredResource resource;
      resource.key = {kTokenKind, kEveryProject, "expired"};
      resource.uid = "t-expired";
      resource.body = stored.SerializeAsString();
      ASSERT_OK((*store)->Write({CreateResource{resource, ""}}));
    }
    server_.Start();
  }

  TestServer server_{&Configure};
};

TEST_F(AccessTest, EveryMethodHasARuleOfItsOwn) {
  const std::vector<const MethodDescriptor*> methods = EveryMethod();
  EXPECT_EQ(methods.size(), AccessRules().size());
  for (const MethodDescriptor* method : methods) {
    ASSERT_TRUE(RoleFor(*method).has_value()) << method->full_name() << ": say here who may call it";
    const AccessRule* rule = RuleOf(method->input_type());
    ASSERT_NE(rule, nullptr) << method->full_name();
    EXPECT_EQ(std::string(rule->method), method->full_name()) << "two methods share a request";
    const std::string seed = absl::StrCat("fuzz/corpus/rpc/", method->service()->name(), ".", method->name());
    EXPECT_THAT(base::RealFileSystem()->Read(testing::TestFile(seed)).value_or(""),
                ::testing::StartsWith(absl::StrCat(method->service()->name(), ".", method->name(), " ")))
        << "the fuzzer needs a call to begin with";
  }
}

TEST_F(AccessTest, EveryMethodLetsInExactlyWhoMay) {
  Fill("q");
  AddExpired("qzo_expired");
  server_.NewToken("q", "x", Role::VIEWER);
  std::vector<Caller> callers = {
      {"nobody", "", Role::ROLE_UNSPECIFIED, ""},
      {"a stranger", NewSecret(), Role::ROLE_UNSPECIFIED, ""},
      {"an expired token", "qzo_expired", Role::ROLE_UNSPECIFIED, ""},
      {"a revoked token", server_.NewToken("-", "revoked", Role::ADMIN), Role::ROLE_UNSPECIFIED, ""},
      {"admin of all", server_.secret, Role::ADMIN, kEveryProject},
  };
  ASSERT_OK(server_.RevokeToken("projects/-/tokens/revoked"));
  for (const v1::Token::Role role : {Role::VIEWER, Role::SUBMITTER, Role::ADMIN, Role::WORKER}) {
    for (const std::string project : {"p", "-"}) {
      if (role == Role::WORKER && project == "p") continue;  // there is none
      const std::string id = absl::AsciiStrToLower(v1::Token::Role_Name(role));
      callers.push_back({absl::StrCat(id, " of ", project), server_.NewToken(project, id, role), role, project});
    }
  }
  for (const MethodDescriptor* method : EveryMethod()) {
    for (const Caller& caller : callers) {
      for (const std::string project : {"p", "q"}) {
        const absl::StatusCode barrier = Barrier(*method, caller, project);
        if (barrier == absl::StatusCode::kOk && project == "q") continue;  // might delete what others are refused
        const std::string request = RequestFor(*method, project)->SerializeAsString();
        const auto code = static_cast<absl::StatusCode>(
            CallAny(server_.channel, *method, {request}, caller.secret, std::chrono::seconds(30)).error_code());
        const std::string what = absl::StrCat(caller.name, " calls ", method->full_name(), " of ", project);
        if (barrier != absl::StatusCode::kOk) {
          EXPECT_EQ(code, barrier) << what;
        } else {
          EXPECT_NE(code, absl::StatusCode::kUnauthenticated) << what;
          EXPECT_NE(code, absl::StatusCode::kPermissionDenied) << what;
        }
      }
    }
  }
}

TEST_F(AccessTest, ARefusalSaysWhatIsMissing) {
  server_.secret = server_.NewToken("p", "v", Role::VIEWER);
  v1::DeleteJobRequest request;
  request.set_name("projects/p/jobs/j");
  const absl::Status refused = server_.Call(server_.jobs, &v1::JobService::Stub::DeleteJob, request).status();
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kPermissionDenied,
                                "projects/p/tokens/v is VIEWER of project p; qzo.v1.JobService.DeleteJob needs "
                                "SUBMITTER"));
  EXPECT_EQ(rpc::ReasonOf(refused), "ROLE_NEEDED");
  server_.secret.clear();
  const absl::Status unknown = server_.GetJob("projects/p/jobs/j").status();
  EXPECT_THAT(unknown, StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("--token-file")));
  EXPECT_EQ(rpc::ReasonOf(unknown), "NO_CREDENTIALS");
}

TEST_F(AccessTest, ThingsOfOtherProjectsCannotBeNamedInRequests) {
  Fill("q");
  Fill("p");
  server_.secret = server_.NewToken("p", "s", Role::SUBMITTER);
  v1::CreateJobRequest job = JobRequest("spy");
  job.mutable_job()->mutable_spec()->set_base_model("projects/p/models/x");
  job.mutable_job()->mutable_spec()->set_training_dataset("projects/p/datasets/x");
  job.set_validate_only(true);
  EXPECT_OK(server_.Call(server_.jobs, &v1::JobService::Stub::CreateJob, job));
  for (const char* field : {"base_model", "training_dataset", "validation_dataset", "test_dataset"}) {
    v1::CreateJobRequest spying = job;
    v1::JobSpec* spec = spying.mutable_job()->mutable_spec();
    const std::string kind = std::string(field) == "base_model" ? "model" : "dataset";
    spec->GetReflection()->SetString(spec, spec->GetDescriptor()->FindFieldByName(field),
                                     absl::StrCat("projects/q/", kind, "s/x"));
    const absl::Status status = server_.Call(server_.jobs, &v1::JobService::Stub::CreateJob, spying).status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kNotFound, absl::StrCat("no ", kind, " projects/q/", kind, "s/x")));
  }
  v1::CreateDatasetRequest::Header header;
  header.set_parent("projects/p");
  header.set_model("projects/q/models/x");
  *header.mutable_task() = SentimentTask();
  EXPECT_THAT(server_.UploadDataset(header, Rows(2)), StatusIs(absl::StatusCode::kNotFound, HasSubstr("models/x")));
}

TEST_F(AccessTest, ADigestOpensOnlyModelsOfTheProject) {
  Fill("q");
  v1::CreateModelRequest::Header header;
  header.set_parent("projects/p");
  header.set_model_id("stolen");
  header.set_digest(base::Sha256Hex(StoriesModel()));
  server_.secret = server_.NewToken("p", "s", Role::SUBMITTER);
  const absl::Status status = server_.UploadModel(header, "").status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("send it")));
  EXPECT_EQ(rpc::ReasonOf(status), "DATA_NEEDED");
  EXPECT_OK(server_.UploadModel(header, StoriesModel()));
  header.set_model_id("again");
  EXPECT_OK(server_.UploadModel(header, ""));
}

}  // namespace
}  // namespace qzo::server
