// The verbs of qzoctl. Each returns the process's exit code, or an error that becomes one.
#ifndef QZO_CLIENT_CLI_VERBS_H_
#define QZO_CLIENT_CLI_VERBS_H_

#include "absl/status/statusor.h"
#include "client/cli/flags.h"
#include "client/cli/session.h"

namespace qzo::client {

// submit.cc
absl::StatusOr<int> Submit(Session& session, const SubmitFlags& flags);
absl::StatusOr<int> Plan(Session& session, const SubmitFlags& flags);

// get.cc
absl::StatusOr<int> Get(Session& session, const GetFlags& flags);
absl::StatusOr<int> Describe(Session& session, const GetFlags& flags);
absl::StatusOr<int> Delete(Session& session, const DeleteFlags& flags);

// follow.cc
absl::StatusOr<int> Watch(Session& session, const JobFlags& flags);
absl::StatusOr<int> Logs(Session& session, const JobFlags& flags);
absl::StatusOr<int> Events(Session& session, const JobFlags& flags);
absl::StatusOr<int> Wait(Session& session, const WaitFlags& flags);

// compare.cc
absl::StatusOr<int> Top(Session& session);
absl::StatusOr<int> Plot(Session& session, const CompareFlags& flags);
absl::StatusOr<int> Diff(Session& session, const CompareFlags& flags);

// chat.cc
absl::StatusOr<int> Chat(Session& session, const ChatFlags& flags);

// steer.cc
absl::StatusOr<int> Cancel(Session& session, const JobFlags& flags);
absl::StatusOr<int> Pause(Session& session, const JobFlags& flags);
absl::StatusOr<int> Resume(Session& session, const JobFlags& flags);
absl::StatusOr<int> Retry(Session& session, const JobFlags& flags);
absl::StatusOr<int> Drain(Session& session, const JobFlags& flags);

// transfer.cc
absl::StatusOr<int> Upload(Session& session, const TransferFlags& flags);
absl::StatusOr<int> Download(Session& session, const TransferFlags& flags);

// token.cc
absl::StatusOr<int> CreateToken(Session& session, const TokenFlags& flags);
absl::StatusOr<int> GetTokens(Session& session, const TokenFlags& flags);
absl::StatusOr<int> RevokeTokens(Session& session, const TokenFlags& flags);

// audit.cc
absl::StatusOr<int> Audit(Session& session, const AuditFlags& flags);

// draw.cc
absl::StatusOr<int> Draw(Session& session, const DrawFlags& flags);

// infer.cc
absl::StatusOr<int> Generate(Session& session, const LocalFlags& flags);
absl::StatusOr<int> Classify(Session& session, const LocalFlags& flags);
absl::StatusOr<int> Evaluate(Session& session, const LocalFlags& flags);

// inspect.cc
absl::StatusOr<int> InspectModel(Session& session, const LocalFlags& flags);

// convert.cc
absl::StatusOr<int> ConvertModel(Session& session, const LocalFlags& flags);

// prove.cc
absl::StatusOr<int> Verify(Session& session, const LocalFlags& flags);
absl::StatusOr<int> Export(Session& session, const LocalFlags& flags);

// run.cc
absl::StatusOr<int> Version(Session& session);

}  // namespace qzo::client

#endif  // QZO_CLIENT_CLI_VERBS_H_
