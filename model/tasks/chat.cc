#include "model/tasks/chat.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tokenizer/utf8.h"

namespace qzo::model {
namespace {

// Whether the tokenizer begins every text with a blank, as SentencePiece vocabularies ask for with "add_space_prefix".
absl::StatusOr<bool> AddsBlank(const Tokenizer& tokenizer) {
  QZO_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer.EncodeContinuation("a", /*parse_special=*/false));
  return !ids.empty() && (ids[0] == tokenizer.FindToken("\u2581a") || ids[0] == tokenizer.FindToken("\u2581"));
}

}  // namespace

ChatFormat DefaultChatFormat(const Tokenizer& tokenizer) {
  if (tokenizer.chat_template().has_value()) return ChatFormat::kModelTemplate;
  return tokenizer.FindToken("<|im_start|>").has_value() ? ChatFormat::kChatMl : ChatFormat::kPlain;
}

// Collects tokens: the prompt's until StartBranch, then the branch's. Text is encoded in pieces as long as possible, as
// the text that a model was trained on was: only tokens, and the edges of what is scored, separate.
class ChatEncoder::Writer {
 public:
  explicit Writer(const Tokenizer* tokenizer) : tokenizer_(tokenizer) {}

  void Text(std::string_view text) { text_ += text; }
  absl::Status Token(int32_t id) {
    QZO_RETURN_IF_ERROR(Flush());
    Push(id);
    return absl::OkStatus();
  }
  absl::Status Write(const std::vector<Piece>& pieces) {
    for (const Piece& piece : pieces) {
      if (piece.token.has_value()) {
        QZO_RETURN_IF_ERROR(Token(*piece.token));
      } else {
        Text(piece.text);
      }
    }
    return absl::OkStatus();
  }
  absl::Status StartBranch() {
    QZO_RETURN_IF_ERROR(Flush());
    if (example_.branches.empty()) example_.branches.emplace_back();
    return absl::OkStatus();
  }
  absl::Status SetScored(bool scored) {
    QZO_RETURN_IF_ERROR(Flush());
    scored_ = scored;
    return absl::OkStatus();
  }
  absl::StatusOr<Example> Finish() && {
    QZO_RETURN_IF_ERROR(Flush());
    while (!example_.scored.empty() &&
           example_.scored.back() == 0) {  // what follows the last scored token changes nothing
      example_.scored.pop_back();
      example_.branches[0].pop_back();
    }
    return std::move(example_);
  }

 private:
  absl::Status Flush() {
    if (text_.empty()) return absl::OkStatus();
    const bool begins = example_.prompt.empty();
    QZO_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, begins ? tokenizer_->Encode(text_, /*parse_special=*/false)
                                                                : tokenizer_->EncodeContinuation(text_, false));
    for (const int32_t id : ids) Push(id);
    text_.clear();
    return absl::OkStatus();
  }
  void Push(int32_t id) {
    if (example_.branches.empty()) {
      example_.prompt.push_back(id);
    } else {
      example_.branches[0].push_back(id);
      example_.scored.push_back(scored_ ? 1 : 0);
    }
  }

  const Tokenizer* const tokenizer_;
  std::string text_;  // not yet encoded
  bool scored_ = false;
  Example example_;
};

absl::StatusOr<ChatEncoder> ChatEncoder::Make(ChatFormat format, const Tokenizer& tokenizer) {
  ChatEncoder encoder(tokenizer, format);
  QZO_ASSIGN_OR_RETURN(encoder.blank_comes_by_itself_, AddsBlank(tokenizer));
  if (format == ChatFormat::kPlain) {
    encoder.turn_end_ = tokenizer.eos();
    return encoder;
  }
  if (format == ChatFormat::kChatMl) {
    QZO_RETURN_IF_ERROR(encoder.Resolve(ChatMlStyle()));
    return encoder;
  }
  const std::optional<std::string> chat_template = tokenizer.chat_template();
  if (!chat_template.has_value()) {
    return absl::FailedPreconditionError(
        "task.chat_format: MODEL_TEMPLATE, but the model comes without a chat template; choose CHATML or PLAIN");
  }
  QZO_ASSIGN_OR_RETURN(ChatStyle style, StyleOfTemplate(*chat_template));
  QZO_RETURN_IF_ERROR(encoder.Resolve(std::move(style)));
  return encoder;
}

