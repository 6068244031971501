#include "model/tasks/row_encoder.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tasks/chat_rows.h"
#include "model/tasks/row.h"

namespace qzo::model {
namespace {

using nlohmann::json;

size_t LongestBranch(const std::vector<std::vector<int32_t>>& branches) {
  size_t longest = 0;
  for (const auto& branch : branches) longest = std::max(longest, branch.size());
  return longest;
}

absl::StatusOr<std::string> FieldOf(const Template::Piece& piece, const json& row) {
  QZO_ASSIGN_OR_RETURN(std::string value, FieldText(row, piece.text));
  for (const Filter& filter : piece.filters) {
    absl::StatusOr<std::string> filtered = filter.Apply(std::move(value));
    if (!filtered.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("field '", piece.text, "': ", filtered.status().message()));
    }
    value = *std::move(filtered);
  }
  return value;
}

}  // namespace

RowEncoder::RowEncoder(const TaskSpec& spec, const Tokenizer& tokenizer) : spec_(spec), tokenizer_(tokenizer) {
  if (tokenizer.add_bos()) bos_ = tokenizer.bos();
  stops_ = std::any_of(spec.stop.begin(), spec.stop.end(),
                       [&](const std::string& stop) { return spec.answer.ends_with(stop); });
}

absl::StatusOr<RowEncoder> RowEncoder::Make(const TaskSpec& spec, const Tokenizer& tokenizer) {
  QZO_RETURN_IF_ERROR(spec.Validate());
  RowEncoder encoder(spec, tokenizer);
  if (spec.kind == TaskKind::kChat) {
    QZO_ASSIGN_OR_RETURN(encoder.chat_, ChatEncoder::Make(spec.chat_format, tokenizer));
    return encoder;
  }
  QZO_ASSIGN_OR_RETURN(encoder.prompt_, Template::Parse(spec.prompt));
  QZO_ASSIGN_OR_RETURN(encoder.answer_, Template::Parse(spec.answer));
  QZO_RETURN_IF_ERROR(encoder.ParseOptions());
  return encoder;
}

absl::Status RowEncoder::ParseOptions() {
  for (const std::string& option : spec_.options) {
    QZO_ASSIGN_OR_RETURN(option_templates_.emplace_back(), Template::Parse(option));
  }
  const auto varies = [](const Template& option) { return option.HasField(); };
  if (std::any_of(option_templates_.begin(), option_templates_.end(), varies)) return absl::OkStatus();
  QZO_ASSIGN_OR_RETURN(options_, EncodeOptions(json::object()));
  option_templates_.clear();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::vector<int32_t>>> RowEncoder::EncodeOptions(const json& row) const {
  std::vector<std::vector<int32_t>> options;
  for (const Template& option : option_templates_) {
    const std::string name = absl::StrCat("task.options[", options.size(), "]");
    absl::StatusOr<std::vector<int32_t>> ids = Render(option, row, "text");
    if (!ids.ok()) return absl::InvalidArgumentError(absl::StrCat(name, ": ", ids.status().message()));
    if (Room(ids->size()) < 1) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", ids->size(), " tokens leave no room for a prompt in ",
                                                     "task.sequence_len = ", spec_.sequence_len));
    }
    if (std::find(options.begin(), options.end(), *ids) != options.end()) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": the same tokens as an option before it"));
    }
    options.push_back(*std::move(ids));
  }
  return options;
}

absl::StatusOr<std::vector<int32_t>> RowEncoder::Render(const Template& text, const json& row,
                                                        std::string_view name) const {
  std::vector<int32_t> ids;
  std::string run;    // ordinary text not yet encoded: words form across the edges of a placeholder
  size_t filled = 0;  // bytes that fields gave
  bool blank = true;
  const auto flush = [&]() -> absl::Status {
    blank = blank && IsBlank(run);
    QZO_ASSIGN_OR_RETURN(const std::vector<int32_t> more, tokenizer_.Encode(run, /*parse_special=*/false));
    ids.insert(ids.end(), more.begin(), more.end());
    run.clear();
    return absl::OkStatus();
  };
  for (const Template::Piece& piece : text.pieces()) {
    if (piece.kind == Template::Piece::Kind::kField) {
      QZO_ASSIGN_OR_RETURN(const std::string value, FieldOf(piece, row));
      // A template may name a field any number of times.
      if ((filled += value.size()) > kMaxRowBytes) {
        return absl::InvalidArgumentError(absl::StrCat("the ", base::ToAbsl(name), " has more than ",
                                                       base::HumanBytes(kMaxRowBytes), " of fields in it"));
      }
      run += value;
      continue;
    }
    const std::optional<int32_t> mark =
        piece.kind == Template::Piece::Kind::kMark ? tokenizer_.FindToken(piece.text) : std::nullopt;
    if (!mark.has_value()) {
      run += piece.text;
      continue;
    }
    if (!run.empty()) QZO_RETURN_IF_ERROR(flush());
    ids.push_back(*mark);
    blank = false;
  }
  if (!run.empty()) QZO_RETURN_IF_ERROR(flush());
  if (blank || ids.empty()) return absl::InvalidArgumentError(absl::StrCat("the ", base::ToAbsl(name), " is empty"));
  return ids;
}

