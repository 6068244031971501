#include "model/tasks/chat_style.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace qzo::model {
namespace {

struct Family {
  ChatStyle style;
  // All of `written` and none of `foreign` stand in the family's templates.
  std::vector<std::string_view> written;
  std::vector<std::string_view> foreign;
};

// The first that fits counts.
const std::vector<Family>& Families() {
  static const auto* const kFamilies = new std::vector<Family>{
      {.style = {.name = "ChatML",
                 .marks = {"<|im_start|>", "<|im_end|>"},
                 .begin_system = "<|im_start|>system\n",
                 .end_system = "<|im_end|>\n",
                 .begin_user = "<|im_start|>user\n",
                 .end_user = "<|im_end|>\n",
                 .begin_assistant = "<|im_start|>assistant\n",
                 .end_assistant = "<|im_end|>",
                 .after_assistant = "\n"},
       .written = {"<|im_start|>", "<|im_end|>"},
       .foreign = {"<|im_sep|>"}},
      {.style = {.name = "Llama 3",
                 .marks = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
                 .begin_system = "<|start_header_id|>system<|end_header_id|>\n\n",
                 .end_system = "<|eot_id|>",
                 .begin_user = "<|start_header_id|>user<|end_header_id|>\n\n",
                 .end_user = "<|eot_id|>",
                 .begin_assistant = "<|start_header_id|>assistant<|end_header_id|>\n\n",
                 .end_assistant = "<|eot_id|>",
                 .trims_contents = true},
       .written = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}},
      {.style = {.name = "Gemma",
                 .marks = {"<start_of_turn>", "<end_of_turn>"},
                 .end_system = "\n\n",
                 .begin_user = "<start_of_turn>user\n",
                 .end_user = "<end_of_turn>\n",
                 .begin_assistant = "<start_of_turn>model\n",
                 .end_assistant = "<end_of_turn>",
                 .after_assistant = "\n",
                 .trims_contents = true,
                 .merges_system = true,
                 .turns_alternate = true},
       .written = {"<start_of_turn>", "<end_of_turn>", "model"}},
      {.style = {.name = "Phi 3",
                 .marks = {"<|user|>", "<|assistant|>", "<|end|>"},
                 .optional_marks = {"<|system|>"},
                 .begin_system = "<|system|>\n",
                 .end_system = "<|end|>\n",
                 .begin_user = "<|user|>\n",
                 .end_user = "<|end|>\n",
                 .begin_assistant = "<|assistant|>\n",
                 .end_assistant = "<|end|>",
                 .after_assistant = "\n"},
       .written = {"<|user|>", "<|assistant|>", "<|end|>"}},
      {.style = {.name = "Zephyr",
                 .optional_marks = {"<|system|>", "<|user|>", "<|assistant|>"},
                 .begin_system = "<|system|>\n",
                 .end_system = "{eos}\n",
                 .begin_user = "<|user|>\n",
                 .end_user = "{eos}\n",
                 .begin_assistant = "<|assistant|>\n",
                 .end_assistant = "{eos}",
                 .after_assistant = "\n"},
       .written = {"<|system|>", "<|user|>", "<|assistant|>", "eos_token"},
       .foreign = {"<|endoftext|>"}},
      {.style = {.name = "Llama 2",
                 .optional_marks = {"[INST]", "[/INST]"},
                 .begin_system = "<<SYS>>\n",
                 .end_system = "\n<</SYS>>\n\n",
                 .begin_user = "[INST] ",
                 .end_user = " [/INST]",
                 .begin_assistant = " ",
                 .end_assistant = "{eos}",
                 .after_assistant = "{bos}",
                 .trims_contents = true,
                 .merges_system = true,
                 .turns_alternate = true},
       .written = {"[INST]", "[/INST]", "<<SYS>>", "bos_token", "eos_token"}},
      {.style = {.name = "Mistral",
                 .optional_marks = {"[INST]", "[/INST]"},
                 .begin_user = "[INST] ",
                 .end_user = " [/INST]",
                 .end_assistant = "{eos}",
                 .refuses_system = true,
                 .turns_alternate = true},
       .written = {"'[INST] ' + message['content'] + ' [/INST]'", "message['content'] + eos_token"},
       .foreign = {"[AVAILABLE_TOOLS]", "system_message"}},
  };
  return *kFamilies;
}

bool Contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

bool Fits(const Family& family, std::string_view text) {
  const auto in_text = [text](std::string_view part) { return Contains(text, part); };
  return std::all_of(family.written.begin(), family.written.end(), in_text) &&
         std::none_of(family.foreign.begin(), family.foreign.end(), in_text);
}

// A template that writes a system turn of its own has it as one string: '<|im_start|>system\nYou are …<|im_end|>'.
std::string DefaultSystem(std::string_view text) {
  constexpr std::string_view kBegin = "<|im_start|>system";
  for (size_t at = text.find(kBegin); at != std::string_view::npos; at = text.find(kBegin, at + 1)) {
    std::string_view rest = text.substr(at + kBegin.size());
    if (rest.starts_with("\\n")) {
      rest.remove_prefix(2);
    } else if (rest.starts_with("\n")) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    const std::string_view content = rest.substr(0, rest.find("<|im_end|>"));
    if (content.size() == rest.size() || content.find_first_of("'\"{}") != std::string_view::npos) continue;
    return absl::StrReplaceAll(std::string(content), {{"\\n", "\n"}});
  }
  return "";
}

}  // namespace

const ChatStyle& ChatMlStyle() { return Families()[0].style; }

absl::StatusOr<ChatStyle> StyleOfTemplate(std::string_view chat_template) {
  const auto family = std::find_if(Families().begin(), Families().end(),
                                   [&](const Family& candidate) { return Fits(candidate, chat_template); });
  if (family == Families().end()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "task.chat_format: the model's chat template is of no family known here (",
        absl::StrJoin(Families(), ", ", [](std::string* out, const Family& known) { out->append(known.style.name); }),
        "); choose CHATML or PLAIN"));
  }
  ChatStyle style = family->style;
  if (style.name == "ChatML") {
    style.default_system = DefaultSystem(chat_template);
    // Qwen 3 puts an empty thought where none is wanted.
    if (Contains(chat_template, "enable_thinking")) style.empty_thought = "<think>\n\n</think>\n\n";
  }
  // Llama 3.1 and later. The date is the one their templates fall back on: rows must not depend on the day.
  if (style.name == "Llama 3" && Contains(chat_template, "Cutting Knowledge Date: December 2023"))
    style.system_preamble = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n";
  if (style.name == "Mistral" && Contains(chat_template, "eos_token + ' '")) style.after_assistant = " ";
  if (style.name == "Gemma") style.refuses_system = Contains(chat_template, "System role not supported");
  return style;
}

}  // namespace qzo::model
