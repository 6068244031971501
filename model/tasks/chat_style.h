// How families of models write conversations, and which family a model's Jinja template belongs to. Templates are not
// executed: they are recognized by the marks they write. Pure and thread-safe.
#ifndef QZO_MODEL_TASKS_CHAT_STYLE_H_
#define QZO_MODEL_TASKS_CHAT_STYLE_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace qzo::model {

// A turn is its beginning, its content and its end. Within beginnings and ends, the `marks` are tokens, and {bos} and
// {eos} are those that the vocabulary names; the rest is ordinary text.
struct ChatStyle {
  std::string_view name;
  std::vector<std::string_view> marks;           // must be in the vocabulary
  std::vector<std::string_view> optional_marks;  // ordinary text where the vocabulary has no such token
  std::string_view begin_system, end_system;
  std::string_view begin_user, end_user;
  std::string_view begin_assistant;
  std::string_view end_assistant;    // scored; one token
  std::string_view after_assistant;  // when another turn follows
  bool trims_contents = false;       // of white space at both ends
  // The system's text is no turn: with its beginning and end it stands at the beginning of the first user turn.
  bool merges_system = false;
  bool refuses_system = false;
  bool turns_alternate = false;  // user, assistant, user, …; anything else is refused
  // From the template.
  std::string system_preamble;  // before the system's text; with it, there is a system turn always
  std::string default_system;   // when a conversation has no system turn; may be empty
  std::string empty_thought;    // before the last answer and the one asked for
};

// <|im_start|>role\ncontent<|im_end|>\n
const ChatStyle& ChatMlStyle();

// FAILED_PRECONDITION when the template belongs to no family known here; names those that are.
absl::StatusOr<ChatStyle> StyleOfTemplate(std::string_view chat_template);

}  // namespace qzo::model

#endif  // QZO_MODEL_TASKS_CHAT_STYLE_H_
