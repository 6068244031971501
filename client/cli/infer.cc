// generate, classify and eval: a model on this machine, with or without an adapter.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/fs.h"
#include "base/status_macros.h"
#include "client/answers.h"
#include "client/cli/exit_code.h"
#include "client/cli/json_output.h"
#include "client/cli/verbs.h"
#include "client/job_file.h"
#include "client/local_model.h"
#include "client/report.h"
#include "model/graph/generator.h"
#include "model/tokenizer/text_stream.h"
#include "proto/spec_convert.h"

namespace qzo::client {
namespace {

using ::nlohmann::ordered_json;

struct Loaded {
  std::optional<method::Adapter> adapter;
  std::unique_ptr<LocalModel> local;
};

absl::StatusOr<Loaded> Load(Session& session, const LocalFlags& flags) {
  Loaded loaded;
  if (!flags.adapter.empty()) {
    QZO_ASSIGN_OR_RETURN(loaded.adapter, session.FindAdapter(flags.adapter, flags.step));
  } else if (flags.model.empty()) {
    return absl::InvalidArgumentError("give --model, --adapter or both");
  }
  QZO_ASSIGN_OR_RETURN(const std::string path,
                       session.FindModel(flags.model, loaded.adapter ? loaded.adapter->base_model_digest : ""));
  QZO_ASSIGN_OR_RETURN(loaded.local, LocalModel::Load(path, loaded.adapter ? &*loaded.adapter : nullptr,
                                                      session.flags().threads, session.flags().arithmetic));
  return loaded;
}

// The job file's task, or the adapter's.
absl::StatusOr<v1::Task> FindTask(Session& session, const LocalFlags& flags, const Loaded& loaded) {
  if (!flags.job_file.empty()) {
    QZO_ASSIGN_OR_RETURN(const std::string text, session.ReadInput(flags.job_file));
    QZO_ASSIGN_OR_RETURN(const JobFile file, ParseJobFile(text, flags.job_file, session.flags().project, {}));
    v1::Task task = file.job.spec().task();
    rpc::ResolveTask(model::DefaultsFor(loaded.local->model().tokenizer()), &task);
    return task;
  }
  if (!loaded.adapter)
    return absl::InvalidArgumentError("without an adapter the task must come from a job file: -f FILE");
  return TaskOf(*loaded.adapter);
}

absl::StatusOr<std::string> RowOf(const std::vector<std::string>& fields) {
  ordered_json row = ordered_json::object();
  for (const std::string& field : fields) {
    const size_t equals = field.find('=');
    if (equals == std::string::npos)
      return absl::InvalidArgumentError(absl::StrCat("--text ", field, ": expected key=value"));
    row[field.substr(0, equals)] = field.substr(equals + 1);
  }
  return row.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

// One row of --text, or the lines of a file or standard input.
absl::StatusOr<std::vector<std::string>> ReadRows(Session& session, const LocalFlags& flags) {
  if (!flags.fields.empty()) {
    QZO_ASSIGN_OR_RETURN(std::string row, RowOf(flags.fields));
    return std::vector<std::string>{std::move(row)};
  }
  QZO_ASSIGN_OR_RETURN(const std::string text, session.ReadInput(flags.dataset.empty() ? "-" : flags.dataset));
  std::vector<std::string> rows;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) rows.push_back(line);
  if (rows.empty())
    return absl::InvalidArgumentError("no rows: give --text key=value, a file, or JSON lines on standard input");
  return rows;
}

std::string LabelName(const v1::Task& task, size_t label) {
  const int i = static_cast<int>(label);
  if (i < task.label_names_size()) return task.label_names(i);
  return std::string(absl::StripAsciiWhitespace(task.options(i)));
}

struct Verdict {
  size_t label = 0;
  std::vector<double> probabilities;  // softmax of the scores
};

Verdict Judge(const std::vector<double>& scores) {
  Verdict verdict{.label = static_cast<size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin())};
  double sum = 0;
  for (const double score : scores) sum += verdict.probabilities.emplace_back(std::exp(score - scores[verdict.label]));
  for (double& p : verdict.probabilities) p /= sum;
  return verdict;
}

// The prompt's tokens: a row through the task's template, a turn of a conversation, or the text as it is.
absl::StatusOr<std::vector<int32_t>> MakePrompt(Session& session, const LocalFlags& flags, const Loaded& loaded) {
  const model::Tokenizer& tokenizer = loaded.local->model().tokenizer();
  if (!flags.fields.empty()) {
    QZO_ASSIGN_OR_RETURN(const v1::Task task, FindTask(session, flags, loaded));
    QZO_ASSIGN_OR_RETURN(const model::TaskSpec spec, TaskFor(loaded.local->model(), task));
    QZO_ASSIGN_OR_RETURN(const std::string row, RowOf(flags.fields));
    QZO_ASSIGN_OR_RETURN(const model::Example example, model::MakeInferenceExample(spec, tokenizer, row));
    return example.prompt;
  }
  std::string prompt = flags.prompt;
  if (prompt.empty()) {
    QZO_ASSIGN_OR_RETURN(prompt, session.ReadInput("-"));
  }
  if (flags.chat) {
    v1::Task task;
    task.set_kind(v1::CHAT);
    if (loaded.adapter && !loaded.adapter->task_json.empty()) {
      QZO_ASSIGN_OR_RETURN(const v1::Task trained, TaskOf(*loaded.adapter));
      if (trained.kind() == v1::CHAT) task = trained;
    }
    QZO_ASSIGN_OR_RETURN(const model::TaskSpec spec, TaskFor(loaded.local->model(), task));
    const ordered_json row = {{"messages", {{{"role", "user"}, {"content", prompt}}}}};
    QZO_ASSIGN_OR_RETURN(
        const model::Example example,
        model::MakeInferenceExample(spec, tokenizer, row.dump(-1, ' ', false, ordered_json::error_handler_t::replace)));
    return example.prompt;
  }
  QZO_ASSIGN_OR_RETURN(std::vector<int32_t> ids, tokenizer.Encode(prompt, /*parse_special=*/false));
  if (tokenizer.add_bos() && tokenizer.bos()) ids.insert(ids.begin(), *tokenizer.bos());
  if (ids.empty()) return absl::InvalidArgumentError("the prompt is empty");
  return ids;
}

}  // namespace

