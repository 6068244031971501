#include "client/cli/follow.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "client/cli/exit_code.h"
#include "client/cli/verbs.h"
#include "client/report.h"

namespace qzo::client {
namespace {

// Where there is no terminal, a run's steps make about this many lines.
constexpr uint32_t kStepLines = 50;

class Display {
 public:
  explicit Display(Session* session) : session_(*session) {}

  void Show(const v1::WatchJobResponse& item) {
    if (item.has_job()) job_ = item.job();
    if (item.has_event()) {
      sequence_ = item.event().sequence();
      Absorb(item.event());
    }
    if (session_.flags().output == OutputFormat::kJson) {
      session_.out() << ToJson(item, /*one_line=*/true) << std::flush;
    } else if (!session_.flags().quiet) {
      if (item.has_event() && Prints(item.event())) Line(EventLine(item.event(), session_.env().zone));
      if (session_.env().err_is_terminal) {
        err() << "\r\033[K" << ProgressLine(job_, session_.env().columns - 1) << std::flush;
        line_is_open_ = true;
      }
    }
  }
  // Leaves the cursor at the start of a line.
  void Close() {
    if (line_is_open_) err() << "\n" << std::flush;
    line_is_open_ = false;
  }
  uint64_t last_sequence() const { return sequence_; }

 private:
  std::ostream& err() { return *session_.env().err; }

  // Events come more often than jobs: they keep the line fresh.
  void Absorb(const v1::JobEvent& event) {
    v1::Progress* progress = job_.mutable_progress();
    if (event.has_step() && event.step().step() > progress->step()) {
      progress->set_step(event.step().step());
      progress->set_train_loss(event.step().train_loss());
    } else if (event.has_evaluation() && event.evaluation().split() == "validation") {
      *progress->mutable_last_validation() = event.evaluation();
    } else if (event.data_case() == v1::JobEvent::kState) {
      job_.set_state(event.state());
    }
  }

  bool Prints(const v1::JobEvent& event) const {
    if (!event.has_step() || event.level() != v1::JobEvent::INFO) return true;
    const uint32_t every = std::max(job_.progress().total_steps() / kStepLines, 1u);
    return !session_.env().err_is_terminal && event.step().step() % every == 0;
  }

  void Line(const std::string& text) {
    err() << (line_is_open_ ? "\r\033[K" : "") << text << std::endl;
    line_is_open_ = false;
  }

