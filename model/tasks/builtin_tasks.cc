#include "model/tasks/builtin_tasks.h"

#include <algorithm>

#include "model/tasks/chat.h"
#include "model/tokenizer/utf8.h"

namespace qzo::model {
namespace {

struct BuiltinTask {
  std::string_view name;
  TaskSpec spec;
};

// MeZO's large_models/templates.py has all but trec and agnews, which it has for masked models only.
const std::vector<BuiltinTask>& Tasks() {
  static const auto* const kTasks = new std::vector<BuiltinTask>{
      {"agnews",
       {.prompt = "{text|strip}\nTopic:",
        .options = {" World", " Sports", " Business", " Technology"},
        .label_names = {"World", "Sports", "Business", "Sci/Tech"}}},
      {"boolq", {.prompt = "{passage} {question|end ?|capital}\n", .options = {"No", "Yes"}}},
      {"cb",
       {.prompt = "Suppose {premise} Can we infer that \"{hypothesis}\"? Yes, No, or Maybe?\n",
        .options = {"Yes", "No", "Maybe"},
        .label_names = {"entailment", "contradiction", "neutral"}}},
      {"copa",
       {.prompt = "{premise|cut .} {question|map cause=because effect=so}",
        .options = {" {choice1|uncapital}", " {choice2|uncapital}"},
        .label_names = {"choice1", "choice2"}}},
      {"multirc",
       {.prompt = "{paragraph}\nQuestion: {question}\nI found this answer \"{answer}\". Is that correct? Yes or No?\n",
        .options = {"No", "Yes"}}},
      {"rte",
       {.prompt = "{premise}\nDoes this mean that \"{hypothesis}\" is true? Yes or No?\n",
        .options = {"Yes", "No"},
        .label_names = {"entailment", "not_entailment"}}},
      {"squad",
       {.kind = TaskKind::kCompletion,
        .prompt = "Title: {title}\nContext: {context}\nQuestion: {question|strip}\nAnswer:",
        .answer = " {answers.text.0}\n",
        .stop = {"\n"},
        .references = "answers.text"}},
      {"sst2",
       {.prompt = "{sentence|strip} It was",
        .options = {" terrible", " great"},
        .label_names = {"negative", "positive"}}},
      {"trec",
       {.prompt = "{text|strip}\nThe answer is a:",
        .options = {" Abbreviation", " Entity", " Description", " Person", " Location", " Number"},
        .label_field = "coarse_label",
        .label_names = {"ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"}}},
      {"wic",
       {.prompt = "Does the word \"{word}\" have the same meaning in these two sentences? Yes, No?\n{sentence1}\n"
                  "{sentence2}\n",
        .options = {"No", "Yes"}}},
      {"wsc",
       {.prompt = "{text}\nIn the previous sentence, does the pronoun \"{span2_text|lower}\" refer to {span1_text}? "
                  "Yes or No?\n",
        .options = {"No", "Yes"}}},
  };
  return *kTasks;
}

}  // namespace

const TaskSpec* FindBuiltinTask(std::string_view name) {
  const auto& tasks = Tasks();
  const auto found = std::find_if(tasks.begin(), tasks.end(), [name](const auto& task) { return task.name == name; });
  return found == tasks.end() ? nullptr : &found->spec;
}

std::vector<std::string> BuiltinTaskNames() {
  std::vector<std::string> names;
  for (const BuiltinTask& task : Tasks()) names.emplace_back(task.name);
  return names;
}

TaskDefaults DefaultsFor(const Tokenizer& tokenizer) {
  TaskDefaults defaults{.chat_format = DefaultChatFormat(tokenizer), .blank_comes_by_itself = false};
  const absl::StatusOr<std::vector<int32_t>> ids = tokenizer.Encode("a", /*parse_special=*/false);
  if (!ids.ok() || ids->empty()) return defaults;
  const std::string blank(kBlankMark);
  defaults.blank_comes_by_itself =
      (*ids)[0] == tokenizer.FindToken(blank + "a") || (*ids)[0] == tokenizer.FindToken(blank);
  return defaults;
}

}  // namespace qzo::model
