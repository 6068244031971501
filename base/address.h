// Network addresses as flags spell them. Pure.
#ifndef QZO_BASE_ADDRESS_H_
#define QZO_BASE_ADDRESS_H_

#include <string_view>

#include "absl/status/status.h"

namespace qzo::base {

// Whether `address` (host:port or unix:path) can only be this machine: localhost, 127.0.0.0/8, [::1] or a unix socket.
bool IsLoopback(std::string_view address);

// Metrics are clear text and ask for no credentials: beyond loopback only when `open` says so. FAILED_PRECONDITION.
absl::Status CheckMetricsAddress(std::string_view address, bool open);

}  // namespace qzo::base

#endif  // QZO_BASE_ADDRESS_H_
