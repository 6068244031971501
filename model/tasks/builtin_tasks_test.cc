#include "model/tasks/builtin_tasks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/byte_tokenizer.h"
#include "tests/support/status_matchers.h"

namespace qzo::model {
namespace {

using ::qzo::testing::ByteTokenizer;
using ::testing::ElementsAre;

std::string Text(const std::vector<int32_t>& ids) { return *ByteTokenizer().Decode(ids, /*show_special=*/true); }

// The prompt, then each branch in brackets, the right one with a '*'.
std::string Rendered(std::string_view name, std::string_view row) {
  const TaskSpec* spec = FindBuiltinTask(name);
  if (spec == nullptr) return "no such task";
  DatasetReport report;
  const auto data = TaskDataset::Load(*spec, ByteTokenizer(), row, "d", &report);
  if (!data.ok()) return std::string(data.status().message());
  const Example& example = data->example(0);
  std::string text = Text(example.prompt);
  for (size_t i = 0; i < example.branches.size(); ++i) {
    text += (static_cast<int32_t>(i) == example.label ? "*[" : "[") + Text(example.branches[i]) + "]";
  }
  return text;
}

// Expected texts were made with MeZO's templates.py (princeton-nlp/MeZO 552cb1b) by hand, from rows as Hugging Face's
// sets have them.
TEST(BuiltinTasks, RenderAsMeZoDoes) {
  EXPECT_EQ(Rendered("sst2", R"({"idx": 0, "sentence": "a gorgeous film ", "label": 1})"),
            "a gorgeous film It was[ terrible]*[ great]");
  EXPECT_EQ(Rendered("rte", R"({"premise": "It rains.", "hypothesis": "It is wet.", "label": 0})"),
            "It rains.\nDoes this mean that \"It is wet.\" is true? Yes or No?\n*[Yes][No]");
  EXPECT_EQ(Rendered("cb", R"({"premise": "It rains.", "hypothesis": "it is dry", "label": 1})"),
            "Suppose It rains. Can we infer that \"it is dry\"? Yes, No, or Maybe?\n[Yes]*[No][Maybe]");
  EXPECT_EQ(Rendered("boolq", R"({"passage": "Rain is wet.", "question": "is rain wet", "label": 1})"),
            "Rain is wet. Is rain wet?\n[No]*[Yes]");
  EXPECT_EQ(Rendered("copa", R"({"premise": "The dog sat. ", "choice1": "I called it.", "choice2": "It ate.", )"
                             R"("question": "cause", "label": 0})"),
            "The dog sat because*[ I called it.][ it ate.]");
  EXPECT_EQ(Rendered("copa", R"({"premise": "It rained.", "choice1": "He ran.", "choice2": "It ate.", )"
                             R"("question": "effect", "label": 0})"),
            "It rained so*[ he ran.][ it ate.]");
  EXPECT_EQ(
      Rendered("wic", R"({"word": "bank", "sentence1": "A river bank.", "sentence2": "A bank loan.", "label": 0})"),
      "Does the word \"bank\" have the same meaning in these two sentences? Yes, No?\nA river bank.\nA bank loan.\n"
      "*[No][Yes]");
  EXPECT_EQ(
      Rendered("wsc", R"({"text": "Bob ran. He fell.", "span1_text": "Bob", "span2_text": "He", "label": 1})"),
      "Bob ran. He fell.\nIn the previous sentence, does the pronoun \"he\" refer to Bob? Yes or No?\n[No]*[Yes]");
  EXPECT_EQ(Rendered("multirc", R"({"paragraph": "P.", "question": "Q?", "answer": "A", "label": 1})"),
            "P.\nQuestion: Q?\nI found this answer \"A\". Is that correct? Yes or No?\n[No]*[Yes]");
  EXPECT_EQ(Rendered("squad", R"({"title": "T", "context": "C.", "question": " Q? ", "answers": )"
                              R"({"text": ["one", "1"], "answer_start": [0, 3]}})"),
            "Title: T\nContext: C.\nQuestion: Q?\nAnswer:[ one\n]");
}

TEST(BuiltinTasks, HaveTheirOwnWordsWhereMeZoHasNone) {
  EXPECT_EQ(Rendered("trec", R"({"text": "Who was he ?", "coarse_label": 3, "fine_label": 2})"),
            "Who was he ?\nThe answer is a:[ Abbreviation][ Entity][ Description]*[ Person][ Location][ Number]");
  EXPECT_EQ(Rendered("agnews", R"({"text": "Stocks fell.", "label": 2})"),
            "Stocks fell.\nTopic:[ World][ Sports]*[ Business][ Technology]");
}

TEST(BuiltinTasks, AcceptOtherSpellingsOfLabels) {
  EXPECT_EQ(Rendered("rte", R"({"premise": "a", "hypothesis": "b", "label": "not_entailment"})"),
            "a\nDoes this mean that \"b\" is true? Yes or No?\n[Yes]*[No]");
  EXPECT_EQ(Rendered("boolq", R"({"passage": "P.", "question": "q?", "label": false})"), "P. Q?\n*[No][Yes]");
  EXPECT_EQ(Rendered("sst2", "sentence\tlabel\nfine \t1\n"), "fine It was[ terrible]*[ great]");
}

TEST(BuiltinTasks, QuestionsHaveEveryAnswer) {
  ASSERT_OK_AND_ASSIGN(
      const std::vector<Question> questions,
      LoadQuestions(*FindBuiltinTask("squad"), ByteTokenizer(),
                    R"({"title": "T", "context": "C.", "question": "Q?", "answers": {"text": ["one", "1"]}})", "d"));
  ASSERT_EQ(questions.size(), 1u);
  EXPECT_EQ(Text(questions[0].prompt), "Title: T\nContext: C.\nQuestion: Q?\nAnswer:");
  EXPECT_THAT(questions[0].references, ElementsAre("one", "1"));
}

TEST(BuiltinTasks, AreSound) {
  EXPECT_THAT(BuiltinTaskNames(),
              ElementsAre("agnews", "boolq", "cb", "copa", "multirc", "rte", "squad", "sst2", "trec", "wic", "wsc"));
  for (const std::string& name : BuiltinTaskNames()) EXPECT_OK(FindBuiltinTask(name)->Validate()) << name;
  EXPECT_EQ(FindBuiltinTask("sst"), nullptr);
}

// Begins every text with a blank of its own, as SentencePiece does.
class BlankFirstTokenizer final : public ByteTokenizer {
 public:
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool parse_special) const override {
    auto ids = ByteTokenizer::Encode(text, parse_special);
    ids->insert(ids->begin(), ' ');
    return ids;
  }
  std::optional<int32_t> FindToken(std::string_view spelling) const override {
    return spelling == "\u2581" ? ' ' : ByteTokenizer::FindToken(spelling);
  }
};

TEST(BuiltinTasks, DefaultsFollowTheTokenizer) {
  EXPECT_FALSE(DefaultsFor(ByteTokenizer()).blank_comes_by_itself);
  EXPECT_TRUE(DefaultsFor(BlankFirstTokenizer()).blank_comes_by_itself);
  EXPECT_EQ(DefaultsFor(ByteTokenizer()).chat_format, ChatFormat::kChatMl);
  EXPECT_EQ(DefaultsFor(ByteTokenizer({.has_turns = false})).chat_format, ChatFormat::kPlain);
}

}  // namespace
}  // namespace qzo::model
