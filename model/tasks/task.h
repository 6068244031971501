// Tasks: from rows of a dataset to examples, with every defect of a row reported where it stands. Pure; thread-safe.
#ifndef QZO_MODEL_TASKS_TASK_H_
#define QZO_MODEL_TASKS_TASK_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/tasks/example.h"
#include "model/tokenizer/tokenizer.h"

namespace qzo::model {

enum class TaskKind : uint8_t { kClassification, kCompletion, kChat };
enum class ChatFormat : uint8_t { kChatMl, kPlain, kModelTemplate };

inline constexpr size_t kMaxOptions = 256;
inline constexpr int32_t kMinSequenceLen = 4;
inline constexpr int32_t kMaxSequenceLen = 1 << 20;

// Placeholders of `prompt`, `options` and `answer` are {field}, where field is a key of the row, or a path of keys and
// indices ("answers.text.0"), whose value is a string or a number; filters may follow (filter.h); "{{" and "}}" are
// literal braces. A template's own "<|mark|>" is a special token where the vocabulary has it; what a row holds is
// always ordinary text.
//
// The prompt and what follows it are tokenized separately and joined without a separator. The blank between them
// belongs at the start of the option or answer, since byte-level BPE has words that begin with one; a SentencePiece
// tokenizer puts one there itself, so that none is to be written. Nothing is added to a template or stripped from it.
//
// Completion: the vocabulary's EOS, if any, ends the answer and is scored, unless `answer` ends with one of `stop`.
// Chat: see chat.h.
struct TaskSpec {
  TaskKind kind = TaskKind::kClassification;
  std::string prompt;                // classification, completion
  std::vector<std::string> options;  // classification: the text after the prompt, in label order (" no", " yes")
  // Classification: an option's index, one of label_names or, with two options, true for the second one.
  std::string label_field = "label";
  std::vector<std::string> label_names;  // empty, or one per option: spellings found in label_field
  std::string answer;                    // completion
  std::vector<std::string> stop = {};    // completion: texts that end a written answer
  std::string references = {};           // completion: field with the texts that are right; "": the answer alone
  ChatFormat chat_format = ChatFormat::kChatMl;  // chat: rows as chat_rows.h reads them
  // Longest example in tokens. Of a longer conversation the last turns go, as long as an answer is left; then a prompt
  // loses tokens on the left (BOS stays). Both are counted in the report. An answer that does not fit with at least one
  // prompt token (besides BOS) is an error of its row.
  int32_t sequence_len = 512;

  // All violations at once, as "task.field: found, expected" lines. INVALID_ARGUMENT.
  absl::Status Validate() const;
};

// One defect of a dataset. Lines and columns count from 1, columns in bytes; 0 = unknown.
struct RowError {
  int64_t line = 0;
  int64_t column = 0;
  std::string reason;
};

// What a validated dataset looks like.
struct DatasetReport {
  int64_t rows = 0;                   // bad ones included; all that follows is of the good ones
  int64_t errors_total = 0;           // bad rows: one error each
  std::vector<RowError> errors;       // the first 20
  std::vector<int64_t> label_counts;  // classification: one per option
  int64_t tokens = 0;                 // that a forward pass over all rows reads, prompts counted once
  int64_t scored = 0;                 // tokens among them whose log-probability is wanted
  int64_t branches = 0;               // whose last tokens a forward pass does not read
  int64_t truncated_rows = 0;         // that lost tokens
  int64_t shortened_chats = 0;        // of those, that lost turns at their end
  int64_t lost_tokens = 0;            // of all of them
  int32_t longest = 0;                // tokens of the longest example before truncation
  // Examples by length before truncation: bucket i holds lengths in [2^i, 2^(i+1)), the last one all that are longer.
  std::array<int64_t, 20> length_histogram{};
};

// The rows of a dataset as a task sees them. Immutable after loading.
class TaskDataset {
 public:
  // Parses and tokenizes the rows of a file (row_reader.h). With any bad row the result is INVALID_ARGUMENT whose
  // message lists the first ones, and `report` (never null) holds the rest. An empty dataset is an error. `name` is
  // what messages call the file. FAILED_PRECONDITION: see MakeInferenceExample.
  static absl::StatusOr<TaskDataset> Load(const TaskSpec& spec, const Tokenizer& tokenizer, std::string_view bytes,
                                          std::string_view name, DatasetReport* report);

  int64_t size() const { return static_cast<int64_t>(examples_.size()); }
  const Example& example(int64_t row) const { return examples_[static_cast<size_t>(row)]; }
  // Classification: rows of each label, ascending; otherwise one list of all rows.
  const std::vector<std::vector<int32_t>>& rows_by_label() const { return rows_by_label_; }

 private:
  std::vector<Example> examples_;
  std::vector<std::vector<int32_t>> rows_by_label_;
};

// The example of one row without its label or answer (inference). `row_json` is one JSON object. Completion and chat
// give the prompt alone, without a branch, cut so that sequence_len leaves room for one token at least; a chat row ends
// with the turn to be answered. Possible errors: INVALID_ARGUMENT; FAILED_PRECONDITION when the vocabulary lacks
// chat_format's tokens.
absl::StatusOr<Example> MakeInferenceExample(const TaskSpec& spec, const Tokenizer& tokenizer,
                                             std::string_view row_json);

// A completion row as an evaluation of written answers needs it.
struct Question {
  std::vector<int32_t> prompt;
  std::vector<std::string> references;  // the texts that are right, at least one
};

// Of every row of a completion dataset, with the errors of TaskDataset::Load. References are the texts of
// spec.references, else the row's answer without the stop text that ends it.
absl::StatusOr<std::vector<Question>> LoadQuestions(const TaskSpec& spec, const Tokenizer& tokenizer,
                                                    std::string_view bytes, std::string_view name);

}  // namespace qzo::model

#endif  // QZO_MODEL_TASKS_TASK_H_
