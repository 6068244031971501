#include "proto/grpc_status.h"

#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace qzo::rpc {
namespace {

TEST(GrpcStatus, DetailsSurviveTheWire) {
  const absl::Status sent = WithResource(WithReason(absl::NotFoundError("no job x"), "JOB_NOT_FOUND"), "job", "x");
  const absl::Status got = FromGrpc(ToGrpc(sent));
  EXPECT_EQ(got, sent);
  EXPECT_EQ(ReasonOf(got), "JOB_NOT_FOUND");
}

TEST(GrpcStatus, EveryErrorGetsExactlyOneReason) {
  EXPECT_EQ(ReasonOf(FromGrpc(ToGrpc(absl::UnavailableError("x")))), "UNAVAILABLE");
  EXPECT_EQ(ReasonOf(WithReason(WithReason(absl::AbortedError("x"), "A"), "B")), "B");
}

TEST(GrpcStatus, LinesBecomeViolations) {
  const absl::Status status =
      ViolationsFromLines(absl::InvalidArgumentError("method.steps: 0, expected 1 or more\nodd"), "INVALID_JOB");
  const auto details = BadRequestOf(status);
  ASSERT_TRUE(details.has_value());
  ASSERT_EQ(details->field_violations_size(), 2);
  EXPECT_EQ(details->field_violations(0).field(), "method.steps");
  EXPECT_EQ(details->field_violations(0).description(), "0, expected 1 or more");
  EXPECT_EQ(details->field_violations(1).description(), "odd");
}

TEST(GrpcStatus, ManyLongLinesFitIntoTrailers) {
  std::string lines;
  for (int i = 0; i < 100; ++i) lines += "file.jsonl:" + std::to_string(i) + ":1: " + std::string(900, 'x') + "\n";
  const grpc::Status status = ToGrpc(ViolationsFromLines(absl::InvalidArgumentError(lines), "INVALID_DATASET"));
  EXPECT_LT(status.error_message().size() + status.error_details().size() * 4 / 3, 7000u);
  const auto details = BadRequestOf(FromGrpc(status));
  ASSERT_TRUE(details.has_value());
  EXPECT_EQ(details->field_violations(0).field(), "file.jsonl:0:1");
  EXPECT_EQ(details->field_violations(details->field_violations_size() - 1).description().substr(0, 4), "and ");
}

TEST(GrpcStatus, ForeignErrorsKeepCodeAndText) {
  EXPECT_THAT(FromGrpc(grpc::Status(grpc::StatusCode::UNAVAILABLE, "refused")),
              testing::StatusIs(absl::StatusCode::kUnavailable, "refused"));
  EXPECT_TRUE(FromGrpc(ToGrpc(absl::OkStatus())).ok());
}

}  // namespace
}  // namespace qzo::rpc
