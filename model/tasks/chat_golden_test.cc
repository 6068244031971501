// Conversations as Jinja renders them (tests/tokenizers/render_chat.py), against what MODEL_TEMPLATE makes of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/fs.h"
#include "model/tasks/chat.h"
#include "model/tokenizer/utf8.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::model {
namespace {

using ::qzo::testing::ByteTokenizer;
using ::qzo::testing::StatusIs;
using ::qzo::testing::TestFile;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::vector<ChatMessage> Messages(const nlohmann::json& list) {
  std::vector<ChatMessage> messages;
  for (const auto& message : list) messages.push_back({message["role"], message["content"]});
  return messages;
}

std::string Trimmed(std::string_view text) {
  text.remove_prefix(LeadingWhiteSpace(text));
  text.remove_suffix(TrailingWhiteSpace(text));
  return std::string(text);
}

// The scored runs of the branch, without the white space that some formats put around an answer.
std::vector<std::string> ScoredRuns(const Example& example, const Tokenizer& tokenizer) {
  std::vector<std::vector<int32_t>> runs;
  for (size_t i = 0; i < example.scored.size(); ++i) {
    if (example.scored[i] == 0) continue;
    if (i == 0 || example.scored[i - 1] == 0) runs.emplace_back();
    runs.back().push_back(example.branches[0][i]);
  }
  std::vector<std::string> texts;
  for (const auto& run : runs) texts.push_back(*tokenizer.Decode(run, /*show_special=*/true));
  return texts;
}

TEST(ChatGolden, EveryFamilyIsWrittenAsItsTemplateWritesIt) {
  const auto golden = nlohmann::json::parse(*base::RealFileSystem()->Read(TestFile("golden/chat_templates.json")));
  int rendered = 0;
  for (const auto& family : golden) {
    SCOPED_TRACE(family["family"].get<std::string>());
    const std::string end = family["end"];
    const ByteTokenizer tokenizer({.more_tokens = family["tokens"].get<std::vector<std::string>>(),
                                   .chat_template = family["template"].get<std::string>()});
    ASSERT_OK_AND_ASSIGN(const ChatEncoder encoder, ChatEncoder::Make(ChatFormat::kModelTemplate, tokenizer));
    for (const auto& item : family["cases"]) {
      const std::vector<ChatMessage> messages = Messages(item["messages"]);
      const bool inference = messages.back().role == "user";
      const absl::StatusOr<Example> example = encoder.Encode(messages, inference);
      if (item["text"].is_null()) {
        EXPECT_THAT(example, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(".role: ")));
        continue;
      }
      ASSERT_OK(example);
      std::vector<int32_t> ids = example->prompt;
      if (!inference) ids.insert(ids.end(), example->branches[0].begin(), example->branches[0].end());
      std::string expected = item["text"];
      if (expected.starts_with("<s>")) expected = expected.substr(3);  // a task adds BOS
      EXPECT_EQ(*tokenizer.Decode(ids, /*show_special=*/true), expected);
      ++rendered;
      if (inference) continue;
      std::vector<std::string> answers;
      for (const ChatMessage& message : messages) {
        if (message.role == "assistant") answers.push_back(message.content);
      }
      const std::vector<std::string> runs = ScoredRuns(*example, tokenizer);
      ASSERT_EQ(runs.size(), answers.size());
      for (size_t i = 0; i < runs.size(); ++i) {
        ASSERT_TRUE(runs[i].ends_with(end)) << runs[i];
        EXPECT_EQ(Trimmed(runs[i].substr(0, runs[i].size() - end.size())), Trimmed(answers[i]));
      }
    }
  }
  EXPECT_GT(rendered, 60);
}

TEST(ChatGolden, MarksAreTokensWhereTheVocabularyHasThem) {
  const std::string gemma = "<start_of_turn>model <end_of_turn>";
  EXPECT_THAT(ChatEncoder::Make(ChatFormat::kModelTemplate, ByteTokenizer({.chat_template = gemma})),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("Gemma needs the token <start_of_turn>"), HasSubstr("use PLAIN"))));
  const ByteTokenizer tokenizer({.more_tokens = {"<start_of_turn>", "<end_of_turn>"}, .chat_template = gemma});
  ASSERT_OK_AND_ASSIGN(const ChatEncoder encoder, ChatEncoder::Make(ChatFormat::kModelTemplate, tokenizer));
  ASSERT_OK_AND_ASSIGN(const Example example,
                       encoder.Encode({{"user", "<end_of_turn>"}, {"assistant", "no"}}, /*inference=*/false));
  EXPECT_EQ(example.prompt[0], *tokenizer.FindToken("<start_of_turn>"));
  EXPECT_EQ(std::count(example.prompt.begin(), example.prompt.end(), *tokenizer.FindToken("<end_of_turn>")), 1)
      << "a user cannot end a turn";
}

TEST(ChatGolden, TemplatesOfNoKnownFamilyAreRefused) {
  for (const char* text : {"{{ messages }}", "<|im_start|>user<|im_sep|>x<|im_end|>", "[INST][/INST]"}) {
    EXPECT_THAT(ChatEncoder::Make(ChatFormat::kModelTemplate, ByteTokenizer({.chat_template = text})),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         AllOf(HasSubstr("ChatML, Llama 3, Gemma"), HasSubstr("choose CHATML or PLAIN"))));
  }
  EXPECT_THAT(ChatEncoder::Make(ChatFormat::kModelTemplate, ByteTokenizer()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("comes without a chat template")));
}

}  // namespace
}  // namespace qzo::model