absl::StatusOr<int> Generate(Session& session, const LocalFlags& flags) {
  QZO_ASSIGN_OR_RETURN(const Loaded loaded, Load(session, flags));
  const model::Model& model = loaded.local->model();
  QZO_ASSIGN_OR_RETURN(const std::vector<int32_t> prompt, MakePrompt(session, flags, loaded));
  model::SamplingOptions options{.max_tokens = flags.max_tokens,
                                 .temperature = flags.temperature,
                                 .top_k = flags.top_k,
                                 .top_p = flags.top_p,
                                 .seed = flags.seed,
                                 .stop_tokens = model::StopTokens(model.tokenizer())};
  model::Generator generator(model, loaded.local->kernels(), loaded.local->pool(), loaded.local->arithmetic(),
                             loaded.local->lane());
  model::TextStream text(&model.tokenizer());
  absl::Status decoded;
  QZO_RETURN_IF_ERROR(generator.Generate(prompt, options, [&](int32_t token) {
    const absl::StatusOr<std::string> piece = text.Add(token);
    decoded = piece.status();
    if (piece.ok()) session.out() << *piece << std::flush;
    return piece.ok() && !session.interrupted();
  }));
  QZO_RETURN_IF_ERROR(decoded);
  session.out() << std::endl;
  return session.interrupted() ? kDetached : kOk;
}

absl::StatusOr<int> Classify(Session& session, const LocalFlags& flags) {
  QZO_ASSIGN_OR_RETURN(const Loaded loaded, Load(session, flags));
  QZO_ASSIGN_OR_RETURN(const v1::Task task, FindTask(session, flags, loaded));
  if (task.kind() != v1::CLASSIFICATION)
    return absl::InvalidArgumentError("the task is not a classification; use generate");
  QZO_ASSIGN_OR_RETURN(const model::TaskSpec spec, TaskFor(loaded.local->model(), task));
  QZO_ASSIGN_OR_RETURN(const std::vector<std::string> rows, ReadRows(session, flags));
  const bool json = session.flags().output == OutputFormat::kJson;
  std::vector<std::string> headers = {"ROW", "LABEL"};
  for (size_t i = 0; i < spec.options.size(); ++i) headers.push_back(LabelName(task, i));
  Table table(std::move(headers));
  for (size_t i = 0; i < rows.size() && !session.interrupted(); ++i) {
    absl::StatusOr<model::Example> example =
        model::MakeInferenceExample(spec, loaded.local->model().tokenizer(), rows[i]);
    if (!example.ok())
      return absl::Status(example.status().code(), absl::StrCat("row ", i + 1, ": ", example.status().message()));
    QZO_ASSIGN_OR_RETURN(const std::vector<double> scores,
                         loaded.local->engine().OptionScores(*example, loaded.local->lane()));
    const Verdict verdict = Judge(scores);
    if (json) {
      ordered_json line = {{"row", i + 1}, {"label", LabelName(task, verdict.label)}, {"index", verdict.label}};
      for (size_t option = 0; option < scores.size(); ++option) {
        line["options"].push_back({{"label", LabelName(task, option)},
                                   {"logProbability", scores[option]},
                                   {"probability", verdict.probabilities[option]}});
      }
      session.out() << line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) << std::endl;
      continue;
    }
    std::vector<std::string> cells = {absl::StrCat(i + 1), LabelName(task, verdict.label)};
    for (const double p : verdict.probabilities) cells.push_back(absl::StrFormat("%.4f", p));
    table.Add(std::move(cells));
  }
  if (!json) session.out() << table.Render();
  return session.interrupted() ? kDetached : kOk;
}

