#include "server/dataset_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/grpc_status.h"
#include "tests/support/status_matchers.h"

namespace qzo::server {
namespace {

using ::testing::HasSubstr;

TEST(DatasetRows, GoodRowsAreCounted) {
  EXPECT_EQ(CheckRows("").rows, 0);
  for (const char* text :
       {"{\"a\":1}\n{\"b\":[{}]}", "{\"a\":1}\n{\"b\":2}\n", "\xEF\xBB\xBF{\"a\":1}\r\n{\"b\":2}\r\n"}) {
    const model::DatasetReport report = CheckRows(text);
    EXPECT_EQ(report.rows, 2) << text;
    EXPECT_EQ(report.errors_total, 0) << text;
  }
}

TEST(DatasetRows, BadRowsAreNamedByLineAndColumn) {
  const model::DatasetReport report = CheckRows("{\"a\":1}\n\n[1]\n{\"a\" 1}\n{\"a\":\"\xC0\"}\n1\n");
  EXPECT_EQ(report.rows, 6);
  EXPECT_EQ(report.errors_total, 5);
  ASSERT_EQ(report.errors.size(), 5u);
  EXPECT_EQ(report.errors[0].line, 2);
  EXPECT_EQ(report.errors[2].line, 4);
  EXPECT_EQ(report.errors[2].column, 6);
  EXPECT_EQ(report.errors[3].column, 7);
}

TEST(DatasetRows, ErrorsBecomeViolationsWithTheRestCounted) {
  std::string text;
  for (int i = 0; i < 25; ++i) text += "?\n";
  const absl::Status status = BadRows(CheckRows(text), "rows.jsonl");
  EXPECT_THAT(status,
              testing::StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rows.jsonl: 25 bad rows of 25")));
  ASSERT_TRUE(rpc::BadRequestOf(status).has_value());
  ASSERT_EQ(rpc::BadRequestOf(status)->field_violations_size(), 21);
  EXPECT_THAT(rpc::BadRequestOf(status)->field_violations(0).field(), HasSubstr("rows.jsonl:1:"));
  EXPECT_EQ(rpc::BadRequestOf(status)->field_violations(20).description(), "5 more bad rows of 25");
}

}  // namespace
}  // namespace qzo::server
