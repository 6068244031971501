// Conversations as token ids. Loss counts on the assistant's turns alone, their end-of-turn token included.
//
//   CHATML   <|im_start|>role\ncontent<|im_end|>\n        for every turn; <|im_end|> ends a turn
//   PLAIN    User: content\nAssistant: content<eos>\n…    <eos> where there is one; also "System: …"
//
// Contents are ordinary text whatever they spell, so nobody can forge a CHATML turn; PLAIN has no marks to protect.
// The blank of "Assistant: " is a part of the content's first word, and the tokenizer's own where it puts one there.
#ifndef QZO_MODEL_TASKS_CHAT_H_
#define QZO_MODEL_TASKS_CHAT_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tasks/example.h"
#include "model/tasks/task.h"
#include "model/tokenizer/tokenizer.h"

namespace qzo::model {

struct ChatMessage {
  std::string role;  // "system" (first only), "user" or "assistant"
  std::string content;
};

// The row's "messages". For training the last one must be the assistant's, for inference it must not be.
// INVALID_ARGUMENT names the message and what is wrong with it: a role, an order, an empty content, a key that is
// neither role nor content.
absl::StatusOr<std::vector<ChatMessage>> ReadMessages(const nlohmann::json& row, bool inference);

// Immutable; thread-safe; keeps `tokenizer`.
class ChatEncoder {
 public:
  // FAILED_PRECONDITION when the vocabulary lacks the format's tokens.
  static absl::StatusOr<ChatEncoder> Make(ChatFormat format, const Tokenizer& tokenizer);

  // Without BOS. Training: the prompt ends with the first assistant header, the one branch is all that follows up to
  // the last scored token. Inference: the whole conversation and an assistant header are the prompt, and there is no
  // branch.
  absl::StatusOr<Example> Encode(const std::vector<ChatMessage>& messages, bool inference) const;

 private:
  ChatEncoder(const Tokenizer& tokenizer, ChatFormat format) : tokenizer_(&tokenizer), format_(format) {}
  absl::StatusOr<Example> EncodeChatMl(const std::vector<ChatMessage>& messages, bool inference) const;
  absl::StatusOr<Example> EncodePlain(const std::vector<ChatMessage>& messages, bool inference) const;

  const Tokenizer* tokenizer_;
  ChatFormat format_;
  int32_t turn_start_ = 0;              // CHATML
  std::optional<int32_t> turn_end_;     // ends an assistant's turn
  bool blank_comes_by_itself_ = false;  // PLAIN
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TASKS_CHAT_H_