  Session& session_;
  v1::FineTuningJob job_;
  uint64_t sequence_ = 0;
  bool line_is_open_ = false;
};

absl::Status PrintEnd(Session& session, Client* client, const v1::FineTuningJob& job) {
  if (session.flags().output == OutputFormat::kJson) {
    session.out() << ToJson(job, /*one_line=*/true);
    return absl::OkStatus();
  }
  if (session.flags().output == OutputFormat::kYaml) {
    session.PrintMessage(job);
    return absl::OkStatus();
  }
  if (session.flags().output == OutputFormat::kName) {
    session.out() << job.name() << "\n";
    return absl::OkStatus();
  }
  absl::StatusOr<v1::Adapter> adapter = absl::NotFoundError("");
  if (!job.adapter().empty()) adapter = client->GetAdapter(job.adapter());
  if (!adapter.ok() && !absl::IsNotFound(adapter.status())) return adapter.status();
  session.out() << FinalReport(job, adapter.ok() ? &*adapter : nullptr);
  return absl::OkStatus();
}

// "state=succeeded" → SUCCEEDED.
absl::StatusOr<v1::FineTuningJob::State> ParseCondition(const std::string& condition) {
  v1::FineTuningJob::State state = v1::FineTuningJob::STATE_UNSPECIFIED;
  const std::string wanted = absl::AsciiStrToUpper(absl::StartsWith(condition, "state=") ? condition.substr(6) : "");
  if (v1::FineTuningJob::State_Parse(wanted, &state) && state != v1::FineTuningJob::STATE_UNSPECIFIED) return state;
  return absl::InvalidArgumentError(absl::StrCat(
      "--for=", condition,
      ": expected state=queued, state=running, state=paused, state=succeeded, state=failed or state=cancelled"));
}

}  // namespace

absl::StatusOr<int> Follow(Session& session, const std::string& job, uint64_t from_sequence) {
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  Display display(&session);
  const absl::StatusOr<v1::FineTuningJob> end =
      client->Watch(job, from_sequence, absl::InfiniteDuration(), [&](const v1::WatchJobResponse& item) {
        display.Show(item);
        return true;
      });
  display.Close();
  const uint64_t next = std::max(from_sequence, display.last_sequence() + 1);
  const std::string again = absl::StrCat("qzoctl watch ", job, " --from ", next);
  if (session.interrupted()) {
    session.Note(absl::StrCat("detached; the job goes on. To watch it again: ", again));
    return kDetached;
  }
  if (absl::IsUnavailable(end.status())) {
    session.Note(absl::StrCat("lost the connection; the job may go on. To watch it again: ", again));
  }
  QZO_RETURN_IF_ERROR(end.status());
  QZO_RETURN_IF_ERROR(PrintEnd(session, client, *end));
  return ExitCodeOf(end->state());
}

absl::StatusOr<int> Watch(Session& session, const JobFlags& flags) {
  return Follow(session, session.Name("jobs", flags.name), flags.from_sequence);
}

absl::StatusOr<int> Logs(Session& session, const JobFlags& flags) {
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  const std::string name = session.Name("jobs", flags.name);
  const auto print = [&](const v1::JobEvent& event) {
    session.out() << (session.flags().output == OutputFormat::kJson ? ToJson(event, /*one_line=*/true)
                                                                    : EventLine(event, session.env().zone) + "\n")
                  << std::flush;
  };
  if (flags.follow) {
    QZO_ASSIGN_OR_RETURN(const v1::FineTuningJob job, client->Watch(name, flags.from_sequence, absl::InfiniteDuration(),
                                                                    [&](const v1::WatchJobResponse& item) {
                                                                      if (item.has_event()) print(item.event());
                                                                      return true;
                                                                    }));
    return ExitCodeOf(job.state());
  }
  QZO_ASSIGN_OR_RETURN(const std::vector<v1::JobEvent> events, client->ListJobEvents(name));
  for (const v1::JobEvent& event : events) {
    if (event.sequence() >= flags.from_sequence) print(event);
  }
  return kOk;
}

absl::StatusOr<int> Events(Session& session, const JobFlags& flags) {
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  QZO_ASSIGN_OR_RETURN(const std::vector<v1::JobEvent> events, client->ListJobEvents(session.Name("jobs", flags.name)));
  const OutputFormat output = session.flags().output;
  Table table({"SEQUENCE", "AGE", "LEVEL", "TYPE", "MESSAGE"});
  v1::ListJobEventsResponse list;
  for (const v1::JobEvent& event : events) {
    if (event.sequence() < flags.from_sequence) continue;
    *list.add_events() = event;
    table.Add({absl::StrCat(event.sequence()), Age(event.time(), session.now()),
               v1::JobEvent::Level_Name(event.level()), event.type(), event.message()});
  }
  if (output == OutputFormat::kJson || output == OutputFormat::kYaml)
    session.PrintMessage(list);
  else
    session.out() << table.Render();
  return kOk;
}

absl::StatusOr<int> Wait(Session& session, const WaitFlags& flags) {
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  QZO_ASSIGN_OR_RETURN(const v1::FineTuningJob::State wanted, ParseCondition(flags.condition));
  const std::string name = session.Name("jobs", flags.name);
  const absl::Duration timeout =
      flags.timeout_seconds > 0 ? absl::Seconds(flags.timeout_seconds) : absl::InfiniteDuration();
  const absl::StatusOr<v1::FineTuningJob> job = client->Watch(name, 1, timeout, [&](const v1::WatchJobResponse& item) {
    return !(item.has_job() && item.job().state() == wanted);
  });
  if (absl::IsDeadlineExceeded(job.status())) {
    session.Note(absl::StrCat(name, " is not ", StateName(wanted), " after ", absl::FormatDuration(timeout)));
    return kTimedOut;
  }
  QZO_RETURN_IF_ERROR(job.status());
  session.out() << ShortName(name) << " " << StateName(job->state()) << "\n";
  if (job->state() == wanted) return kOk;
  if (HasEnded(job->state())) {
    session.Note(absl::StrCat("it will not be ", StateName(wanted), " any more"));
    return job->state() == v1::FineTuningJob::SUCCEEDED ? kFailed : ExitCodeOf(job->state());
  }
  return kOk;  // it was in the wanted state and has left it since
}

}  // namespace qzo::client