absl::Status ChatEncoder::Resolve(ChatStyle style) {
  style_ = std::move(style);
  QZO_ASSIGN_OR_RETURN(begin_system_, Pieces(style_.begin_system));
  QZO_ASSIGN_OR_RETURN(end_system_, Pieces(style_.end_system));
  QZO_ASSIGN_OR_RETURN(begin_user_, Pieces(style_.begin_user));
  QZO_ASSIGN_OR_RETURN(end_user_, Pieces(style_.end_user));
  QZO_ASSIGN_OR_RETURN(begin_assistant_, Pieces(style_.begin_assistant));
  QZO_ASSIGN_OR_RETURN(end_assistant_, Pieces(style_.end_assistant));
  QZO_ASSIGN_OR_RETURN(after_assistant_, Pieces(style_.after_assistant));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ChatEncoder::Piece>> ChatEncoder::Pieces(std::string_view text) const {
  std::vector<Piece> pieces;
  const auto add_token = [&](std::string_view name, std::optional<int32_t> id) -> absl::Status {
    if (!id.has_value()) {
      return absl::FailedPreconditionError(absl::StrCat("task.chat_format: ", base::ToAbsl(style_.name),
                                                        " needs the token ", base::ToAbsl(name),
                                                        ", which the model's vocabulary does not have; use PLAIN"));
    }
    pieces.push_back({.token = id});
    text.remove_prefix(name.size());
    return absl::OkStatus();
  };
  const auto mark_at_front = [&text](const std::vector<std::string_view>& marks) {
    return std::find_if(marks.begin(), marks.end(), [&text](std::string_view mark) { return text.starts_with(mark); });
  };
  while (!text.empty()) {
    const auto mark = mark_at_front(style_.marks);
    const auto optional_mark = mark_at_front(style_.optional_marks);
    if (mark != style_.marks.end()) {
      QZO_RETURN_IF_ERROR(add_token(*mark, tokenizer_->FindToken(*mark)));
    } else if (text.starts_with("{bos}")) {
      QZO_RETURN_IF_ERROR(add_token("{bos}", tokenizer_->bos()));
    } else if (text.starts_with("{eos}")) {
      QZO_RETURN_IF_ERROR(add_token("{eos}", tokenizer_->eos()));
    } else if (optional_mark != style_.optional_marks.end() && tokenizer_->FindToken(*optional_mark).has_value()) {
      QZO_RETURN_IF_ERROR(add_token(*optional_mark, tokenizer_->FindToken(*optional_mark)));
    } else {
      if (pieces.empty() || pieces.back().token.has_value()) pieces.emplace_back();
      pieces.back().text += text[0];
      text.remove_prefix(1);
    }
  }
  return pieces;
}

absl::Status ChatEncoder::CheckTurns(const std::vector<ChatMessage>& messages) const {
  const bool has_system = messages[0].role == "system";
  if (has_system && style_.refuses_system) {
    return absl::InvalidArgumentError(
        absl::StrCat("messages[0].role: the model's format (", base::ToAbsl(style_.name), ") has no system turn"));
  }
  for (size_t i = has_system ? 1 : 0; style_.turns_alternate && i < messages.size(); ++i) {
    const std::string_view expected = (i - (has_system ? 1 : 0)) % 2 == 0 ? "user" : "assistant";
    if (messages[i].role != expected) {
      return absl::InvalidArgumentError(
          absl::StrCat("messages[", i, "].role: found ", messages[i].role, ", expected ", base::ToAbsl(expected),
                       ": turns alternate in the model's format (", base::ToAbsl(style_.name), ")"));
    }
  }
  return absl::OkStatus();
}

std::string ChatEncoder::Content(std::string_view content) const {
  if (style_.trims_contents) {
    content.remove_prefix(LeadingWhiteSpace(content));
    content.remove_suffix(TrailingWhiteSpace(content));
  }
  return std::string(content);
}

absl::StatusOr<Example> ChatEncoder::Encode(const std::vector<ChatMessage>& messages, bool inference) const {
  return format_ == ChatFormat::kPlain ? EncodePlain(messages, inference) : EncodeStyled(messages, inference);
}

absl::Status ChatEncoder::WriteAssistant(const ChatMessage& message, bool is_last, bool inference, Writer* out) const {
  if (!BlankBeginsAnswers()) QZO_RETURN_IF_ERROR(out->Write(begin_assistant_));
  if (is_last) out->Text(style_.empty_thought);
  if (!inference) QZO_RETURN_IF_ERROR(out->StartBranch());
  QZO_RETURN_IF_ERROR(out->SetScored(message.scored));
  // As in PLAIN, the blank before an answer goes with it. Such formats have one after it, too.
  if (BlankBeginsAnswers() && !blank_comes_by_itself_) out->Text(" ");
  out->Text(Content(message.content));
  if (BlankBeginsAnswers()) out->Text(" ");
  QZO_RETURN_IF_ERROR(out->Write(end_assistant_));
  QZO_RETURN_IF_ERROR(out->SetScored(false));
  return is_last ? absl::OkStatus() : out->Write(after_assistant_);
}

absl::StatusOr<Example> ChatEncoder::EncodeStyled(const std::vector<ChatMessage>& messages, bool inference) const {
  QZO_RETURN_IF_ERROR(CheckTurns(messages));
  Writer out(tokenizer_);
  const bool has_system = messages[0].role == "system";
  std::string system = has_system ? messages[0].content : style_.default_system;
  if (!style_.merges_system && (!system.empty() || !style_.system_preamble.empty())) {
    QZO_RETURN_IF_ERROR(out.Write(begin_system_));
    out.Text(absl::StrCat(style_.system_preamble, Content(system)));
    QZO_RETURN_IF_ERROR(out.Write(end_system_));
    system.clear();
  }
  for (size_t i = has_system ? 1 : 0; i < messages.size(); ++i) {
    if (messages[i].role == "assistant") {
      QZO_RETURN_IF_ERROR(WriteAssistant(messages[i], i + 1 == messages.size(), inference, &out));
      continue;
    }
    QZO_RETURN_IF_ERROR(out.Write(begin_user_));
    std::string content = Content(messages[i].content);
    if (style_.merges_system && !system.empty()) {
      const std::string merged =
          absl::StrCat(base::ToAbsl(style_.begin_system), system, base::ToAbsl(style_.end_system));
      // With a beginning of its own, the system's text is a part of the content, and they are trimmed as one.
      content = style_.begin_system.empty() ? absl::StrCat(merged, content)
                                            : Content(absl::StrCat(merged, messages[i].content));
      system.clear();
    }
    out.Text(content);
    QZO_RETURN_IF_ERROR(out.Write(end_user_));
  }
  if (inference) {
    if (!BlankBeginsAnswers()) QZO_RETURN_IF_ERROR(out.Write(begin_assistant_));
    out.Text(style_.empty_thought);
  }
  return std::move(out).Finish();
}

absl::StatusOr<Example> ChatEncoder::EncodePlain(const std::vector<ChatMessage>& messages, bool inference) const {
  Writer out(tokenizer_);
  for (size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content, scored] = messages[i];
    if (i > 0 && messages[i - 1].role == "assistant") out.Text("\n");
    if (role != "assistant") {
      out.Text(absl::StrCat(role == "user" ? "User: " : "System: ", content, "\n"));
      continue;
    }
    out.Text("Assistant:");
    if (!inference) QZO_RETURN_IF_ERROR(out.StartBranch());
    QZO_RETURN_IF_ERROR(out.SetScored(scored));
    // The blank goes with the content: byte-level BPE has words that begin with one and none that end with one.
    out.Text(absl::StrCat(blank_comes_by_itself_ ? "" : " ", content));
    if (turn_end_.has_value()) QZO_RETURN_IF_ERROR(out.Token(*turn_end_));
    QZO_RETURN_IF_ERROR(out.SetScored(false));
  }
  if (inference) {
    if (messages.back().role == "assistant") out.Text("\n");
    out.Text("Assistant:");
  }
  return std::move(out).Finish();
}

}  // namespace qzo::model
