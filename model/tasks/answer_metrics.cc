#include "model/tasks/answer_metrics.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <utility>

#include "base/log.h"
#include "base/status_macros.h"
#include "model/tasks/evaluation.h"
#include "model/tokenizer/regex.h"
#include "model/tokenizer/utf8.h"

namespace qzo::model {
namespace {

Normalizer::Replace Replacing(std::string_view pattern, std::string replacement) {
  absl::StatusOr<std::unique_ptr<Regex>> regex = Regex::Compile(pattern);
  QZO_CHECK(regex.ok());
  return {*std::move(regex), std::move(replacement)};
}

double F1(const std::vector<std::string>& answer, const std::vector<std::string>& reference) {
  std::map<std::string, int64_t> left;
  for (const std::string& word : reference) ++left[word];
  double shared = 0;
  for (const std::string& word : answer) {
    if (--left[word] >= 0) ++shared;
  }
  return shared == 0 ? 0 : 2 * shared / static_cast<double>(answer.size() + reference.size());
}

}  // namespace

AnswerMetrics::AnswerMetrics() {
  normalizer_.Add(Normalizer::Lowercase());
  normalizer_.Add(Replacing("[!-/:-@\\[-`{-~]", ""));
  normalizer_.Add(Replacing("\\b(a|an|the)\\b", " "));
}

absl::StatusOr<std::vector<std::string>> AnswerMetrics::Words(std::string_view text) const {
  QZO_ASSIGN_OR_RETURN(const std::string normalized, normalizer_.Apply(text));
  std::vector<std::string> words;
  bool open = false;
  for (std::string_view rest = normalized; !rest.empty();) {
    const std::string_view character = rest.substr(0, CharacterSize(rest));
    rest.remove_prefix(character.size());
    const bool blank = !IsInvalidByte(character) && IsWhiteSpace(CodePoint(character));
    if (!blank && !open) words.emplace_back();
    if (!blank) words.back() += character;
    open = !blank;
  }
  return words;
}

absl::StatusOr<AnswerScore> AnswerMetrics::Score(std::string_view answer,
                                                 const std::vector<std::string>& references) const {
  QZO_ASSIGN_OR_RETURN(const std::vector<std::string> words, Words(answer));
  AnswerScore score;
  for (const std::string& text : references) {
    QZO_ASSIGN_OR_RETURN(const std::vector<std::string> reference, Words(text));
    score.f1 = std::max(score.f1, F1(words, reference));
    score.exact |= words == reference;
  }
  return score;
}

void AnswerSums::Add(const AnswerScore& score) {
  ++rows;
  if (score.exact) ++exact;
  f1 += score.f1;
  f1_squares += score.f1 * score.f1;
}

AnswerFigures Figures(const AnswerSums& sums) {
  AnswerFigures figures;
  if (sums.rows == 0) return figures;
  const auto n = static_cast<double>(sums.rows);
  figures.f1 = sums.f1 / n;
  figures.f1_error = std::sqrt(std::max(0.0, sums.f1_squares / n - figures.f1 * figures.f1) / n);
  figures.exact = static_cast<double>(sums.exact) / n;
  WilsonInterval(static_cast<double>(sums.exact), n, &figures.exact_low, &figures.exact_high);
  return figures;
}

}  // namespace qzo::model
