#include "model/tokenizer/pretokenize.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tokenizer/byte_letters.h"
#include "model/tokenizer/utf8.h"

namespace qzo::model {
namespace {

struct Part {
  std::string_view text;
  bool matches;
};

// The parts of `text`, none of them empty.
absl::StatusOr<std::vector<Part>> Parts(const Regex& regex, bool invert, std::string_view text) {
  std::vector<std::pair<size_t, size_t>> matches;
  QZO_RETURN_IF_ERROR(regex.FindAll(text, &matches));
  std::vector<Part> parts;
  parts.reserve(matches.size() + 1);
  size_t at = 0;
  for (const auto& [begin, size] : matches) {
    if (begin > at) parts.push_back({text.substr(at, begin - at), invert});
    parts.push_back({text.substr(begin, size), !invert});
    at = begin + size;
  }
  if (at < text.size()) parts.push_back({text.substr(at), invert});
  return parts;
}

bool MergesWithPrevious(Pretokenizer::Behavior behavior, const Part& previous, const Part& part) {
  switch (behavior) {
    case Pretokenizer::Behavior::kMergedWithPrevious:
      return !previous.matches && part.matches;
    case Pretokenizer::Behavior::kMergedWithNext:
      return previous.matches && !part.matches;
    case Pretokenizer::Behavior::kContiguous:
      return previous.matches == part.matches;
    default:
      return false;
  }
}

// Collects rewritten words; views are made when all are there, since appending moves them.
class Rewriter {
 public:
  std::string* text() { return text_.get(); }
  void EndWord() { ends_.push_back(text_->size()); }
  void Finish(Words* words) && {
    words->words.clear();
    size_t begin = 0;
    for (const size_t end : ends_) {
      words->words.push_back(std::string_view(*text_).substr(begin, end - begin));
      begin = end;
    }
    words->rewritten.push_back(std::move(text_));
  }

 private:
  std::unique_ptr<std::string> text_ = std::make_unique<std::string>();
  std::vector<size_t> ends_;
};

}  // namespace

class Pretokenizer::Step {
 public:
  virtual ~Step() = default;
  virtual absl::Status Run(bool begins, Words* words) const = 0;
};

class Pretokenizer::SplitStep final : public Step {
 public:
  SplitStep(std::unique_ptr<const Regex> regex, Behavior behavior, bool invert)
      : regex_(std::move(regex)), behavior_(behavior), invert_(invert) {}

  absl::Status Run(bool /*begins*/, Words* words) const override {
    std::vector<std::string_view> result;
    for (const std::string_view word : words->words) {
      if (IsInvalidByte(word)) {
        result.push_back(word);
        continue;
      }
      QZO_ASSIGN_OR_RETURN(const std::vector<Part> parts, Parts(*regex_, invert_, word));
      for (size_t i = 0; i < parts.size(); ++i) {
        if (behavior_ == Behavior::kRemoved && parts[i].matches) continue;
        if (i > 0 && MergesWithPrevious(behavior_, parts[i - 1], parts[i])) {
          result.back() = std::string_view(result.back().data(), result.back().size() + parts[i].text.size());
        } else {
          result.push_back(parts[i].text);
        }
      }
    }
    words->words = std::move(result);
    return absl::OkStatus();
  }

 private:
  const std::unique_ptr<const Regex> regex_;
  const Behavior behavior_;
  const bool invert_;
};

class Pretokenizer::ByteLetters final : public Step {
 public:
  absl::Status Run(bool /*begins*/, Words* words) const override {
    Rewriter rewriter;
    for (const std::string_view word : words->words) {
      AppendByteLetters(word, rewriter.text());
      rewriter.EndWord();
    }
    std::move(rewriter).Finish(words);
    return absl::OkStatus();
  }
};

class Pretokenizer::BlankMarks final : public Step {
 public:
  BlankMarks(std::string_view mark, BlankPrefix prefix) : mark_(mark), prefix_(prefix) {}

  absl::Status Run(bool begins, Words* words) const override {
    Rewriter rewriter;
    bool after_invalid = false;
    for (size_t i = 0; i < words->words.size(); ++i) {
      const std::string_view word = words->words[i];
      const std::string marked = absl::StrReplaceAll(base::ToAbsl(word), {{" ", mark_}});
      const bool prefixed = prefix_ == BlankPrefix::kAlways || (prefix_ == BlankPrefix::kFirst && begins && i == 0);
      // Invalid bytes only interrupt a word.
      if (prefixed && !after_invalid && !IsInvalidByte(word) && !std::string_view(marked).starts_with(mark_))
        *rewriter.text() += mark_;
      *rewriter.text() += marked;
      rewriter.EndWord();
      after_invalid = IsInvalidByte(word);
    }
    std::move(rewriter).Finish(words);
    return absl::OkStatus();
  }

 private:
  const std::string mark_;
  const BlankPrefix prefix_;
};

Pretokenizer::Pretokenizer() = default;
Pretokenizer::~Pretokenizer() = default;
Pretokenizer::Pretokenizer(Pretokenizer&&) noexcept = default;
Pretokenizer& Pretokenizer::operator=(Pretokenizer&&) noexcept = default;

absl::Status Pretokenizer::AddSplit(std::string_view pattern, Behavior behavior, bool invert) {
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<Regex> regex, Regex::Compile(pattern));
  steps_.push_back(std::make_unique<SplitStep>(std::move(regex), behavior, invert));
  return absl::OkStatus();
}

absl::Status Pretokenizer::AddLiteralSplit(std::string_view text, Behavior behavior, bool invert) {
  QZO_ASSIGN_OR_RETURN(std::unique_ptr<Regex> regex, Regex::CompileLiteral(text));
  steps_.push_back(std::make_unique<SplitStep>(std::move(regex), behavior, invert));
  return absl::OkStatus();
}

void Pretokenizer::AddByteLetters() { steps_.push_back(std::make_unique<ByteLetters>()); }

void Pretokenizer::AddBlankMarks(std::string_view mark, BlankPrefix prefix) {
  steps_.push_back(std::make_unique<BlankMarks>(mark, prefix));
}

absl::StatusOr<Words> Pretokenizer::Split(std::string_view text, bool begins) const {
  Words words;
  ForEachValidPart(text, [&words](std::string_view part) { words.words.push_back(part); });
  for (const auto& step : steps_) QZO_RETURN_IF_ERROR(step->Run(begins, &words));
  return words;
}

}  // namespace qzo::model
