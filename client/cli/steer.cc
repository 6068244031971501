// Verbs that change a job's state, or a worker's.
#include "base/status_macros.h"
#include "client/cli/exit_code.h"
#include "client/cli/verbs.h"

namespace qzo::client {
namespace {

using JobMethod = absl::StatusOr<v1::FineTuningJob> (Client::*)(const std::string&);

absl::StatusOr<int> Steer(Session& session, const std::string& name, JobMethod method) {
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  QZO_ASSIGN_OR_RETURN(const v1::FineTuningJob job, (client->*method)(session.Name("jobs", name)));
  const OutputFormat output = session.flags().output;
  if (output == OutputFormat::kName)
    session.out() << job.name() << "\n";
  else if (output == OutputFormat::kJson || output == OutputFormat::kYaml)
    session.PrintMessage(job);
  else
    session.out() << ShortName(job.name()) << " " << StateName(job.state()) << "\n";
  return kOk;
}

}  // namespace

absl::StatusOr<int> Cancel(Session& session, const JobFlags& flags) {
  return Steer(session, flags.name, &Client::CancelJob);
}
absl::StatusOr<int> Pause(Session& session, const JobFlags& flags) {
  return Steer(session, flags.name, &Client::PauseJob);
}
absl::StatusOr<int> Resume(Session& session, const JobFlags& flags) {
  return Steer(session, flags.name, &Client::ResumeJob);
}
absl::StatusOr<int> Retry(Session& session, const JobFlags& flags) {
  return Steer(session, flags.name, &Client::RetryJob);
}

absl::StatusOr<int> Drain(Session& session, const JobFlags& flags) {
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  QZO_ASSIGN_OR_RETURN(const v1::Worker worker, client->DrainWorker(session.Name("workers", flags.name)));
  session.out() << ShortName(worker.name()) << " " << v1::Worker::State_Name(worker.state()) << "\n";
  return kOk;
}

}  // namespace qzo::client
