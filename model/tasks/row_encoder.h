// A task made ready for many rows: templates parsed, options tokenized, special tokens looked up. Immutable;
// thread-safe; keeps its spec and tokenizer.
#ifndef QZO_MODEL_TASKS_ROW_ENCODER_H_
#define QZO_MODEL_TASKS_ROW_ENCODER_H_

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/tasks/chat.h"
#include "model/tasks/task.h"
#include "model/tasks/template.h"

namespace qzo::model {

// An example with what the report says about it.
struct EncodedRow {
  Example example;
  int64_t full_length = 0;  // before truncation: BOS, prompt and longest branch
  int64_t lost_tokens = 0;
  bool lost_turns = false;
};

class RowEncoder {
 public:
  // Possible errors: those of TaskSpec::Validate; FAILED_PRECONDITION when the vocabulary lacks chat_format's tokens.
  static absl::StatusOr<RowEncoder> Make(const TaskSpec& spec, const Tokenizer& tokenizer);

  // INVALID_ARGUMENT says what is wrong with the row.
  absl::StatusOr<EncodedRow> Encode(const nlohmann::json& row, bool inference) const;
  // See LoadQuestions.
  absl::StatusOr<std::vector<std::string>> References(const nlohmann::json& row) const;

 private:
  RowEncoder(const TaskSpec& spec, const Tokenizer& tokenizer);

  absl::Status ParseOptions();
  absl::StatusOr<std::vector<std::vector<int32_t>>> EncodeOptions(const nlohmann::json& row) const;
  // Tokens of a template filled from `row`; `name` is what errors call it.
  absl::StatusOr<std::vector<int32_t>> Render(const Template& text, const nlohmann::json& row,
                                              std::string_view name) const;
  absl::StatusOr<int32_t> Label(const nlohmann::json& row) const;
  absl::StatusOr<EncodedRow> EncodeChat(const nlohmann::json& row, bool inference) const;
  // Puts BOS first and cuts the prompt on the left so that the longest branch, of `branch_len` tokens, fits.
  absl::StatusOr<EncodedRow> Fit(Example example, size_t branch_len) const;
  // Prompt tokens that fit before a branch of `branch_len`, BOS not counted; < 1 when the branch is too long.
  int64_t Room(size_t branch_len) const {
    return spec_.sequence_len - static_cast<int64_t>(branch_len) - (bos_.has_value() ? 1 : 0);
  }

  const TaskSpec& spec_;
  const Tokenizer& tokenizer_;
  std::optional<int32_t> bos_;
  Template prompt_;
  Template answer_;
  bool stops_ = false;                         // the answer ends with one of the spec's stop texts
  std::vector<Template> option_templates_;     // where they differ from row to row
  std::vector<std::vector<int32_t>> options_;  // else
  std::optional<ChatEncoder> chat_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_TASKS_ROW_ENCODER_H_
