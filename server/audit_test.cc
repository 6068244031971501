// The audit log: what becomes of records, also when the store does not take them, and what ListAuditRecords shows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <set>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/audit_log.h"
#include "server/sqlite_fault_vfs.h"
#include "server/sqlite_store.h"
#include "server/test_server.h"
#include "tests/support/fake_clock.h"
#include "tests/support/processes.h"

namespace qzo::server {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Role = v1::Token;

class AuditLogTest : public ::testing::Test {
 protected:
  AuditLogTest() {
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(log_);
    sink->set_pattern("%v");
    before_ = spdlog::default_logger();
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink));
    OpenStore();
  }
  ~AuditLogTest() override { spdlog::set_default_logger(before_); }

  void OpenStore() {
    store_.reset();
    absl::StatusOr<std::unique_ptr<SqliteStore>> store =
        SqliteStore::Open({.path = directory_.File("qzo.db"), .clock = &clock_, .vfs = vfs_.name()});
    ASSERT_OK(store);
    store_ = *std::move(store);
  }
  std::unique_ptr<AuditLog> NewLog(const AuditLog::Options& options = {}) {
    return std::make_unique<AuditLog>(options, store_.get(), &clock_, &unstored_);
  }
  static StoredAudit Call(const std::string& resource, const std::string& caller = "projects/p/tokens/t") {
    StoredAudit call;
    call.caller = caller;
    call.peer = "ipv4:10.0.0.7";
    call.method = "qzo.v1.JobService.DeleteJob";
    call.resource = resource;
    call.code = "OK";
    return call;
  }
  // Of the records in the store, the oldest first.
  std::vector<std::string> Resources() {
    const absl::StatusOr<std::vector<StoredAudit>> records =
        store_->ListAudit({.oldest_first = true, .limit = 1'000'000});
    EXPECT_OK(records);
    std::vector<std::string> resources;
    for (const StoredAudit& record : *records) resources.push_back(record.resource);
    return resources;
  }
  double Unstored(const char* cause) { return unstored_.Add({{"cause", cause}}).Value(); }
  int Lines(absl::string_view beginning) const {
    int lines = 0;
    for (const absl::string_view line : absl::StrSplit(log_.str(), '\n')) lines += absl::StartsWith(line, beginning);
    return lines;
  }

  testing::TempDir directory_;
  testing::FakeClock clock_;
  FaultVfs vfs_{"audit-faults"};
  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>& unstored_ = prometheus::BuildCounter().Name("unstored").Register(registry_);
  std::ostringstream log_;
  std::shared_ptr<spdlog::logger> before_;
  std::unique_ptr<SqliteStore> store_;
};

TEST_F(AuditLogTest, ARecordIsDurableBeforeItsCallIsAnsweredAndOutlivesTheServer) {
  auto log = NewLog();
  log->AddDurably(Call("projects/p/jobs/a"));
  EXPECT_THAT(Resources(), ElementsAre("projects/p/jobs/a"));
  log->Add(Call("projects/p/jobs/b"));
  log.reset();
  OpenStore();
  EXPECT_THAT(Resources(), ElementsAre("projects/p/jobs/a", "projects/p/jobs/b"));
}

TEST_F(AuditLogTest, RecordsWaitWhileTheDiskIsFullAndHoldUpNobody) {
  auto log = NewLog();
  vfs_.disk_full = true;
  log->AddDurably(Call("a"));
  for (const char* resource : {"b", "c"}) log->AddDurably(Call(resource));
  log->Tick();
  EXPECT_THAT(Resources(), IsEmpty());
  EXPECT_EQ(Lines("audit caller="), 3) << "the lines do not wait";
  vfs_.disk_full = false;
  EXPECT_TRUE(testing::Eventually([&] {
    log->Tick();
    return Resources() == std::vector<std::string>{"a", "b", "c"};
  }));
  log->AddDurably(Call("d"));
  EXPECT_THAT(Resources(), ElementsAre("a", "b", "c", "d"));
  EXPECT_EQ(Unstored("store"), 0);
  log.reset();
  EXPECT_EQ(Lines("audit records cannot be stored and wait in memory: RESOURCE_EXHAUSTED"), 1) << log_.str();
  EXPECT_EQ(Lines("audit records are stored again"), 1);
}

TEST_F(AuditLogTest, RecordsThatFindNoRoomAreCountedAndSaidToBeInTheLogAlone) {
  auto log = NewLog({.max_waiting = 2});
  vfs_.disk_full = true;
  log->AddDurably(Call("a"));
  for (const char* resource : {"b", "c", "d"}) log->AddDurably(Call(resource));
  EXPECT_EQ(Unstored("store"), 2);
  EXPECT_EQ(Lines("audit caller="), 4);
  EXPECT_EQ(Lines("2 audit records wait for the store"), 1) << log_.str();
  log.reset();  // the disk is still full
  EXPECT_EQ(Lines("the last 2 audit records are in this log alone"), 1) << log_.str();
}

