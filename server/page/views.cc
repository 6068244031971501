#include "server/page/views.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/figures.h"
#include "base/text.h"
#include "proto/grpc_status.h"

namespace qzo::server {
namespace {

using ::qzo::base::Figure;
using ::qzo::base::HumanBytes;
using ::qzo::base::ShortDuration;

absl::Time ToTime(const google::protobuf::Timestamp& t) {
  return absl::FromUnixSeconds(t.seconds()) + absl::Nanoseconds(t.nanos());
}
std::string Age(const google::protobuf::Timestamp& then, absl::Time now) {
  return then.seconds() == 0 ? "" : ShortDuration(now - ToTime(then)) + " ago";
}
std::string ShortName(const std::string& resource) { return resource.substr(resource.rfind('/') + 1); }
std::string ProjectOf(const std::string& job) {
  const size_t begin = job.find('/') + 1;
  return job.substr(begin, job.find('/', begin) - begin);
}
std::string Percent(double share) { return absl::StrFormat("%.2f %%", 100 * share); }
bool Classifies(const v1::Evaluation& evaluation) { return evaluation.f1_size() > 0; }

Html State(const v1::FineTuningJob& job) {
  const std::string state = v1::FineTuningJob::State_Name(job.state());
  Html html;
  return html << "<span class=\"state " << state << "\">" << state << "</span>";
}

Html Progress(const v1::Progress& progress) {
  Html html;
  const std::string text = absl::StrCat(progress.step(), " of ", progress.total_steps(), " steps");
  html << "<progress value=\"" << progress.step() << "\" max=\"" << std::max(1U, progress.total_steps())
       << "\" aria-label=\"" << text << "\"></progress> " << progress.step() << "/" << progress.total_steps();
  return html;
}

std::string Eta(const v1::FineTuningJob& job) {
  if (job.state() != v1::FineTuningJob::RUNNING || !job.progress().has_eta()) return "";
  return ShortDuration(absl::Seconds(job.progress().eta().seconds()));
}

std::string Validation(const v1::Evaluation& evaluation) {
  if (evaluation.rows() == 0) return "";
  return Classifies(evaluation) ? absl::StrCat(Figure(evaluation.loss()), " (", Percent(evaluation.accuracy()), ")")
                                : Figure(evaluation.loss());
}

// A list of what things are and how much; what is not known is left out.
Html Facts(const std::vector<std::pair<std::string, std::string>>& facts) {
  Html html;
  html << "<dl>";
  for (const auto& [what, value] : facts) {
    if (!value.empty()) html << "<div><dt>" << what << "</dt><dd>" << value << "</dd></div>";
  }
  html << "</dl>";
  return html;
}

Html Evaluations(const std::vector<v1::Evaluation>& evaluations) {
  Html html;
  html << "<h2>Evaluations</h2>";
  if (evaluations.empty()) return html << "<p class=\"soft\">None yet.</p>";
  html << "<div class=\"scroll\"><table><thead><tr><th scope=\"col\" class=\"number\">Step</th><th scope=\"col\">Split"
          "</th><th scope=\"col\" class=\"number\">Rows</th><th scope=\"col\" class=\"number\">Loss</th><th scope="
          "\"col\">Accuracy (95 % interval)</th><th scope=\"col\">Macro-F1</th></tr></thead><tbody>";
  for (const v1::Evaluation& e : evaluations) {
    html << "<tr><td class=\"number\">" << e.step() << "</td><td>" << e.split() << "</td><td class=\"number\">"
         << e.rows() << "</td><td class=\"number\">" << Figure(e.loss()) << "</td>";
    if (Classifies(e)) {
      html << "<td>" << Percent(e.accuracy()) << " (" << Percent(e.accuracy_low()) << " to "
           << Percent(e.accuracy_high()) << ")</td><td>" << Percent(e.macro_f1()) << "</td></tr>";
    } else {
      html << "<td></td><td></td></tr>";
    }
  }
  return html << "</tbody></table></div>";
}

std::string EventText(const v1::JobEvent& event) {
  if (!event.message().empty()) return event.message();
  if (event.has_step()) {
    return absl::StrCat("step ", event.step().step(), ": loss ", Figure(event.step().train_loss()), ", learning rate ",
                        Figure(event.step().learning_rate()));
  }
  if (event.has_evaluation()) {
    const v1::Evaluation& e = event.evaluation();
    return absl::StrCat("step ", e.step(), ": ", e.split(), " loss ", Figure(e.loss()),
                        Classifies(e) ? ", accuracy " + Percent(e.accuracy()) : "");
  }
  return event.data_case() == v1::JobEvent::kState ? v1::FineTuningJob::State_Name(event.state()) : event.type();
}

Html Events(const std::vector<v1::JobEvent>& events) {
  Html html;
  html << "<h2>Events</h2><div class=\"scroll\"><table><caption>The last " << events.size()
       << ", newest first; times are UTC</caption><thead><tr><th scope=\"col\" class=\"number\">Sequence</th><th scope="
          "\"col\">Time</th><th scope=\"col\">Level</th><th scope=\"col\">What</th></tr></thead><tbody>";
  for (auto event = events.rbegin(); event != events.rend(); ++event) {
    const std::string level = v1::JobEvent::Level_Name(event->level());
    html << "<tr><td class=\"number\">" << event->sequence() << "</td><td>"
         << absl::FormatTime("%F %T", ToTime(event->time()), absl::UTCTimeZone()) << "</td><td class=\"" << level
         << "\">" << level << "</td><td>" << EventText(*event) << "</td></tr>";
  }
  return html << "</tbody></table></div>";
}

Html WorkerTable(const std::vector<v1::Worker>& workers, const std::string& caption, absl::Time now) {
  Html html;
  html << "<div class=\"scroll\"><table><caption>" << caption
       << "</caption><thead><tr><th scope=\"col\">Worker</th><th scope=\"col\">State</th><th scope=\"col\">Kind</th>"
          "<th scope=\"col\">Host</th><th scope=\"col\" class=\"number\">Threads</th><th scope=\"col\" class="
          "\"number\">Memory (peak)</th><th scope=\"col\" class=\"number\">Items</th><th scope=\"col\" class="
          "\"number\">Items/s</th><th scope=\"col\">Jobs</th><th scope=\"col\">Attached</th></tr></thead><tbody>";
  for (const v1::Worker& worker : workers) {
    const std::string state = v1::Worker::State_Name(worker.state());
    html << "<tr><th scope=\"row\">" << ShortName(worker.name()) << "</th><td class=\"" << state << "\">" << state
         << "</td><td>" << worker.kind() << " " << worker.variant() << "</td><td>" << worker.hostname() << " "
         << worker.version() << "</td><td class=\"number\">" << worker.threads() << "</td><td class=\"number\">"
         << HumanBytes(static_cast<uint64_t>(worker.memory_bytes())) << " ("
         << HumanBytes(static_cast<uint64_t>(worker.resident_memory_bytes())) << ")</td><td class=\"number\">"
         << worker.items() << "</td><td class=\"number\">" << Figure(worker.items_per_second()) << "</td><td>";
    for (const std::string& job : worker.jobs()) html << "<a href=\"/" << job << "\">" << ShortName(job) << "</a> ";
    html << "</td><td>" << Age(worker.attach_time(), now) << "</td></tr>";
  }
  return html << "</tbody></table></div>";
}

Html PipelineTable(const v1::FineTuningJob& job) {
  Html html;
  if (job.pipelines().empty()) return html;
  html << "<div class=\"scroll\"><table><caption>Pipelines: each is one replica, held by several "
          "workers</caption><thead>"
          "<tr><th scope=\"col\" class=\"number\">Pipeline</th><th scope=\"col\">Worker</th><th scope=\"col\">Layers"
          "</th></tr></thead><tbody>";
  for (int i = 0; i < job.pipelines_size(); ++i) {
    for (const v1::Pipeline::Stage& stage : job.pipelines(i).stages()) {
      html << "<tr><td class=\"number\">" << i + 1 << "</td><th scope=\"row\">" << ShortName(stage.worker())
           << "</th><td>" << stage.first_layer() << " to " << stage.end_layer() - 1 << "</td></tr>";
    }
  }
  return html << "</tbody></table></div>";
}

std::string PerWorkerStep(const v1::Progress& progress) {
  if (progress.worker_steps() == 0) return "";
  const uint64_t bytes = progress.payload_down_bytes() + progress.payload_up_bytes();
  return absl::StrFormat("%.1f", static_cast<double>(bytes) / static_cast<double>(progress.worker_steps()));
}

std::string Method(const v1::Method& method) {
  return absl::StrCat(method.probes(), " probes · batch ", method.batch_size(), " · ε ", Figure(method.epsilon()),
                      " · rate ", Figure(method.learning_rate()), " ", v1::LrSchedule_Name(method.lr_schedule()),
                      " · seed ", method.seed());
}

Html JobFacts(const v1::FineTuningJob& job, absl::Time now) {
  const v1::Progress& progress = job.progress();
  std::vector<std::string> data = {ShortName(job.spec().training_dataset())};
  for (const std::string& name : {job.spec().validation_dataset(), job.spec().test_dataset()}) {
    if (!name.empty()) data.push_back(ShortName(name));
  }
  return Facts({
      {"Training loss", progress.step() > 0 ? Figure(progress.train_loss()) : ""},
      {"Best validation", Validation(progress.best_validation())},
      {"Test before", Validation(progress.first_test())},
      {"Test after", Validation(progress.final_test())},
      {"Ends in about", Eta(job)},
      {"Tokens per second", progress.tokens_per_second() > 0 ? Figure(progress.tokens_per_second()) : ""},
      {"Step messages down / up",
       absl::StrCat(HumanBytes(progress.payload_down_bytes()), " / ", HumanBytes(progress.payload_up_bytes()))},
      {"Bytes a worker-step", PerWorkerStep(progress)},
      {"Peak memory of a worker",
       progress.peak_worker_memory_bytes() > 0 ? HumanBytes(progress.peak_worker_memory_bytes()) : ""},
      {"Created", Age(job.create_time(), now)},
      {"Ended", Age(job.end_time(), now)},
      {"Base model", ShortName(job.spec().base_model())},
      {"Datasets", absl::StrJoin(data, ", ")},
      {"Task", v1::TaskKind_Name(job.spec().task().kind())},
      {"Method", Method(job.spec().method())},
  });
}

}  // namespace

Html JobsBody(const JobsData& view, absl::Time now) {
  Html html;
  html << "<h1>Jobs</h1><div id=\"jobs\" data-live>";
  if (view.jobs.empty()) return html << "<p>There are no jobs.</p></div>";
  html << "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Job</th><th scope=\"col\">Project</th><th scope="
          "\"col\">State</th><th scope=\"col\">Progress</th><th scope=\"col\">Loss</th><th scope=\"col\" class="
          "\"number\">Now</th><th scope=\"col\">Validation</th><th scope=\"col\" class=\"number\">Workers</th><th "
          "scope=\"col\">Ends in</th><th scope=\"col\">Created</th></tr></thead><tbody>";
  for (const v1::FineTuningJob& job : view.jobs) {
    const v1::Progress& progress = job.progress();
    html << "<tr><th scope=\"row\"><a href=\"/" << job.name() << "\">" << ShortName(job.name()) << "</a>";
    if (!job.display_name().empty()) html << "<br><span class=\"soft\">" << job.display_name() << "</span>";
    html << "</th><td>" << ProjectOf(job.name()) << "</td><td>" << State(job) << "</td><td>" << Progress(progress)
         << "</td><td>";
    if (const auto curves = view.curves.find(job.name()); curves != view.curves.end())
      html << Sparkline(curves->second, "training loss of " + ShortName(job.name()));
    html << "</td><td class=\"number\">" << (progress.step() > 0 ? Figure(progress.train_loss()) : "") << "</td><td>"
         << Validation(progress.last_validation()) << "</td><td class=\"number\">" << progress.workers() << "</td><td>"
         << Eta(job) << "</td><td>" << Age(job.create_time(), now) << "</td></tr>";
  }
  html << "</tbody></table></div>";
  if (!view.next_page_token.empty()) html << "<p><a href=\"/?page=" << view.next_page_token << "\">Older jobs</a></p>";
  return html << "</div>";
}

Html JobBody(const JobData& view, absl::Time now) {
  const v1::FineTuningJob& job = view.job;
  Html html;
  html << "<h1>" << ShortName(job.name()) << "</h1><p class=\"soft\">" << job.name();
  if (!job.display_name().empty()) html << " · " << job.display_name();
  html << "</p><div id=\"job\" data-live><p>" << State(job) << " " << Progress(job.progress())
       << " <span class=\"soft\">" << job.reason() << " " << job.message() << "</span></p>";
  if (job.has_error()) html << "<p class=\"problem\">" << job.error().message() << "</p>";
  if (job.progress().step() > 0) {
    html << "<p><a href=\"/" << job.name() << "/adapter\" download>Download the adapter</a>"
         << (job.adapter().empty() ? " as it is now" : "") << "</p>";
  }
  html << LossCurve(view.curves) << JobFacts(job, now) << Evaluations(view.evaluations) << "<h2>Workers</h2>"
       << WorkerTable(view.workers, absl::StrCat(view.workers.size(), " hold a replica of this job"), now)
       << PipelineTable(job) << Events(view.events);
  return html << "</div>";
}

Html WorkersBody(const std::vector<v1::Worker>& workers, absl::Time now) {
  Html html;
  return html << "<h1>Workers</h1><div id=\"workers\" data-live>"
              << WorkerTable(workers, absl::StrCat(workers.size(), " are attached"), now) << "</div>";
}

Html SignInBody(const std::string& reason) {
  Html html;
  return html << "<h1>Sign in</h1><p>" << reason
              << "</p><form method=\"post\" action=\"/sign-in\"><p><label for=\"token\">Token</label><br><input id="
                 "\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required "
                 "autofocus></p><button>Sign "
                 "in</button></form><p class=\"soft\">An administrator makes tokens with <code>qzoctl token create"
                 "</code>; the role <code>viewer</code> is enough here.</p>";
}

Html ErrorBody(const absl::Status& status) {
  Html html;
  return html << "<h1>" << absl::StatusCodeToString(status.code()) << "</h1><p class=\"problem\">"
              << std::string(status.message()) << "</p><p class=\"soft\">" << rpc::ReasonOf(status)
              << "</p><p><a href=\"/\">Jobs</a></p>";
}

std::string Page(const std::string& title, const Html& body, bool signed_in) {
  Html html;
  html << "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width="
          "device-width, initial-scale=1\"><title>"
       << title
       << " · QZO</title><link rel=\"icon\" href=\"data:,\"><link rel=\"stylesheet\" href=\"/style.css\"><script src="
          "\"/refresh.js\" defer></script></head><body><header><a class=\"skip\" href=\"#main\">Skip to the content</a>"
          "<a class=\"brand\" href=\"/\">QZO</a><nav aria-label=\"Main\"><a href=\"/\">Jobs</a> <a href=\"/workers\">"
          "Workers</a></nav>";
  if (signed_in) html << "<form method=\"post\" action=\"/sign-out\"><button>Sign out</button></form>";
  html << "</header><main id=\"main\">" << body << "</main></body></html>\n";
  return html.text();
}

}  // namespace qzo::server
