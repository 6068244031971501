// What a process that ran qzoctl learns from it (docs: README, "Exit codes"). Pure.
#ifndef QZO_CLIENT_CLI_EXIT_CODE_H_
#define QZO_CLIENT_CLI_EXIT_CODE_H_

#include <string>

#include "absl/status/status.h"
#include "proto/dial.h"
#include "qzo/v1/job.pb.h"

namespace qzo::client {

enum ExitCode : int {
  kOk = 0,
  kFailed = 1,     // the job FAILED, or any other error
  kUsage = 2,      // flags, job file or data are wrong
  kCancelled = 3,  // the job was CANCELLED
  kTimedOut = 4,   // `wait` gave up; the job is alive
  kUnreachable = 5,
  kForbidden = 6,
  kNotFound = 7,
  kConflict = 8,  // the resource is not in a state for that
  kNoCapacity = 9,
  kDetached = 130,  // ^C: the job goes on
};

int ExitCodeOf(const absl::Status& status);
int ExitCodeOf(v1::FineTuningJob::State state);  // of a job that has ended

// What people read: one line that says what failed and what to try, then one line per field violation. `endpoint` is
// what was called; `verbose` adds code and reason.
std::string ErrorText(const absl::Status& status, const rpc::Endpoint& endpoint, bool verbose);

}  // namespace qzo::client

#endif  // QZO_CLIENT_CLI_EXIT_CODE_H_