TEST_F(AuditLogTest, StrangersCannotFillTheStore) {
  auto log = NewLog({.strangers_per_second = 1});
  for (int i = 0; i < 50; ++i) log->Add(Call("of a stranger", ""));
  log->AddDurably(Call("of a caller"));
  std::vector<std::string> expected(10, "of a stranger");
  expected.emplace_back("of a caller");
  EXPECT_EQ(Resources(), expected);
  EXPECT_EQ(Unstored("strangers"), 40);
  EXPECT_EQ(Lines("audit caller=\"\""), 50);
  clock_.Advance(absl::Seconds(3));
  for (int i = 0; i < 5; ++i) log->Add(Call("of a stranger", ""));
  EXPECT_EQ(Unstored("strangers"), 42);
}

TEST_F(AuditLogTest, RecordsAreForgottenByAgeAndByNumber) {
  auto log = NewLog({.kept = absl::Hours(1), .max_records = 3});
  for (const char* resource : {"a", "b", "c", "d", "e"}) log->AddDurably(Call(resource));
  log->Tick();
  ASSERT_OK(store_->Write({}));
  EXPECT_THAT(Resources(), ElementsAre("c", "d", "e"));
  clock_.Advance(absl::Minutes(59));
  log->AddDurably(Call("f"));
  clock_.Advance(absl::Minutes(2));
  log->Tick();
  ASSERT_OK(store_->Write({}));
  EXPECT_THAT(Resources(), ElementsAre("f"));
}

