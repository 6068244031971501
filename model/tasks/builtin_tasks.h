// Tasks that need no more than a name (docs/tasks.md): those of the QZO and MeZO papers over the fields that the data
// sets have at Hugging Face, in MeZO's wording. What a user sets besides the name wins. Pure; thread-safe.
#ifndef QZO_MODEL_TASKS_BUILTIN_TASKS_H_
#define QZO_MODEL_TASKS_BUILTIN_TASKS_H_

#include <string>
#include <string_view>
#include <vector>

#include "model/tasks/task.h"

namespace qzo::model {

// nullptr for unknown names. Options and answers that follow a word begin with a blank.
const TaskSpec* FindBuiltinTask(std::string_view name);
std::vector<std::string> BuiltinTaskNames();

// What of a task depends on the model: the format of chats that name none, and whether the tokenizer puts a blank
// before every text, so that options and answers begin with none.
struct TaskDefaults {
  ChatFormat chat_format = ChatFormat::kPlain;
  bool blank_comes_by_itself = false;
};
TaskDefaults DefaultsFor(const Tokenizer& tokenizer);

}  // namespace qzo::model

#endif  // QZO_MODEL_TASKS_BUILTIN_TASKS_H_
