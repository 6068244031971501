// TaskSpec::Validate.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/text.h"
#include "model/tasks/row.h"
#include "model/tasks/task.h"
#include "model/tasks/template.h"

namespace qzo::model {
namespace {

// Gathers violations of one spec.
class Violations {
 public:
  template <typename... Parts>
  void Add(std::string_view field, const Parts&... parts) {
    lines_.push_back(absl::StrCat("task.", base::ToAbsl(field), ": ", parts...));
  }

  // A template that must be there and read at least one field.
  void CheckTemplate(std::string_view field, const std::string& text, std::string_view forbidden_field) {
    if (text.empty()) return Add(field, "empty, expected text with {field} placeholders");
    const absl::StatusOr<Template> parsed = Template::Parse(text);
    if (!parsed.ok()) return Add(field, parsed.status().message());
    if (!parsed->HasField()) Add(field, "no {field} in it, so that every row would give the same text");
    if (!forbidden_field.empty() && parsed->HasField(forbidden_field)) {
      Add(field, "reads {", base::ToAbsl(forbidden_field), "}, which is the label");
    }
  }

  // Texts that may read fields.
  void CheckOptions(const std::vector<std::string>& options, std::string_view forbidden_field) {
    for (size_t i = 0; i < options.size(); ++i) {
      const absl::StatusOr<Template> parsed = Template::Parse(options[i]);
      if (!parsed.ok()) {
        Add("options", "[", i, "]: ", parsed.status().message());
      } else if (parsed->HasField(forbidden_field)) {
        Add("options", "[", i, "] reads {", base::ToAbsl(forbidden_field), "}, which is the label");
      }
    }
  }

  void CheckUnset(std::string_view field, bool is_set, std::string_view kind) {
    if (is_set) Add(field, "set, but a ", base::ToAbsl(kind), " task does not use it");
  }

  void CheckDistinct(std::string_view field, const std::vector<std::string>& values) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i].empty()) Add(field, "[", i, "] is empty");
      const size_t first = static_cast<size_t>(std::find(values.begin(), values.end(), values[i]) - values.begin());
      if (first < i) Add(field, "[", i, "] repeats [", first, "], '", Excerpt(values[i], 60), "'");
    }
  }

  absl::Status ToStatus() const {
    return lines_.empty() ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrJoin(lines_, "\n"));
  }

 private:
  std::vector<std::string> lines_;
};

}  // namespace

absl::Status TaskSpec::Validate() const {
  Violations v;
  switch (kind) {
    case TaskKind::kClassification:
      v.CheckTemplate("prompt", prompt, label_field);
      if (label_field.empty()) v.Add("label_field", "empty, expected the name of a field");
      v.CheckUnset("answer", !answer.empty(), "classification");
      if (options.size() < 2 || options.size() > kMaxOptions) {
        v.Add("options", "found ", options.size(), ", expected 2 to ", kMaxOptions);
      } else {
        v.CheckDistinct("options", options);
        v.CheckOptions(options, label_field);
      }
      if (!label_names.empty() && label_names.size() != options.size()) {
        v.Add("label_names", "found ", label_names.size(), ", expected none or one per option (", options.size(), ")");
      } else if (label_names.size() <= kMaxOptions) {
        v.CheckDistinct("label_names", label_names);
      }
      break;
    case TaskKind::kCompletion:
      v.CheckTemplate("prompt", prompt, "");
      v.CheckTemplate("answer", answer, "");
      v.CheckUnset("options", !options.empty(), "completion");
      v.CheckUnset("label_names", !label_names.empty(), "completion");
      break;
    case TaskKind::kChat:
      v.CheckUnset("prompt", !prompt.empty(), "chat");
      v.CheckUnset("answer", !answer.empty(), "chat");
      v.CheckUnset("options", !options.empty(), "chat");
      v.CheckUnset("label_names", !label_names.empty(), "chat");
      break;
  }
  if (kind != TaskKind::kCompletion) {
    v.CheckUnset("stop", !stop.empty(), kind == TaskKind::kChat ? "chat" : "classification");
    v.CheckUnset("references", !references.empty(), kind == TaskKind::kChat ? "chat" : "classification");
  }
  v.CheckDistinct("stop", stop);
  if (sequence_len < kMinSequenceLen || sequence_len > kMaxSequenceLen) {
    v.Add("sequence_len", "found ", sequence_len, ", expected ", kMinSequenceLen, " to ", kMaxSequenceLen);
  }
  return v.ToStatus();
}

}  // namespace qzo::model
