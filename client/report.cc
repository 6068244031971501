#include "client/report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/text.h"
#include "client/output.h"
#include "client/table.h"

namespace qzo::client {
namespace {

constexpr int kBarWidth = 20;

std::string Percent(double share) { return absl::StrFormat("%.2f%%", 100 * share); }

std::string Rate(double per_second) {
  return per_second < 1000 ? absl::StrFormat("%.0f", per_second) : absl::StrFormat("%.1fk", per_second / 1000);
}

std::string Bar(uint32_t done, uint32_t total) {
  const int filled = total == 0 ? 0 : static_cast<int>(uint64_t{done} * kBarWidth / total);
  std::string bar(static_cast<size_t>(filled), '=');
  if (filled < kBarWidth) bar += '>';
  bar.resize(kBarWidth, ' ');
  return absl::StrCat("[", bar, "]");
}

// Never within a character.
std::string Cut(std::string text, int columns) {
  if (columns <= 0 || DisplayWidth(text) <= static_cast<size_t>(columns)) return text;
  while (DisplayWidth(text) >= static_cast<size_t>(columns)) {
    while ((text.back() & 0xC0) == 0x80) text.pop_back();
    text.pop_back();
  }
  return text + "…";
}

bool Classifies(const v1::Evaluation& evaluation) { return evaluation.f1_size() > 0; }

// As the job's author calls it.
std::string LabelName(const v1::Task& task, int label) {
  if (label < task.label_names_size()) return task.label_names(label);
  if (label < task.options_size()) return std::string(absl::StripAsciiWhitespace(task.options(label)));
  return absl::StrCat(label);
}

std::string WithInterval(const v1::Evaluation& e) {
  return absl::StrFormat("%s (95%%: %s to %s)", Percent(e.accuracy()), Percent(e.accuracy_low()),
                         Percent(e.accuracy_high()));
}

std::string Lines(const std::vector<std::pair<std::string, std::string>>& pairs) {
  size_t width = 0;
  for (const auto& [key, value] : pairs) width = std::max(width, DisplayWidth(key));
  std::string out;
  for (const auto& [key, value] : pairs) {
    if (!value.empty()) absl::StrAppend(&out, key, ":", std::string(width - DisplayWidth(key) + 2, ' '), value, "\n");
  }
  return out;
}

std::string Layers(uint32_t first, uint32_t end) {
  return end - first == 1 ? absl::StrCat("layer ", first) : absl::StrCat("layers ", first, " to ", end - 1);
}

std::string Bytes(double bytes) { return base::HumanBytes(static_cast<uint64_t>(std::max(bytes, 0.0))); }

}  // namespace

std::string ProgressLine(const v1::FineTuningJob& job, int columns) {
  const v1::Progress& progress = job.progress();
  std::vector<std::string> parts = {
      absl::StrCat(Bar(progress.step(), progress.total_steps()), " ", progress.step(), "/", progress.total_steps())};
  if (progress.step() > 0) parts.push_back(absl::StrCat("loss ", Figure(progress.train_loss())));
  if (const v1::Evaluation& dev = progress.last_validation(); dev.rows() > 0) {
    parts.push_back(Classifies(dev) ? absl::StrCat("dev ", Percent(dev.accuracy()))
                                    : absl::StrCat("dev loss ", Figure(dev.loss())));
  }
  if (job.state() == v1::FineTuningJob::RUNNING) {
    if (progress.tokens_per_second() > 0) parts.push_back(Rate(progress.tokens_per_second()) + " tok/s");
    if (progress.has_eta()) parts.push_back("eta " + ShortDuration(absl::Seconds(progress.eta().seconds())));
    parts.push_back("sent " + base::HumanBytes(progress.payload_down_bytes() + progress.payload_up_bytes()));
  } else {
    parts.push_back(StateName(job.state()));
    if (!job.message().empty()) parts.push_back(job.message());
  }
  return Cut(absl::StrJoin(parts, "  "), columns);
}

std::string EventLine(const v1::JobEvent& event, absl::TimeZone zone) {
  std::string what = event.message();
  if (what.empty() && event.has_step()) {
    what = absl::StrFormat("step %d: loss %s, learning rate %s", event.step().step(), Figure(event.step().train_loss()),
                           Figure(event.step().learning_rate()));
  } else if (what.empty() && event.has_evaluation()) {
    const v1::Evaluation& e = event.evaluation();
    what = absl::StrFormat("step %d: %s loss %s%s", e.step(), e.split(), Figure(e.loss()),
                           Classifies(e) ? ", accuracy " + Percent(e.accuracy()) : "");
  } else if (what.empty()) {
    what = event.data_case() == v1::JobEvent::kState ? StateName(event.state()) : event.type();
  }
  return absl::StrFormat("%s %-5s %s", absl::FormatTime("%H:%M:%S", ToTime(event.time()), zone),
                         v1::JobEvent::Level_Name(event.level()), what);
}

std::string FinalReport(const v1::FineTuningJob& job, const v1::Adapter* adapter) {
  const v1::Progress& progress = job.progress();
  const v1::Evaluation& before = progress.first_test();
  const v1::Evaluation& after = progress.final_test();
  std::string title = absl::StrCat(ShortName(job.name()), " ", StateName(job.state()), " after ", progress.step(),
                                   " of ", progress.total_steps(), " steps");
  if (job.has_start_time() && job.has_end_time()) {
    absl::StrAppend(&title, " in ", ShortDuration(ToTime(job.end_time()) - ToTime(job.start_time())));
  }
  if (!job.message().empty()) absl::StrAppend(&title, ": ", job.message());

  Table table({"", "BEFORE", "AFTER"});
  const auto row = [&](const std::string& what, auto figure) {
    table.Add({what, before.rows() > 0 ? figure(before) : "", after.rows() > 0 ? figure(after) : ""});
  };
  if (before.rows() > 0 || after.rows() > 0) {
    row("test loss", [](const v1::Evaluation& e) { return Figure(e.loss()); });
    if (Classifies(before) || Classifies(after)) {
      row("test accuracy", WithInterval);
      row("macro-F1", [](const v1::Evaluation& e) { return Percent(e.macro_f1()); });
      if (std::max(before.f1_size(), after.f1_size()) == 2) {
        row(absl::StrCat("F1 of '", LabelName(job.spec().task(), 1), "'"),
            [](const v1::Evaluation& e) { return e.f1_size() == 2 ? Percent(e.f1(1)) : ""; });
      }
      row("majority accuracy", [](const v1::Evaluation& e) { return Percent(e.majority_accuracy()); });
    }
  }
  if (const v1::Evaluation& best = progress.best_validation(); best.rows() > 0) {
    table.Add({absl::StrCat("best validation loss (step ", best.step(), ")"), "", Figure(best.loss())});
  }
  if (progress.peak_worker_memory_bytes() > 0) {
    table.Add({"peak worker memory", "", base::HumanBytes(progress.peak_worker_memory_bytes())});
  }
  if (progress.worker_steps() > 0) {
    const uint64_t bytes = progress.payload_down_bytes() + progress.payload_up_bytes();
    table.Add({"bytes per worker-step", "",
               absl::StrFormat("%.1f", static_cast<double>(bytes) / static_cast<double>(progress.worker_steps()))});
  }
  if (adapter != nullptr) {
    table.Add({"adapter", "",
               absl::StrCat(ShortName(adapter->name()), " (", Bytes(static_cast<double>(adapter->bytes())), ", step ",
                            adapter->step(), ")")});
  }
  return absl::StrCat(title, "\n", table.Render());
}

std::string EvaluationReport(const v1::Evaluation& e, const v1::Task& task) {
  std::vector<std::pair<std::string, std::string>> lines = {{"rows", absl::StrCat(e.rows())},
                                                            {"loss", Figure(e.loss())}};
  if (Classifies(e)) {
    lines.emplace_back("accuracy", WithInterval(e));
    lines.emplace_back("macro-F1", Percent(e.macro_f1()));
    for (int i = 0; i < e.f1_size(); ++i)
      lines.emplace_back(absl::StrCat("F1 of '", LabelName(task, i), "'"), Percent(e.f1(i)));
    lines.emplace_back("majority accuracy", Percent(e.majority_accuracy()));
  }
  return Lines(lines);
}

std::string DescribeJob(const v1::FineTuningJob& job, const std::vector<v1::Evaluation>& evaluations, absl::Time now) {
  const auto when = [&](const google::protobuf::Timestamp& t) { return t.seconds() == 0 ? "" : Age(t, now) + " ago"; };
  const v1::Progress& progress = job.progress();
  std::string out = Lines({{"Name", job.name()},
                           {"Display name", job.display_name()},
                           {"State", StateName(job.state())},
                           {"Reason", job.reason()},
                           {"Message", job.message()},
                           {"Error", job.error().message()},
                           {"Created", when(job.create_time())},
                           {"Started", when(job.start_time())},
                           {"Ended", when(job.end_time())},
                           {"Progress", ProgressLine(job, 0)},
                           {"Workers", absl::StrCat(progress.workers())},
                           {"Adapter", job.adapter()}});
  if (!job.labels().empty()) {
    const std::map<std::string, std::string> labels(job.labels().begin(), job.labels().end());
    absl::StrAppend(&out, "Labels: ", absl::StrJoin(labels, ", ", absl::PairFormatter("=")), "\n");
  }
  for (const v1::Pipeline& pipeline : job.pipelines()) {
    std::vector<std::string> stages;
    for (const v1::Pipeline::Stage& stage : pipeline.stages()) {
      stages.push_back(absl::StrCat(ShortName(stage.worker()), " ", Layers(stage.first_layer(), stage.end_layer())));
    }
    absl::StrAppend(&out, "Pipeline: ", absl::StrJoin(stages, ", "), "\n");
  }
  absl::StrAppend(&out, "\nSpec:\n", ToYaml(job.spec()));
  if (job.has_plan()) absl::StrAppend(&out, "\nPlan:\n", PlanReport(job, 0));
  if (!evaluations.empty()) {
    Table table({"STEP", "SPLIT", "ROWS", "LOSS", "ACCURACY", "MACRO-F1"});
    for (const v1::Evaluation& e : evaluations) {
      table.Add({absl::StrCat(e.step()), e.split(), absl::StrCat(e.rows()), Figure(e.loss()),
                 Classifies(e) ? Percent(e.accuracy()) : "", Classifies(e) ? Percent(e.macro_f1()) : ""});
    }
    absl::StrAppend(&out, "\nEvaluations:\n", table.Render());
  }
  return out;
}

std::string PlanReport(const v1::FineTuningJob& job, double seconds_per_step) {
  const v1::Plan& plan = job.plan();
  std::vector<std::string> counts;
  counts.reserve(static_cast<size_t>(plan.label_counts_size()));
  for (int i = 0; i < plan.label_counts_size(); ++i) {
    counts.push_back(absl::StrCat(LabelName(job.spec().task(), i), " ", plan.label_counts(i)));
  }
  const double steps = plan.steps();
  std::string rows = absl::StrCat(plan.longest_row_tokens(), " tokens, ", plan.truncated_rows(), " rows truncated");
  if (plan.shortened_chats() > 0) absl::StrAppend(&rows, " (", plan.shortened_chats(), " of them by whole turns)");
  if (plan.lost_tokens() > 0) absl::StrAppend(&rows, ", ", plan.lost_tokens(), " tokens lost");
  std::vector<std::string> stages;
  for (const v1::Plan::Stage& stage : plan.stages()) {
    stages.push_back(absl::StrCat(Layers(stage.first_layer(), stage.end_layer()), " in ",
                                  Bytes(static_cast<double>(stage.worker_memory_bytes()))));
  }
  return Lines(
      {{"Steps", absl::StrCat(plan.steps(), " of ", plan.items_per_step(), " items")},
       {"Trained multipliers", absl::StrCat(plan.multipliers())},
       {"Trained deltas", plan.deltas() == 0 ? "" : absl::StrCat(plan.deltas())},
       {"Training tokens", absl::StrCat(plan.training_tokens())},
       {"Evaluation tokens", absl::StrCat(plan.evaluation_tokens())},
       {"Longest row", rows},
       {"Labels", absl::StrJoin(counts, ", ")},
       {"Worker memory", Bytes(static_cast<double>(plan.worker_memory_bytes()))},
       {"Stages", absl::StrJoin(stages, ", ")},
       {"Network, stage to stage", stages.size() < 2
                                       ? ""
                                       : absl::StrFormat("%s a step, %s in all", Bytes(plan.link_bytes_per_step()),
                                                         Bytes(plan.link_bytes_per_step() * steps))},
       {"Network, one worker", absl::StrFormat("%.0f bytes a step, %s in all", plan.payload_bytes_per_step(),
                                               Bytes(plan.payload_bytes_per_step() * steps))},
       {"Journal", Bytes(static_cast<double>(plan.journal_bytes()))},
       {"Time, one worker like this machine",
        seconds_per_step == 0
            ? ""
            : absl::StrFormat("%s a step, %s without evaluations",
                              seconds_per_step < 1 ? absl::StrFormat("%.3g ms", seconds_per_step * 1e3)
                                                   : absl::StrFormat("%.3g s", seconds_per_step),
                              ShortDuration(absl::Ceil(absl::Seconds(seconds_per_step * steps), absl::Seconds(1))))}});
}

}  // namespace qzo::client
