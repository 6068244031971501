// Conversations as token ids. Loss counts on the assistant's turns alone, their end-of-turn token included, and of
// those on the ones that are to be scored.
//
//   CHATML          <|im_start|>role\ncontent<|im_end|>\n        for every turn; <|im_end|> ends a turn
//   PLAIN           User: content\nAssistant: content<eos>\n…    <eos> where there is one; also "System: …"
//   MODEL_TEMPLATE  as the template that comes with the model (chat_style.h)
//
// Contents are ordinary text whatever they spell, so nobody can forge a turn whose marks are special tokens; PLAIN and
// the [INST] of Llama 2 have no marks to protect.
// The blank of "Assistant: " is a part of the content's first word, and the tokenizer's own where it puts one there.
#ifndef QZO_MODEL_TASKS_CHAT_H_
#define QZO_MODEL_TASKS_CHAT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tasks/chat_style.h"
#include "model/tasks/example.h"
#include "model/tasks/task.h"
#include "model/tokenizer/tokenizer.h"

namespace qzo::model {

struct ChatMessage {
  std::string role;  // "system" (first only), "user" or "assistant"
  std::string content;
  bool scored = true;  // whether an assistant's turn counts
};

// The format of jobs that name none: the model's own template, else CHATML when its vocabulary has <|im_start|>, else
// PLAIN.
ChatFormat DefaultChatFormat(const Tokenizer& tokenizer);

// Immutable; thread-safe; keeps `tokenizer`.
class ChatEncoder {
 public:
  // FAILED_PRECONDITION when the vocabulary lacks the format's tokens, or the model a template that is known.
  static absl::StatusOr<ChatEncoder> Make(ChatFormat format, const Tokenizer& tokenizer);

  // Without BOS. Training: the prompt ends with the first assistant header, the one branch is all that follows up to
  // the last scored token. Inference: the whole conversation and an assistant header are the prompt, and there is no
  // branch. INVALID_ARGUMENT when the format cannot write the turns: a system turn, or their order.
  absl::StatusOr<Example> Encode(const std::vector<ChatMessage>& messages, bool inference) const;

 private:
  // A part of a turn's beginning or end.
  struct Piece {
    std::optional<int32_t> token;
    std::string text;  // without a token
  };
  class Writer;
  ChatEncoder(const Tokenizer& tokenizer, ChatFormat format) : tokenizer_(&tokenizer), format_(format) {}
  absl::Status Resolve(ChatStyle style);
  absl::StatusOr<std::vector<Piece>> Pieces(std::string_view text) const;
  absl::Status CheckTurns(const std::vector<ChatMessage>& messages) const;
  std::string Content(std::string_view content) const;

  absl::StatusOr<Example> EncodeStyled(const std::vector<ChatMessage>& messages, bool inference) const;
  absl::Status WriteAssistant(const ChatMessage& message, bool is_last, bool inference, Writer* out) const;
  bool BlankBeginsAnswers() const { return style_.begin_assistant == " "; }  // Llama 2
  absl::StatusOr<Example> EncodePlain(const std::vector<ChatMessage>& messages, bool inference) const;

  const Tokenizer* tokenizer_;
  ChatFormat format_;
  bool blank_comes_by_itself_ = false;
  std::optional<int32_t> turn_end_;  // PLAIN: ends an assistant's turn
  ChatStyle style_;                  // the other formats, and its parts
  std::vector<Piece> begin_system_, end_system_, begin_user_, end_user_, begin_assistant_, end_assistant_,
      after_assistant_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TASKS_CHAT_H_
