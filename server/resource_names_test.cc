#include "server/resource_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/grpc_status.h"
#include "tests/support/status_matchers.h"

namespace qzo::server {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ResourceNames, ParseAndFormatAreInverse) {
  const std::string name = "projects/my-team/jobs/sst2-a";
  ASSERT_OK_AND_ASSIGN(const ResourceKey key, ParseName(kJobKind, "name", name));
  EXPECT_EQ(key, (ResourceKey{"job", "my-team", "sst2-a"}));
  EXPECT_EQ(NameOf(key), name);
}

TEST(ResourceNames, AnythingElseIsRefusedWithTheFieldAndTheShape) {
  for (const char* name :
       {"", "x", "projects/p", "projects/p/jobs", "projects/p/jobs/", "projects//jobs/j", "projects/p/models/m",
        "projects/p/jobs/j/x", "/projects/p/jobs/j", "projects/p/jobs/J", "projects/p/jobs/1j", "projects/p/jobs/j-",
        "projects/p/jobs/../secret", "projects/-/jobs/j"}) {
    const absl::Status status = ParseName(kJobKind, "base_model", name).status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                                 AllOf(HasSubstr("base_model: '"), HasSubstr("projects/{project}/jobs/{job}"))))
        << name;
    ASSERT_TRUE(rpc::BadRequestOf(status).has_value());
    EXPECT_EQ(rpc::BadRequestOf(status)->field_violations(0).field(), "base_model");
  }
}

TEST(ResourceNames, LongAndUnprintableNamesAreShownSafely) {
  const absl::Status status = ParseName(kJobKind, "name", "a\nb" + std::string(10'000, 'x')).status();
  EXPECT_LT(status.message().size(), 400u);
  EXPECT_EQ(status.message().find('\n'), absl::string_view::npos);
}

TEST(ResourceNames, IdsFollowTheRule) {
  EXPECT_OK(CheckId("job_id", "a"));
  EXPECT_OK(CheckId("job_id", std::string(63, 'a')));
  for (const std::string& id : {std::string(), std::string(64, 'a'), std::string("A"), std::string("a_b"),
                                std::string("-a"), std::string("a-"), std::string("9a"), std::string("é")}) {
    EXPECT_THAT(CheckId("job_id", id), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("job_id: '"))) << id;
  }
}

TEST(ResourceNames, OnlyListsTakeAllProjects) {
  EXPECT_EQ(*ParseParent("projects/p"), "p");
  EXPECT_EQ(*ParseListParent("projects/p"), "p");
  EXPECT_EQ(*ParseListParent("projects/-"), "");
  EXPECT_THAT(ParseParent("projects/-"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("parent")));
  EXPECT_THAT(ParseListParent(""), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("parent")));
}

TEST(ResourceNames, WorkersHaveNoProject) {
  EXPECT_EQ(*ParseWorker("workers/host-1"), "host-1");
  EXPECT_THAT(ParseWorker("workers/"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("workers/{worker}")));
  EXPECT_THAT(ParseWorker("host-1"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("workers/{worker}")));
}

TEST(ResourceNames, MadeIdsAreGoodIds) {
  EXPECT_OK(CheckId("id", RandomId("job-")));
  EXPECT_NE(RandomId("job-"), RandomId("job-"));
  EXPECT_EQ(IdFrom("SmolLM2 135M_Q4_0", "model-"), "smollm2-135m-q4-0");
  EXPECT_EQ(IdFrom("7b", "model-"), "model-7b");
  for (const std::string& text : {std::string(), std::string("---"), std::string(100, 'a') + "-",
                                  std::string(62, 'a') + "--b", std::string("日本")}) {
    EXPECT_OK(CheckId("id", IdFrom(text, "model-"))) << text;
  }
}

}  // namespace
}  // namespace qzo::server