absl::StatusOr<int32_t> RowEncoder::Label(const json& row) const {
  const json* field = FindField(row, spec_.label_field);
  if (field == nullptr) return MissingField(row, spec_.label_field);
  const auto options = static_cast<int64_t>(spec_.options.size());
  const std::vector<std::string>& names = spec_.label_names;
  std::string found;
  std::string hint;
  if (field->is_number_integer()) {
    // Beyond int64 the value wraps to a negative one, which is refused too.
    const auto index = field->get<int64_t>();
    if (index >= 0 && index < options) return static_cast<int32_t>(index);
    found = field->dump();
  } else if (field->is_boolean() && options == 2) {
    return field->get<bool>() ? 1 : 0;
  } else if (field->is_string()) {
    const auto& text = field->get_ref<const std::string&>();
    const auto name = std::find(names.begin(), names.end(), text);
    if (name != names.end()) return static_cast<int32_t>(name - names.begin());
    found = absl::StrCat("'", Excerpt(text, 60), "'");
    hint = base::DidYouMean(Excerpt(text, 60), names);
  } else {
    found = field->type_name();
  }
  std::string expected = absl::StrCat("an integer from 0 to ", options - 1);
  if (!names.empty()) absl::StrAppend(&expected, " or one of ", Excerpt(absl::StrJoin(names, ", "), 200));
  return absl::InvalidArgumentError(
      absl::StrCat("field '", spec_.label_field, "': found ", found, ", expected ", expected, hint));
}

// Of a conversation that is too long, answers and what leads to them go from the end, as long as one answer is left.
absl::StatusOr<EncodedRow> RowEncoder::EncodeChat(const json& row, bool inference) const {
  QZO_ASSIGN_OR_RETURN(const std::vector<ChatMessage> messages, ReadMessages(row, inference));
  QZO_ASSIGN_OR_RETURN(Example whole, chat_->Encode(messages, inference));
  if (inference) return Fit(std::move(whole), 1);
  const auto length = [&](const Example& example) {
    return static_cast<int64_t>(example.prompt.size()) + spec_.sequence_len - Room(example.branches[0].size());
  };
  const int64_t full_length = length(whole);
  Example kept = std::move(whole);
  if (full_length > spec_.sequence_len) {
    std::vector<size_t> ends;  // messages up to each answer that counts
    for (size_t i = 0; i < messages.size(); ++i) {
      if (messages[i].role == "assistant" && messages[i].scored) ends.push_back(i + 1);
    }
    // The most answers that fit, or one.
    size_t fits = 1, too_many = ends.size();
    while (fits + 1 < too_many) {
      const size_t middle = fits + (too_many - fits) / 2;
      const auto end = messages.begin() + static_cast<int64_t>(ends[middle - 1]);
      QZO_ASSIGN_OR_RETURN(const Example shorter, chat_->Encode({messages.begin(), end}, inference));
      (length(shorter) <= spec_.sequence_len ? fits : too_many) = middle;
    }
    const auto end = messages.begin() + static_cast<int64_t>(ends[fits - 1]);
    QZO_ASSIGN_OR_RETURN(kept, chat_->Encode({messages.begin(), end}, inference));
  }
  const size_t branch_len = kept.branches[0].size();
  const bool lost_turns = length(kept) < full_length;
  QZO_ASSIGN_OR_RETURN(EncodedRow encoded, Fit(std::move(kept), branch_len));
  encoded.lost_turns = lost_turns;
  encoded.lost_tokens += full_length - encoded.full_length;
  encoded.full_length = full_length;
  return encoded;
}

absl::StatusOr<EncodedRow> RowEncoder::Encode(const json& row, bool inference) const {
  if (spec_.kind == TaskKind::kChat) return EncodeChat(row, inference);
  Example example;
  QZO_ASSIGN_OR_RETURN(example.prompt, Render(prompt_, row, "prompt"));
  if (spec_.kind == TaskKind::kClassification) {
    if (!inference) {
      QZO_ASSIGN_OR_RETURN(example.label, Label(row));
    }
    example.branches = options_;
    if (!option_templates_.empty()) {
      QZO_ASSIGN_OR_RETURN(example.branches, EncodeOptions(row));
    }
  } else if (!inference) {
    QZO_ASSIGN_OR_RETURN(std::vector<int32_t> answer, Render(answer_, row, "answer"));
    if (tokenizer_.eos().has_value() && !stops_) answer.push_back(*tokenizer_.eos());
    example.branches.push_back(std::move(answer));
  }
  // Inference of a text leaves room for at least one token of it.
  const size_t branch_len = example.branches.empty() ? 1 : LongestBranch(example.branches);
  return Fit(std::move(example), branch_len);
}

absl::StatusOr<EncodedRow> RowEncoder::Fit(Example example, size_t branch_len) const {
  const int64_t room = Room(branch_len);
  if (room < 1) {
    return absl::InvalidArgumentError(absl::StrCat("an answer of ", branch_len,
                                                   " tokens leaves no room for a prompt in ",
                                                   "task.sequence_len = ", spec_.sequence_len));
  }
  EncodedRow result;
  std::vector<int32_t>& prompt = example.prompt;
  const auto prompt_len = static_cast<int64_t>(prompt.size());
  result.full_length = prompt_len + spec_.sequence_len - room;
  result.lost_tokens = std::max<int64_t>(0, prompt_len - room);
  prompt.erase(prompt.begin(), prompt.begin() + result.lost_tokens);
  if (bos_.has_value()) prompt.insert(prompt.begin(), *bos_);
  result.example = std::move(example);
  return result;
}

absl::StatusOr<std::vector<std::string>> RowEncoder::References(const json& row) const {
  if (!spec_.references.empty()) return FieldTexts(row, spec_.references);
  std::string text;
  for (const Template::Piece& piece : answer_.pieces()) {
    if (piece.kind == Template::Piece::Kind::kField) {
      QZO_ASSIGN_OR_RETURN(const std::string value, FieldOf(piece, row));
      text += value;
    } else {
      text += piece.text;
    }
  }
  for (const std::string& stop : spec_.stop) text = std::string(absl::StripSuffix(text, stop));
  return std::vector<std::string>{std::string(absl::StripAsciiWhitespace(text))};
}

}  // namespace qzo::model
