// top, plot and diff: looking at jobs.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/exit_code.h"
#include "client/cli/verbs.h"
#include "client/plot.h"
#include "client/report.h"

namespace qzo::client {
namespace {

constexpr absl::Duration kRefresh = absl::Seconds(2);
constexpr int kPlotRows = 16;

absl::StatusOr<std::string> TopScreen(Session& session) {
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  QZO_ASSIGN_OR_RETURN(std::vector<v1::FineTuningJob> jobs, client->ListJobs(session.parent()));
  QZO_ASSIGN_OR_RETURN(const std::vector<v1::Worker> workers, client->ListWorkers());
  std::erase_if(jobs, [](const v1::FineTuningJob& job) { return HasEnded(job.state()); });
  double items = 0;
  for (const v1::Worker& worker : workers) items += worker.items_per_second();
  std::string screen = absl::StrCat(session.parent(), ": ", jobs.size(), " jobs that have not ended; ", workers.size(),
                                    " workers, ", Figure(items), " items/s\n\n");
  for (const v1::FineTuningJob& job : jobs)
    absl::StrAppend(&screen, ShortName(job.name()), "\n  ", ProgressLine(job, session.env().columns - 2), "\n");
  if (!jobs.empty()) screen += "\n";
  return screen + WorkerTable(workers, /*wide=*/false, session.now()).Render();
}

}  // namespace

absl::StatusOr<int> Top(Session& session) {
  Interrupt* const interrupt = session.env().client.interrupt;
  const bool stays = session.env().out_is_terminal && interrupt != nullptr;
  do {
    QZO_ASSIGN_OR_RETURN(const std::string screen, TopScreen(session));
    session.out() << (stays ? "\033[H\033[J" : "") << screen << std::flush;
  } while (stays && interrupt->Sleep(kRefresh));
  return stays ? kDetached : kOk;
}

absl::StatusOr<int> Plot(Session& session, const CompareFlags& flags) {
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  std::vector<LossSeries> series;
  std::string title;
  for (size_t i = 0; i < flags.names.size(); ++i) {
    QZO_ASSIGN_OR_RETURN(const std::vector<v1::JobEvent> events,
                         client->ListJobEvents(session.Name("jobs", flags.names[i])));
    const std::string label = flags.names.size() > 1 ? absl::StrCat(ShortName(flags.names[i]), " ") : "";
    for (LossSeries& one : LossesOf(events, label)) {
      if (i > 0) one.mark = one.mark == '.' ? ',' : '*';
      series.push_back(std::move(one));
    }
    absl::StrAppend(&title, title.empty() ? "" : ", ", ShortName(flags.names[i]));
  }
  if (!flags.svg.empty()) {
    QZO_RETURN_IF_ERROR(session.fs()->WriteDurably(flags.svg, ToSvg(LossPicture(series, title))));
    session.out() << flags.svg << "\n";
  }
  if (!flags.png.empty()) {
    QZO_ASSIGN_OR_RETURN(const std::string png, ToPng(LossPicture(series, title)));
    QZO_RETURN_IF_ERROR(session.fs()->WriteDurably(flags.png, png));
    session.out() << flags.png << "\n";
  }
  if (!flags.svg.empty() || !flags.png.empty()) return kOk;
  const std::string plot = TextPlot(series, session.env().columns, kPlotRows);
  if (plot.empty()) session.Note("no step has been measured yet");
  session.out() << plot;
  return kOk;
}

absl::StatusOr<int> Diff(Session& session, const CompareFlags& flags) {
  QZO_ASSIGN_OR_RETURN(Client* const client, session.client());
  QZO_ASSIGN_OR_RETURN(const v1::FineTuningJob a, client->GetJob(session.Name("jobs", flags.names[0])));
  QZO_ASSIGN_OR_RETURN(const v1::FineTuningJob b, client->GetJob(session.Name("jobs", flags.names[1])));
  session.out() << JobDifferences(a, b).Render();
  return kOk;
}

}  // namespace qzo::client
