// Showing a job until it ends, for submit and watch.
#ifndef QZO_CLIENT_CLI_FOLLOW_H_
#define QZO_CLIENT_CLI_FOLLOW_H_

#include <string>

#include "absl/status/statusor.h"
#include "client/cli/session.h"

namespace qzo::client {

// On a terminal one updating line with the rare events above it, elsewhere a line per event; with -o json every item of
// the stream on stdout. At the end the report, and the exit code of the job's state as GetJob says it. ^C detaches: the
// job goes on.
absl::StatusOr<int> Follow(Session& session, const std::string& job, uint64_t from_sequence);

}  // namespace qzo::client

#endif  // QZO_CLIENT_CLI_FOLLOW_H_
