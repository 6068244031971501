#include "model/tasks/chat.h"

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tasks/row.h"

namespace qzo::model {
namespace {

using nlohmann::json;

absl::StatusOr<ChatMessage> ReadMessage(const json& value, size_t index) {
  const auto error = [index](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat("messages[", index, "]", parts...));
  };
  if (!value.is_object()) return error(": found ", value.type_name(), ", expected {\"role\", \"content\"}");
  ChatMessage message;
  for (const auto& item : value.items()) {
    if (item.key() != "role" && item.key() != "content") {
      return error(": unknown key '", Excerpt(item.key(), 60), "'; expected role and content alone");
    }
    if (!item.value().is_string())
      return error(".", item.key(), ": found ", item.value().type_name(), ", expected a string");
    (item.key() == "role" ? message.role : message.content) = item.value().get_ref<const std::string&>();
  }
  if (!value.contains("role")) return error(" has no role");
  if (message.role != "system" && message.role != "user" && message.role != "assistant") {
    return error(".role: found '", Excerpt(message.role, 60), "', expected system, user or assistant",
                 base::DidYouMean(Excerpt(message.role, 60), {"system", "user", "assistant"}));
  }
  if (message.role == "system" && index > 0) return error(".role: a system message must be the first");
  if (message.role == "assistant" && index == 0) return error(".role: the first message must not be the assistant's");
  if (!value.contains("content")) return error(" has no content");
  if (IsBlank(message.content)) return error(".content: empty");
  return message;
}

// Collects tokens: the prompt's until StartBranch, then the branch's.
class Writer {
 public:
  explicit Writer(const Tokenizer* tokenizer) : tokenizer_(tokenizer) {}

  absl::Status Text(std::string_view text, bool scored) {
    QZO_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer_->Encode(text, /*parse_special=*/false));
    for (const int32_t id : ids) Token(id, scored);
    return absl::OkStatus();
  }
  void Token(int32_t id, bool scored) {
    if (example_.branches.empty()) {
      example_.prompt.push_back(id);
      return;
    }
    example_.branches[0].push_back(id);
    example_.scored.push_back(scored ? 1 : 0);
  }
  void StartBranch() {
    if (example_.branches.empty()) example_.branches.emplace_back();
  }
  Example Finish() && { return std::move(example_); }

 private:
  const Tokenizer* const tokenizer_;
  Example example_;
};

// Whether the tokenizer begins every text with a blank, as SentencePiece vocabularies ask for with "add_space_prefix".
absl::StatusOr<bool> AddsBlank(const Tokenizer& tokenizer) {
  QZO_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer.Encode("a", /*parse_special=*/false));
  return !ids.empty() && (ids[0] == tokenizer.FindToken("\u2581a") || ids[0] == tokenizer.FindToken("\u2581"));
}

}  // namespace

absl::StatusOr<std::vector<ChatMessage>> ReadMessages(const json& row, bool inference) {
  const auto field = row.find("messages");
  if (field == row.end()) return MissingField(row, "messages");
  if (!field->is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat("field 'messages': found ", field->type_name(), ", expected an array"));
  }
  if (field->empty()) return absl::InvalidArgumentError("field 'messages' is empty");
  std::vector<ChatMessage> messages;
  for (const json& value : *field) {
    QZO_ASSIGN_OR_RETURN(ChatMessage message, ReadMessage(value, messages.size()));
    messages.push_back(std::move(message));
  }
  if ((messages.back().role == "assistant") == inference) {
    return absl::InvalidArgumentError(absl::StrCat(
        "messages[", messages.size() - 1, "].role: found ", messages.back().role,
        inference ? ", but there is nothing left to answer" : ", expected the last message to be the assistant's"));
  }
  return messages;
}

absl::StatusOr<ChatEncoder> ChatEncoder::Make(ChatFormat format, const Tokenizer& tokenizer) {
  ChatEncoder encoder(tokenizer, format);
  if (format == ChatFormat::kPlain) {
    encoder.turn_end_ = tokenizer.eos();
    QZO_ASSIGN_OR_RETURN(encoder.blank_comes_by_itself_, AddsBlank(tokenizer));
    return encoder;
  }
  const std::optional<int32_t> start = tokenizer.FindToken("<|im_start|>");
  encoder.turn_end_ = tokenizer.FindToken("<|im_end|>");
  if (!start.has_value() || !encoder.turn_end_.has_value()) {
    return absl::FailedPreconditionError(absl::StrCat("task.chat_format: CHATML needs the token ",
                                                      start.has_value() ? "<|im_end|>" : "<|im_start|>",
                                                      ", which the model's vocabulary does not have; use PLAIN"));
  }
  encoder.turn_start_ = *start;
  return encoder;
}

absl::StatusOr<Example> ChatEncoder::Encode(const std::vector<ChatMessage>& messages, bool inference) const {
  return format_ == ChatFormat::kChatMl ? EncodeChatMl(messages, inference) : EncodePlain(messages, inference);
}

absl::StatusOr<Example> ChatEncoder::EncodeChatMl(const std::vector<ChatMessage>& messages, bool inference) const {
  Writer out(tokenizer_);
  for (size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    out.Token(turn_start_, false);
    if (role == "assistant") {
      QZO_RETURN_IF_ERROR(out.Text("assistant\n", false));
      if (!inference) out.StartBranch();
      QZO_RETURN_IF_ERROR(out.Text(content, true));
    } else {
      // In one piece, as the text a model was trained on was: only the marks separate.
      QZO_RETURN_IF_ERROR(out.Text(absl::StrCat(role, "\n", content), false));
    }
    out.Token(*turn_end_, role == "assistant");
    if (i + 1 < messages.size() || inference) QZO_RETURN_IF_ERROR(out.Text("\n", false));
  }
  if (inference) {
    out.Token(turn_start_, false);
    QZO_RETURN_IF_ERROR(out.Text("assistant\n", false));
  }
  return std::move(out).Finish();
}

absl::StatusOr<Example> ChatEncoder::EncodePlain(const std::vector<ChatMessage>& messages, bool inference) const {
  Writer out(tokenizer_);
  std::string unscored;  // what stands between two assistant contents
  for (const auto& [role, content] : messages) {
    if (role != "assistant") {
      absl::StrAppend(&unscored, role == "user" ? "User: " : "System: ", content, "\n");
      continue;
    }
    QZO_RETURN_IF_ERROR(out.Text(absl::StrCat(unscored, "Assistant:"), false));
    if (!inference) out.StartBranch();
    // The blank goes with the content: byte-level BPE has words that begin with one and none that end with one.
    QZO_RETURN_IF_ERROR(out.Text(absl::StrCat(blank_comes_by_itself_ ? "" : " ", content), true));
    if (turn_end_.has_value()) out.Token(*turn_end_, true);
    unscored.assign(1, '\n');  // GCC 12 takes = "\n" for an overlapping copy
  }
  if (inference) QZO_RETURN_IF_ERROR(out.Text(absl::StrCat(unscored, "Assistant:"), false));
  return std::move(out).Finish();
}

}  // namespace qzo::model
