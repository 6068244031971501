#include "model/tasks/chat_rows.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"

namespace qzo::model {
namespace {

using ::nlohmann::json;
using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;

// "user: Hi | assistant: Hello", with a '-' before what does not count.
std::string Read(const std::string& row, bool inference = false) {
  const auto messages = ReadMessages(json::parse(row), inference);
  if (!messages.ok()) return std::string(messages.status().message());
  std::string text;
  for (const ChatMessage& message : *messages) {
    absl::StrAppend(&text, text.empty() ? "" : " | ", message.scored ? "" : "-", message.role, ": ", message.content);
  }
  return text;
}

TEST(ChatMessages, ReadsRolesAndContents) {
  const auto row = nlohmann::json::parse(
      R"({"id": 7, "messages": [{"role": "user", "content": "Hi"}, {"content": "Hello", "role": "assistant"}]})");
  ASSERT_OK_AND_ASSIGN(const std::vector<ChatMessage> messages, ReadMessages(row, /*inference=*/false));
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages[0].role, "user");
  EXPECT_EQ(messages[1].content, "Hello");
}

TEST(ChatMessages, EveryDefectIsNamed) {
  const auto expect_error = [](const std::string& messages, const std::string& message) {
    const auto row = nlohmann::json::parse("{\"messages\": " + messages + "}");
    EXPECT_THAT(ReadMessages(row, /*inference=*/false),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)))
        << messages;
  };
  const std::string user = R"({"role": "user", "content": "Hi"})";
  expect_error("3", "field 'messages': found number, expected an array");
  expect_error("[]", "field 'messages' is empty");
  expect_error("[\"Hi\"]", "messages[0]: found string");
  expect_error(R"([{"content": "Hi"}])", "messages[0] has no role");
  expect_error(R"([{"role": "user"}])", "messages[0] has no content");
  expect_error(R"([{"role": "user", "content": null}])", "messages[0].content: found null, expected a string");
  expect_error(R"([{"role": "user", "content": " \n"}])", "messages[0].content: empty");
  expect_error(R"([{"role": "usr", "content": "Hi"}])",
               "found 'usr', expected system, user or assistant (did you mean");
  expect_error(R"([{"role": "user", "content": "Hi", "weight": 0}])", "messages[0]: unknown key 'weight'");
  expect_error(R"([{"role": "assistant", "content": "Hi"}])", "the first message must not be the assistant's");
  expect_error("[" + user + R"(, {"role": "system", "content": "x"}])",
               "messages[1].role: a system message must be the first");
  expect_error("[" + user + "]", "messages[0].role: found user, expected the last message to be the assistant's");
  EXPECT_THAT(ReadMessages(nlohmann::json::parse(R"({"message": []})"), false),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("did you mean 'message'?")));
}

TEST(ChatMessages, InferenceEndsWithTheTurnToAnswer) {
  const auto answered = nlohmann::json::parse(
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})");
  EXPECT_THAT(ReadMessages(answered, /*inference=*/true),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nothing left to answer")));
  EXPECT_OK(ReadMessages(nlohmann::json::parse(R"({"messages": [{"role": "user", "content": "a"}]})"), true));
}

TEST(ChatMessages, AnAssistantsMessageMayNotCount) {
  EXPECT_EQ(Read(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0},
                                  {"role": "user", "content": "c"}, {"role": "assistant", "content": "d", "weight": 1}]})"),
            "user: a | -assistant: b | user: c | assistant: d");
  EXPECT_EQ(
      Read(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]})"),
      "no message of the assistant's counts: all have the weight 0");
  EXPECT_EQ(
      Read(R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 2}]})"),
      "messages[1].weight: expected 0 or 1");
}

TEST(ChatMessages, ReadsShareGpt) {
  EXPECT_EQ(Read(R"({"id": "x", "system": "s", "conversations": [{"from": "human", "value": "a"},
                     {"from": "gpt", "value": "b"}, {"from": "user", "value": "c"}, {"from": "assistant", "value": "d"}]})"),
            "system: s | user: a | assistant: b | user: c | assistant: d");
  EXPECT_EQ(Read(R"({"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "a"}]})", true),
            "system: s | user: a");
  EXPECT_EQ(Read(R"({"conversations": [{"from": "human", "value": "a"}, {"from": "bot", "value": "b"}]})"),
            "conversations[1].from: found 'bot', expected system, human, user, gpt or assistant (did you mean 'gpt'?)");
  EXPECT_EQ(
      Read(R"({"system": "s", "conversations": [{"from": "system", "value": "t"}, {"from": "gpt", "value": "b"}]})"),
      "field 'system': the conversation has a system message, too");
}

TEST(ChatMessages, ReadsAlpaca) {
  EXPECT_EQ(Read(R"({"instruction": "Add.", "input": "1 2", "output": "3", "source": "me"})"),
            "user: Add.\n\n1 2 | assistant: 3");
  EXPECT_EQ(Read(R"({"instruction": "Hi", "input": "", "output": "Hello", "system": null})"),
            "user: Hi | assistant: Hello");
  EXPECT_EQ(Read(R"({"instruction": "c", "output": "d", "system": "s", "history": [["a", "b"]]})"),
            "system: s | user: a | assistant: b | user: c | assistant: d");
  EXPECT_EQ(Read(R"({"instruction": "Hi", "output": "Hello"})", /*inference=*/true), "user: Hi");
  EXPECT_EQ(Read(R"({"instruction": "Hi", "output": ""})"), "field 'output' is empty");
  EXPECT_EQ(Read(R"({"instruction": "Hi", "output": "x", "history": [["a"]]})"),
            "field 'history': expected a list of [question, answer]");
  EXPECT_THAT(Read(R"({"instruction": "Hi"})"), HasSubstr("row has no field 'output'"));
}

TEST(ChatMessages, UnknownLayoutsAreRefused) {
  EXPECT_EQ(Read(R"({"text": "a"})"),
            "row has no field 'messages', nor 'conversations' (ShareGPT) or 'instruction' (Alpaca)");
}

}  // namespace
}  // namespace qzo::model
