// Logging goes through spdlog (stderr only: stdout is for data). QZO_CHECK is for our own bugs, never for input.
#ifndef QZO_BASE_LOG_H_
#define QZO_BASE_LOG_H_

#include <string_view>

#include "absl/status/status.h"

namespace qzo::base {

// Sets the process-wide spdlog logger: `level` is debug, info, warn, error or off; `format` is text or json.
// Possible errors: INVALID_ARGUMENT. Call once, early in main.
absl::Status InitLogging(std::string_view level, std::string_view format);

[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);

}  // namespace qzo::base

#define QZO_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::qzo::base::CheckFailed(__FILE__, __LINE__, #condition))

#endif  // QZO_BASE_LOG_H_
