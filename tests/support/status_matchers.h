// gMock matchers for absl::Status (Debian's Abseil has none).
#ifndef QZO_TESTS_SUPPORT_STATUS_MATCHERS_H_
#define QZO_TESTS_SUPPORT_STATUS_MATCHERS_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace qzo::testing {

inline const absl::Status& AsStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& AsStatus(const absl::StatusOr<T>& status_or) {
  return status_or.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << AsStatus(arg).ToString();
  return AsStatus(arg).ok();
}

// Code and a substring or matcher of the message.
MATCHER_P2(StatusIs, code, message, "") {
  const absl::Status& status = AsStatus(arg);
  *result_listener << status.ToString();
  return status.code() == code &&
         ::testing::ExplainMatchResult(message, std::string(status.message()), result_listener);
}

}  // namespace qzo::testing

#define EXPECT_OK(expr) EXPECT_THAT(expr, ::qzo::testing::IsOk())
#define ASSERT_OK(expr) ASSERT_THAT(expr, ::qzo::testing::IsOk())
#define ASSERT_OK_AND_ASSIGN(lhs, expr) ASSERT_OK_AND_ASSIGN_IMPL_(QZO_TEST_CONCAT_(status_or_, __LINE__), lhs, expr)
#define ASSERT_OK_AND_ASSIGN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                               \
  ASSERT_OK(tmp);                                  \
  lhs = std::move(tmp).value()
#define QZO_TEST_CONCAT_(a, b) QZO_TEST_CONCAT_INNER_(a, b)
#define QZO_TEST_CONCAT_INNER_(a, b) a##b

#endif  // QZO_TESTS_SUPPORT_STATUS_MATCHERS_H_
