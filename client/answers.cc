#include "client/answers.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "model/graph/generation_batch.h"
#include "model/tokenizer/text_stream.h"

namespace qzo::client {
namespace {

// Enough to share a pass over the weights, few enough for their keys and values.
constexpr size_t kAtOnce = 16;

struct Writing {
  size_t question = 0;
  std::string text;
  model::TextStream stream;
};

// Where the text ends because of a stop text; npos: nowhere yet.
size_t FindStop(const std::string& text, const std::vector<std::string>& stop) {
  size_t end = std::string::npos;
  for (const std::string& word : stop) end = std::min(end, text.find(word));
  return end;
}

}  // namespace

absl::StatusOr<AnswerReport> AnswerQuestions(
    LocalModel* local, const std::vector<std::string>& stop, absl::Span<const model::Question> questions,
    int max_tokens, const std::function<bool(size_t, const std::string&, const model::AnswerScore&)>& use) {
  const model::Tokenizer& tokenizer = local->model().tokenizer();
  const model::AnswerMetrics metrics;
  const model::SamplingOptions options{.max_tokens = max_tokens, .stop_tokens = model::StopTokens(tokenizer)};
  model::GenerationBatch batch(local->model(), local->kernels(), local->pool(), local->arithmetic());
  AnswerReport report;
  std::map<uint64_t, Writing> open;
  std::map<size_t, std::string> done;  // not yet handed on
  size_t next = 0, handed_on = 0;
  while (handed_on < questions.size()) {
    for (; next < questions.size() && open.size() < kAtOnce; ++next) {
      QZO_ASSIGN_OR_RETURN(const uint64_t text, batch.Add(questions[next].prompt, options, local->lane()));
      open.emplace(text, Writing{.question = next, .text = "", .stream = model::TextStream(&tokenizer)});
    }
    for (const model::GenerationBatch::Progress& progress : batch.Step()) {
      const auto at = open.find(progress.text);
      Writing& writing = at->second;
      if (progress.token) {
        ++report.tokens;
        QZO_ASSIGN_OR_RETURN(const std::string piece, writing.stream.Add(*progress.token));
        writing.text += piece;
      }
      const size_t end = FindStop(writing.text, stop);
      if (end != std::string::npos) {
        writing.text.resize(end);
        if (!progress.end) batch.Remove(progress.text);
      } else if (!progress.end) {
        continue;
      } else if (*progress.end == model::GenerationBatch::End::kLength) {
        ++report.unended;
      }
      done.emplace(writing.question, std::move(writing.text));
      open.erase(at);
    }
    for (auto first = done.begin(); first != done.end() && first->first == handed_on; first = done.erase(first)) {
      QZO_ASSIGN_OR_RETURN(const model::AnswerScore score,
                           metrics.Score(first->second, questions[handed_on].references));
      report.sums.Add(score);
      if (!use(handed_on, first->second, score)) return absl::CancelledError("interrupted");
      ++handed_on;
    }
  }
  return report;
}

}  // namespace qzo::client
