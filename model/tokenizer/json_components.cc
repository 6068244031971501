#include "model/tokenizer/json_components.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tokenizer/pretokenizer_families.h"
#include "model/tokenizer/utf8.h"

namespace qzo::model {
namespace {

using Behavior = Pretokenizer::Behavior;

// Sequences within sequences.
constexpr int kMaxDepth = 8;

constexpr std::string_view kNormalizers =
    "Lowercase, NFC, NFD, NFKC, NFKD, Precompiled, Prepend, Replace, Sequence, Strip";
constexpr std::string_view kPretokenizers =
    "ByteLevel, CharDelimiterSplit, Digits, Metaspace, Punctuation, Sequence, Split, Whitespace, WhitespaceSplit";
constexpr std::string_view kPostProcessors = "ByteLevel, Sequence, TemplateProcessing";
constexpr std::string_view kDecoders = "ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence, Strip";

// ASCII's symbols are punctuation, too.
constexpr std::string_view kPunctuation = R"([\p{P}$+<=>^`|~])";

absl::Status Unsupported(const JsonAt& component, std::string_view type, std::string_view supported) {
  return component["type"].Error("'", base::ToAbsl(type), "' is not supported; supported are ",
                                 base::ToAbsl(supported));
}

// Calls `read(part, depth + 1)` for the parts of a Sequence.
template <typename Read>
absl::Status ReadSequence(const JsonAt& parts, int depth, const Read& read) {
  if (!parts.is_array()) return parts.Expected("an array");
  if (depth >= kMaxDepth) return parts.Error("more than ", kMaxDepth, " sequences within one another");
  for (size_t i = 0; i < parts.size(); ++i) QZO_RETURN_IF_ERROR(read(parts[i], depth + 1));
  return absl::OkStatus();
}

// {"String": …} or {"Regex": …}.
struct Pattern {
  std::string text;
  bool literal;
};
absl::StatusOr<Pattern> ReadPattern(const JsonAt& pattern) {
  const bool literal = !pattern["String"].is_null();
  QZO_ASSIGN_OR_RETURN(std::string text, pattern[literal ? "String" : "Regex"].String());
  if (text.empty()) return pattern.Error("empty");
  return Pattern{std::move(text), literal};
}

absl::Status At(const JsonAt& place, const absl::Status& status) {
  return status.ok() ? status : place.Error(status.message());
}

absl::Status ReadReplace(const JsonAt& component, TextModel* model) {
  QZO_ASSIGN_OR_RETURN(const Pattern pattern, ReadPattern(component["pattern"]));
  QZO_ASSIGN_OR_RETURN(std::string content, component["content"].String());
  absl::StatusOr<std::unique_ptr<Regex>> regex =
      pattern.literal ? Regex::CompileLiteral(pattern.text) : Regex::Compile(pattern.text);
  QZO_RETURN_IF_ERROR(At(component["pattern"], regex.status()));
  if (content == kBlankMark) model->spelling = Spelling::kBlankMarks;
  model->normalizer.Add(Normalizer::Replace{*std::move(regex), std::move(content)});
  return absl::OkStatus();
}

absl::Status ReadPrecompiled(const JsonAt& component, TextModel* model) {
  const JsonAt field = component["precompiled_charsmap"];
  QZO_ASSIGN_OR_RETURN(const std::string text, field.String());
  std::string bytes;
  if (!absl::Base64Unescape(text, &bytes)) return field.Error("no base64");
  absl::StatusOr<Charsmap> map = Charsmap::Parse(bytes);
  QZO_RETURN_IF_ERROR(At(field, map.status()));
  model->normalizer.Add(std::make_shared<const Charsmap>(*std::move(map)));
  return absl::OkStatus();
}

absl::Status ReadNormalizerAt(const JsonAt& component, int depth, TextModel* model) {
  QZO_ASSIGN_OR_RETURN(const std::string type, component["type"].String());
  Normalizer& normalizer = model->normalizer;
  if (type == "Sequence") {
    return ReadSequence(component["normalizers"], depth,
                        [model](const JsonAt& part, int below) { return ReadNormalizerAt(part, below, model); });
  }
  if (type == "Replace") return ReadReplace(component, model);
  if (type == "Precompiled") return ReadPrecompiled(component, model);
  if (type == "NFC") {
    normalizer.Add(Normalizer::Form::kNfc);
  } else if (type == "NFD") {
    normalizer.Add(Normalizer::Form::kNfd);
  } else if (type == "NFKC") {
    normalizer.Add(Normalizer::Form::kNfkc);
  } else if (type == "NFKD") {
    normalizer.Add(Normalizer::Form::kNfkd);
  } else if (type == "Lowercase") {
    normalizer.Add(Normalizer::Lowercase{});
  } else if (type == "Strip") {
    QZO_ASSIGN_OR_RETURN(const bool left, component["strip_left"].BoolOr(false));
    QZO_ASSIGN_OR_RETURN(const bool right, component["strip_right"].BoolOr(false));
    normalizer.Add(Normalizer::Strip{left, right});
  } else if (type == "Prepend") {
    QZO_ASSIGN_OR_RETURN(std::string prepend, component["prepend"].String());
    if (prepend == kBlankMark) model->blank_prefix = BlankPrefix::kAlways;
    normalizer.Add(Normalizer::Prepend{std::move(prepend)});
  } else {
    return Unsupported(component, type, kNormalizers);
  }
  return absl::OkStatus();
}

absl::StatusOr<Behavior> ReadBehavior(const JsonAt& field, std::string_view otherwise) {
  QZO_ASSIGN_OR_RETURN(const std::string name, field.StringOr(otherwise));
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  return field.Error("found '", name,
                     "', expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

absl::Status ReadSplit(const JsonAt& component, TextModel* model) {
  QZO_ASSIGN_OR_RETURN(const Pattern pattern, ReadPattern(component["pattern"]));
  QZO_ASSIGN_OR_RETURN(const Behavior behavior, ReadBehavior(component["behavior"], ""));
  QZO_ASSIGN_OR_RETURN(const bool invert, component["invert"].BoolOr(false));
  Pretokenizer& pretokenizer = model->pretokenizer;
  return At(component["pattern"], pattern.literal ? pretokenizer.AddLiteralSplit(pattern.text, behavior, invert)
                                                  : pretokenizer.AddSplit(pattern.text, behavior, invert));
}

absl::Status ReadByteLevel(const JsonAt& component, TextModel* model) {
  QZO_ASSIGN_OR_RETURN(const bool add_prefix_space, component["add_prefix_space"].BoolOr(true));
  QZO_ASSIGN_OR_RETURN(const bool use_regex, component["use_regex"].BoolOr(true));
  if (add_prefix_space) {
    model->pretokenizer.AddBlankMarks(" ", BlankPrefix::kAlways);
    model->blank_prefix = BlankPrefix::kAlways;
  }
  if (use_regex) QZO_RETURN_IF_ERROR(model->pretokenizer.AddSplit(kGpt2Pattern));
  model->pretokenizer.AddByteLetters();
  model->spelling = Spelling::kByteLetters;
  return absl::OkStatus();
}

absl::Status ReadMetaspace(const JsonAt& component, TextModel* model) {
  QZO_ASSIGN_OR_RETURN(const std::string mark, component["replacement"].StringOr(kBlankMark));
  if (mark != kBlankMark) return component["replacement"].Error("found '", mark, "', expected U+2581");
  // Before there was prepend_scheme, add_prefix_space chose between always and never.
  QZO_ASSIGN_OR_RETURN(const bool add_prefix_space, component["add_prefix_space"].BoolOr(true));
  const JsonAt field = component["prepend_scheme"];
  QZO_ASSIGN_OR_RETURN(const std::string scheme, field.StringOr(add_prefix_space ? "always" : "never"));
  if (scheme != "always" && scheme != "first" && scheme != "never")
    return field.Error("found '", scheme, "', expected always, first or never");
  model->blank_prefix = scheme == "always"  ? BlankPrefix::kAlways
                        : scheme == "first" ? BlankPrefix::kFirst
                                            : BlankPrefix::kNever;
  model->spelling = Spelling::kBlankMarks;
  model->pretokenizer.AddBlankMarks(mark, model->blank_prefix);
  QZO_ASSIGN_OR_RETURN(const bool split, component["split"].BoolOr(true));
  return split ? model->pretokenizer.AddLiteralSplit(mark, Behavior::kMergedWithNext) : absl::OkStatus();
}

absl::Status ReadPretokenizerAt(const JsonAt& component, int depth, TextModel* model) {
  QZO_ASSIGN_OR_RETURN(const std::string type, component["type"].String());
  Pretokenizer& pretokenizer = model->pretokenizer;
  if (type == "Sequence") {
    return ReadSequence(component["pretokenizers"], depth,
                        [model](const JsonAt& part, int below) { return ReadPretokenizerAt(part, below, model); });
  }
  if (type == "Split") return ReadSplit(component, model);
  if (type == "ByteLevel") return ReadByteLevel(component, model);
  if (type == "Metaspace") return ReadMetaspace(component, model);
  if (type == "Digits") {
    QZO_ASSIGN_OR_RETURN(const bool individual, component["individual_digits"].BoolOr(false));
    return pretokenizer.AddSplit(individual ? R"(\p{N})" : R"(\p{N}+)");
  }
  if (type == "Punctuation") {
    QZO_ASSIGN_OR_RETURN(const Behavior behavior, ReadBehavior(component["behavior"], "Isolated"));
    return pretokenizer.AddSplit(kPunctuation, behavior);
  }
  if (type == "Whitespace") return pretokenizer.AddSplit(R"(\w+|[^\w\s]+)", Behavior::kRemoved, /*invert=*/true);
  if (type == "WhitespaceSplit") return pretokenizer.AddSplit(R"(\s)", Behavior::kRemoved);
  if (type == "CharDelimiterSplit") {
    QZO_ASSIGN_OR_RETURN(const std::string delimiter, component["delimiter"].String());
    if (delimiter.empty()) return component["delimiter"].Error("empty");
    return pretokenizer.AddLiteralSplit(delimiter, Behavior::kRemoved);
  }
  return Unsupported(component, type, kPretokenizers);
}

absl::StatusOr<std::optional<int32_t>> ReadTemplate(const JsonAt& component, int32_t vocab_size) {
  const JsonAt single = component["single"];
  if (!single.is_array()) return single.Expected("an array");
  std::optional<int32_t> bos;
  for (size_t i = 0; i < single.size(); ++i) {
    if (single[i]["Sequence"].is_object()) return bos;
    QZO_ASSIGN_OR_RETURN(const std::string name, single[i]["SpecialToken"]["id"].String());
    const JsonAt ids = component["special_tokens"][name.c_str()]["ids"];
    if (!ids.is_array() || ids.size() != 1) return ids.Error("expected an array of one id");
    if (bos.has_value()) return single.Error("more than one token before the text is not supported");
    QZO_ASSIGN_OR_RETURN(bos, ids[size_t{0}].Id(vocab_size));
  }
  return single.Error("no Sequence in it");
}

absl::Status ReadPostProcessorAt(const JsonAt& component, int depth, int32_t vocab_size, std::optional<int32_t>* bos) {
  QZO_ASSIGN_OR_RETURN(const std::string type, component["type"].String());
  if (type == "Sequence") {
    return ReadSequence(component["processors"], depth, [vocab_size, bos](const JsonAt& part, int below) {
      return ReadPostProcessorAt(part, below, vocab_size, bos);
    });
  }
  if (type == "TemplateProcessing") {
    QZO_ASSIGN_OR_RETURN(*bos, ReadTemplate(component, vocab_size));
    return absl::OkStatus();
  }
  if (type == "ByteLevel") return absl::OkStatus();  // only moves offsets
  return Unsupported(component, type, kPostProcessors);
}

absl::Status CheckDecoderAt(const JsonAt& component, int depth) {
  QZO_ASSIGN_OR_RETURN(const std::string type, component["type"].String());
  if (type == "Sequence") return ReadSequence(component["decoders"], depth, CheckDecoderAt);
  for (const std::string_view known : {"ByteFallback", "ByteLevel", "Fuse", "Metaspace", "Replace", "Strip"}) {
    if (type == known) return absl::OkStatus();
  }
  return Unsupported(component, type, kDecoders);
}

}  // namespace

absl::Status ReadNormalizer(const JsonAt& component, TextModel* model) {
  return component.is_null() ? absl::OkStatus() : ReadNormalizerAt(component, 0, model);
}

absl::Status ReadPretokenizer(const JsonAt& component, TextModel* model) {
  return component.is_null() ? absl::OkStatus() : ReadPretokenizerAt(component, 0, model);
}

absl::StatusOr<std::optional<int32_t>> ReadPostProcessor(const JsonAt& component, int32_t vocab_size) {
  std::optional<int32_t> bos;
  if (!component.is_null()) QZO_RETURN_IF_ERROR(ReadPostProcessorAt(component, 0, vocab_size, &bos));
  return bos;
}

absl::Status CheckDecoder(const JsonAt& component) {
  return component.is_null() ? absl::OkStatus() : CheckDecoderAt(component, 0);
}

}  // namespace qzo::model
