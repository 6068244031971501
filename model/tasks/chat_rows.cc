#include "model/tasks/chat_rows.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tasks/row.h"

namespace qzo::model {
namespace {

using nlohmann::json;

// How a layout spells a list of messages.
struct Layout {
  std::string list;
  std::string role;
  std::string content;
  std::vector<std::pair<std::string, std::string>> roles;  // as spelled, as meant
  bool weights = false;
};

const Layout& OpenAi() {
  static const auto* const kLayout = new Layout{
      "messages", "role", "content", {{"system", "system"}, {"user", "user"}, {"assistant", "assistant"}}, true};
  return *kLayout;
}

const Layout& ShareGpt() {
  static const auto* const kLayout = new Layout{
      "conversations",
      "from",
      "value",
      {{"system", "system"}, {"human", "user"}, {"user", "user"}, {"gpt", "assistant"}, {"assistant", "assistant"}}};
  return *kLayout;
}

absl::StatusOr<ChatMessage> ReadMessage(const Layout& layout, const json& value, size_t index) {
  const auto error = [&](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat(layout.list, "[", index, "]", parts...));
  };
  if (!value.is_object()) {
    return error(": found ", value.type_name(), ", expected {\"", layout.role, "\", \"", layout.content, "\"}");
  }
  ChatMessage message;
  for (const auto& item : value.items()) {
    if (layout.weights && item.key() == "weight") {
      if (item.value() != 0 && item.value() != 1) return error(".weight: expected 0 or 1");
      message.scored = item.value() == 1;
      continue;
    }
    if (item.key() != layout.role && item.key() != layout.content) {
      return error(": unknown key '", Excerpt(item.key(), 60), "'; expected ", layout.role, " and ", layout.content,
                   " alone");
    }
    if (!item.value().is_string())
      return error(".", item.key(), ": found ", item.value().type_name(), ", expected a string");
    (item.key() == layout.role ? message.role : message.content) = item.value().get_ref<const std::string&>();
  }
  if (!value.contains(layout.role)) return error(" has no ", layout.role);
  const auto known = std::find_if(layout.roles.begin(), layout.roles.end(),
                                  [&](const auto& role) { return role.first == message.role; });
  if (known == layout.roles.end()) {
    std::vector<std::string> names;
    for (const auto& [spelled, meant] : layout.roles) names.push_back(spelled);
    return error(".", layout.role, ": found '", Excerpt(message.role, 60), "', expected ",
                 absl::StrJoin(names.begin(), names.end() - 1, ", "), " or ", names.back(),
                 base::DidYouMean(Excerpt(message.role, 60), names));
  }
  message.role = known->second;
  if (message.role == "system" && index > 0) return error(".", layout.role, ": a system message must be the first");
  if (value.contains("weight") && message.role != "assistant") {
    return error(": unknown key 'weight'; only an assistant's message has one");
  }
  if (!value.contains(layout.content)) return error(" has no ", layout.content);
  if (IsBlank(message.content)) return error(".", layout.content, ": empty");
  return message;
}

absl::StatusOr<std::vector<ChatMessage>> ReadList(const Layout& layout, const json& row) {
  const json& field = row[layout.list];
  if (!field.is_array()) {
    return absl::InvalidArgumentError(
        absl::StrCat("field '", layout.list, "': found ", field.type_name(), ", expected an array"));
  }
  if (field.empty()) return absl::InvalidArgumentError(absl::StrCat("field '", layout.list, "' is empty"));
  std::vector<ChatMessage> messages;
  for (const json& value : field) {
    QZO_ASSIGN_OR_RETURN(ChatMessage message, ReadMessage(layout, value, messages.size()));
    messages.push_back(std::move(message));
  }
  return messages;
}

// A text that may be missing, null or empty.
absl::StatusOr<std::string> OptionalText(const json& row, const char* name) {
  const auto field = row.find(name);
  if (field == row.end() || field->is_null()) return "";
  return FieldText(row, name);
}

absl::StatusOr<std::vector<ChatMessage>> ReadAlpaca(const json& row, bool inference) {
  std::vector<ChatMessage> messages;
  const auto add = [&](const char* role, std::string content, std::string_view name) -> absl::Status {
    if (IsBlank(content)) return absl::InvalidArgumentError(absl::StrCat("field '", base::ToAbsl(name), "' is empty"));
    messages.push_back({role, std::move(content)});
    return absl::OkStatus();
  };
  if (const json history = row.value("history", json()); !history.is_null()) {
    const auto is_turn = [](const json& turn) {
      return turn.is_array() && turn.size() == 2 && turn[0].is_string() && turn[1].is_string();
    };
    if (!history.is_array() || !std::all_of(history.begin(), history.end(), is_turn)) {
      return absl::InvalidArgumentError("field 'history': expected a list of [question, answer]");
    }
    for (const json& turn : history) {
      QZO_RETURN_IF_ERROR(add("user", turn[0].get<std::string>(), "history"));
      QZO_RETURN_IF_ERROR(add("assistant", turn[1].get<std::string>(), "history"));
    }
  }
  QZO_ASSIGN_OR_RETURN(std::string question, FieldText(row, "instruction"));
  QZO_ASSIGN_OR_RETURN(const std::string input, OptionalText(row, "input"));
  if (!IsBlank(input)) absl::StrAppend(&question, "\n\n", input);
  QZO_RETURN_IF_ERROR(add("user", std::move(question), "instruction"));
  if (inference) return messages;
  QZO_ASSIGN_OR_RETURN(std::string answer, FieldText(row, "output"));
  QZO_RETURN_IF_ERROR(add("assistant", std::move(answer), "output"));
  return messages;
}

absl::StatusOr<std::vector<ChatMessage>> ReadLayout(const json& row, bool inference) {
  if (row.contains("messages")) return ReadList(OpenAi(), row);
  const bool list = row.contains("conversations");
  if (!list && !row.contains("instruction")) {
    return absl::InvalidArgumentError(absl::StrCat(MissingField(row, "messages").message(),
                                                   ", nor 'conversations' (ShareGPT) or 'instruction' (Alpaca)"));
  }
  QZO_ASSIGN_OR_RETURN(std::vector<ChatMessage> messages,
                       list ? ReadList(ShareGpt(), row) : ReadAlpaca(row, inference));
  QZO_ASSIGN_OR_RETURN(std::string system, OptionalText(row, "system"));
  if (IsBlank(system)) return messages;
  if (messages[0].role == "system") {
    return absl::InvalidArgumentError("field 'system': the conversation has a system message, too");
  }
  messages.insert(messages.begin(), {"system", std::move(system)});
  return messages;
}

}  // namespace

absl::StatusOr<std::vector<ChatMessage>> ReadMessages(const json& row, bool inference) {
  QZO_ASSIGN_OR_RETURN(std::vector<ChatMessage> messages, ReadLayout(row, inference));
  const auto error = [](size_t index, std::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("messages[", index, "].role: ", base::ToAbsl(why)));
  };
  if (messages[0].role == "assistant") return error(0, "the first message must not be the assistant's");
  if ((messages.back().role == "assistant") == inference) {
    return error(messages.size() - 1, absl::StrCat("found ", messages.back().role,
                                                   inference ? ", but there is nothing left to answer"
                                                             : ", expected the last message to be the assistant's"));
  }
  const auto counts = [](const ChatMessage& message) { return message.role == "assistant" && message.scored; };
  if (!inference && std::none_of(messages.begin(), messages.end(), counts)) {
    return absl::InvalidArgumentError("no message of the assistant's counts: all have the weight 0");
  }
  return messages;
}

}  // namespace qzo::model