namespace {

// What a model writes for each row, and how right it is.
absl::StatusOr<int> EvaluateAnswers(Session& session, const LocalFlags& flags, const model::TaskSpec& spec,
                                    LocalModel* local) {
  QZO_ASSIGN_OR_RETURN(const auto file, base::MappedFile::Open(flags.dataset));
  QZO_ASSIGN_OR_RETURN(const std::vector<model::Question> questions,
                       model::LoadQuestions(spec, local->model().tokenizer(), file->bytes(), flags.dataset));
  std::string lines;
  const auto use = [&](size_t question, const std::string& answer, const model::AnswerScore& score) {
    const ordered_json line = {{"row", question + 1},
                               {"answer", answer},
                               {"references", questions[question].references},
                               {"f1", score.f1},
                               {"exact", score.exact}};
    absl::StrAppend(&lines, line.dump(-1, ' ', false, ordered_json::error_handler_t::replace), "\n");
    return !session.interrupted();
  };
  const absl::StatusOr<AnswerReport> report = AnswerQuestions(local, spec.stop, questions, flags.answer_tokens, use);
  if (session.interrupted()) return kDetached;
  QZO_RETURN_IF_ERROR(report.status());
  if (!flags.answers.empty()) QZO_RETURN_IF_ERROR(session.fs()->WriteDurably(flags.answers, lines));
  const model::AnswerFigures figures = model::Figures(report->sums);
  if (WantsJson(session)) {
    PrintJson(session, {{"rows", report->sums.rows},
                        {"f1", figures.f1},
                        {"f1StandardError", figures.f1_error},
                        {"exactMatch", figures.exact},
                        {"exactMatchLow", figures.exact_low},
                        {"exactMatchHigh", figures.exact_high},
                        {"tokens", report->tokens},
                        {"unended", report->unended}});
    return kOk;
  }
  session.out() << absl::StrFormat("rows:         %d\n", report->sums.rows)
                << absl::StrFormat("F1:           %.1f %% (standard error %.1f)\n", 100 * figures.f1,
                                   100 * figures.f1_error)
                << absl::StrFormat("exact match:  %.1f %% (95 %%: %.1f to %.1f)\n", 100 * figures.exact,
                                   100 * figures.exact_low, 100 * figures.exact_high)
                << absl::StrFormat("tokens:       %d; %d answers had no end within %d\n", report->tokens,
                                   report->unended, flags.answer_tokens);
  return kOk;
}

}  // namespace

absl::StatusOr<int> Evaluate(Session& session, const LocalFlags& flags) {
  QZO_ASSIGN_OR_RETURN(const Loaded loaded, Load(session, flags));
  QZO_ASSIGN_OR_RETURN(const v1::Task task, FindTask(session, flags, loaded));
  QZO_ASSIGN_OR_RETURN(const model::TaskSpec spec, TaskFor(loaded.local->model(), task));
  if (flags.generate) return EvaluateAnswers(session, flags, spec, loaded.local.get());
  QZO_ASSIGN_OR_RETURN(const model::EvalSums sums, loaded.local->Evaluate(spec, flags.dataset));
  const v1::Evaluation evaluation = rpc::ToProto(sums, loaded.local->replica().step(), "test");
  const OutputFormat output = session.flags().output;
  if (output == OutputFormat::kJson || output == OutputFormat::kYaml)
    session.PrintMessage(evaluation);
  else
    session.out() << EvaluationReport(evaluation, task);
  return kOk;
}

}  // namespace qzo::client