TEST_F(AuditLogTest, TextsOfCallersAreCutAndCannotLookLikeAnything) {
  auto log = NewLog();
  log->AddDurably(Call("projects/p/jobs/x\" code=OK\naudit caller=\"forged"));
  log->AddDurably(Call(std::string(100'000, 'x')));
  EXPECT_THAT(Resources(),
              ElementsAre(R"(projects/p/jobs/x\" code=OK\naudit caller=\"forged)", std::string(512, 'x') + "..."));
  EXPECT_EQ(Lines("audit caller="), 2);
}

class AuditServiceTest : public ::testing::Test {
 protected:
  AuditServiceTest() { admin_ = server_.secret = server_.AdminSecret(); }

  absl::StatusOr<v1::ListAuditRecordsResponse> List(const v1::ListAuditRecordsRequest& request) {
    return server_.Call(server_.audit, &v1::AuditService::Stub::ListAuditRecords, request);
  }
  static v1::ListAuditRecordsRequest Of(const std::string& parent) {
    v1::ListAuditRecordsRequest request;
    request.set_parent(parent);
    return request;
  }
  // "CreateToken projects/p/tokens/s OK", the newest first.
  std::vector<std::string> Shown(const v1::ListAuditRecordsRequest& request) {
    const absl::StatusOr<v1::ListAuditRecordsResponse> answer = List(request);
    EXPECT_OK(answer);
    std::vector<std::string> shown;
    if (!answer.ok()) return shown;
    for (const v1::AuditRecord& record : answer->records()) {
      shown.push_back(absl::StrCat(record.method().substr(record.method().rfind('.') + 1), " ", record.resource(), " ",
                                   record.code()));
    }
    return shown;
  }
  absl::Status DeleteJob(const std::string& name) {
    v1::DeleteJobRequest request;
    request.set_name(name);
    return server_.Call(server_.jobs, &v1::JobService::Stub::DeleteJob, request).status();
  }

  TestServer server_{[](Server::Options* options) {
    RequireTokens(options);
    options->calls_per_second = 0;
  }};
  std::string admin_;
};

TEST_F(AuditServiceTest, WhoDidWhatToWhatAndWithWhatOutcome) {
  server_.secret = server_.NewToken("p", "s", Role::SUBMITTER);
  ASSERT_OK(server_.UploadDataset("d", Rows(2)));
  EXPECT_FALSE(DeleteJob("projects/q/jobs/other").ok());
  EXPECT_FALSE(server_.GetJob("projects/p/jobs/j").ok());
  server_.secret = "qzo_wrong";
  EXPECT_FALSE(DeleteJob("projects/p/jobs/j").ok());
  server_.secret = admin_;
  // Refusals are written without being waited for.
  EXPECT_TRUE(testing::Eventually([&] { return Shown(Of("projects/-")).size() == 4; }));
  EXPECT_THAT(Shown(Of("projects/-")),
              ElementsAre("DeleteJob projects/p/jobs/j UNAUTHENTICATED", "DeleteJob projects/q/jobs/other NOT_FOUND",
                          "CreateDataset projects/p/datasets/d OK", "CreateToken projects/p/tokens/s OK"));
  ASSERT_OK_AND_ASSIGN(const v1::ListAuditRecordsResponse all, List(Of("projects/-")));
  EXPECT_EQ(all.records(0).caller(), "");
  EXPECT_EQ(all.records(0).reason(), "BAD_TOKEN");
  EXPECT_EQ(all.records(1).caller(), "projects/p/tokens/s");
  EXPECT_EQ(all.records(1).reason(), "JOB_NOT_FOUND");
  EXPECT_EQ(all.records(2).method(), "qzo.v1.DatasetService.CreateDataset");
  EXPECT_EQ(all.records(3).caller(), "admin-token-file");
  EXPECT_THAT(all.records(3).peer(), HasSubstr("unix"));
  EXPECT_GT(all.records(0).sequence(), all.records(1).sequence());
  EXPECT_THAT(all.DebugString(), Not(HasSubstr("qzo_wrong")));
  server_.Stop();
  server_.Start();
  EXPECT_EQ(Shown(Of("projects/-")).size(), 4u) << "a restart forgets nothing";
}

TEST_F(AuditServiceTest, AChangeThatWasAnsweredIsThere) {
  for (int i = 0; i < 20; ++i) {
    server_.NewToken("p", absl::StrCat("t", i), Role::VIEWER);
    EXPECT_EQ(Shown(Of("projects/p")).front(), absl::StrCat("CreateToken projects/p/tokens/t", i, " OK"));
  }
}

TEST_F(AuditServiceTest, AProjectsAdministratorSeesThatProjectAlone) {
  server_.NewToken("p", "a", Role::VIEWER);
  server_.NewToken("q", "b", Role::VIEWER);
  server_.NewToken("-", "c", Role::VIEWER);
  const std::string of_p = server_.NewToken("p", "admin", Role::ADMIN);
  EXPECT_EQ(Shown(Of("projects/-")).size(), 4u);
  EXPECT_THAT(Shown(Of("projects/q")), ElementsAre("CreateToken projects/q/tokens/b OK"));
  server_.secret = of_p;
  EXPECT_THAT(Shown(Of("projects/p")),
              ElementsAre("CreateToken projects/p/tokens/admin OK", "CreateToken projects/p/tokens/a OK"));
  EXPECT_THAT(List(Of("projects/q")), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("project p")));
  EXPECT_THAT(List(Of("projects/-")), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("project p")));
}

TEST_F(AuditServiceTest, RecordsAreFilteredAndPaged) {
  for (int i = 0; i < 7; ++i) server_.NewToken("p", absl::StrCat("t", i), Role::VIEWER);
  ASSERT_OK(server_.RevokeToken("projects/p/tokens/t1"));
  EXPECT_FALSE(server_.RevokeToken("projects/p/tokens/t1").ok());
  EXPECT_TRUE(testing::Eventually([&] { return Shown(Of("projects/p")).size() == 9; }));
  v1::ListAuditRecordsRequest request = Of("projects/p");
  request.set_resource("projects/p/tokens/t1");
  EXPECT_THAT(Shown(request),
              ElementsAre("RevokeToken projects/p/tokens/t1 NOT_FOUND", "RevokeToken projects/p/tokens/t1 OK",
                          "CreateToken projects/p/tokens/t1 OK"));
  request.set_code("OK");
  request.set_method("RevokeToken");
  EXPECT_THAT(Shown(request), ElementsAre("RevokeToken projects/p/tokens/t1 OK"));
  request.set_caller("somebody");
  EXPECT_THAT(Shown(request), IsEmpty());

  request = Of("projects/p");
  request.set_page_size(4);
  std::vector<std::string> paged;
  int pages = 0;
  do {
    ASSERT_OK_AND_ASSIGN(const v1::ListAuditRecordsResponse page, List(request));
    EXPECT_LE(page.records_size(), 4);
    for (const v1::AuditRecord& record : page.records()) paged.push_back(absl::StrCat(record.sequence()));
    request.set_page_token(page.next_page_token());
    ++pages;
  } while (!request.page_token().empty());
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(std::set<std::string>(paged.begin(), paged.end()).size(), 9u);

  request = Of("projects/p");
  *request.mutable_end_time() = List(Of("projects/p"))->records(8).time();
  EXPECT_THAT(Shown(request), IsEmpty()) << "nothing before the first";
  std::swap(*request.mutable_start_time(), *request.mutable_end_time());
  request.clear_end_time();
  EXPECT_EQ(Shown(request).size(), 9u);
}

TEST_F(AuditServiceTest, BadRequestsAreNamed) {
  const auto refusal = [&](const v1::ListAuditRecordsRequest& request) { return List(request).status(); };
  v1::ListAuditRecordsRequest request = Of("projects");
  EXPECT_THAT(refusal(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("parent")));
  request = Of("projects/p");
  request.set_page_token("x");
  EXPECT_THAT(refusal(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("page_token")));
  request = Of("projects/p");
  request.set_page_size(-1);
  EXPECT_THAT(refusal(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("page_size")));
  request = Of("projects/p");
  request.mutable_start_time()->set_nanos(-1);
  EXPECT_THAT(refusal(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("start_time")));
}

}  // namespace
}  // namespace qzo::server
