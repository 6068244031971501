// Rows of a dataset as conversations, in the layouts that people have them in; the first of these keys says which:
//
//   OpenAI     {"messages": [{"role": "system" | "user" | "assistant", "content"}, …]}; an assistant's may have
//   "weight": 0, and
//              does not count then
//   ShareGPT   {"conversations": [{"from": "system" | "human" | "user" | "gpt" | "assistant", "value"}, …], "system"}
//   Alpaca     {"instruction", "input", "output", "system", "history": [[question, answer], …]}: all but the first and,
//   for
//              training, the output may be missing or empty; an input follows the instruction after an empty line
//
// Pure; thread-safe.
#ifndef QZO_MODEL_TASKS_CHAT_ROWS_H_
#define QZO_MODEL_TASKS_CHAT_ROWS_H_

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tasks/chat.h"

namespace qzo::model {

// For training the last message is the assistant's, and one of them counts; for inference the last one is not the
// assistant's, and Alpaca's output is passed over. INVALID_ARGUMENT names the message and what is wrong with it: a
// role, an order, an empty content, an unknown key.
absl::StatusOr<std::vector<ChatMessage>> ReadMessages(const nlohmann::json& row, bool inference);

}  // namespace qzo::model

#endif  // QZO_MODEL_TASKS_CHAT_ROWS_H_
