// Early return for absl::Status and absl::StatusOr (Debian's Abseil has no status_macros.h).
#ifndef QZO_BASE_STATUS_MACROS_H_
#define QZO_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define QZO_RETURN_IF_ERROR(expr)                             \
  do {                                                        \
    if (absl::Status qzo_status = (expr); !qzo_status.ok()) { \
      return qzo_status;                                      \
    }                                                         \
  } while (false)

#define QZO_ASSIGN_OR_RETURN(lhs, expr) QZO_ASSIGN_OR_RETURN_IMPL_(QZO_CONCAT_(qzo_status_or_, __LINE__), lhs, expr)

#define QZO_ASSIGN_OR_RETURN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                               \
  if (!tmp.ok()) return std::move(tmp).status();   \
  lhs = std::move(tmp).value()

#define QZO_CONCAT_(a, b) QZO_CONCAT_INNER_(a, b)
#define QZO_CONCAT_INNER_(a, b) a##b

#endif  // QZO_BASE_STATUS_MACROS_H_
