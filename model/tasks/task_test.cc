#include "model/tasks/task.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/fs.h"
#include "base/text.h"
#include "tests/support/byte_tokenizer.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::model {
namespace {

using ::qzo::testing::ByteTokenizer;
using ::qzo::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TaskSpec Classification() {
  TaskSpec spec;
  spec.prompt = "T: {text} A:";
  spec.options = {" no", " yes!"};
  return spec;
}

TaskSpec Completion() {
  TaskSpec spec;
  spec.kind = TaskKind::kCompletion;
  spec.prompt = "{q}=";
  spec.answer = "{a}";
  return spec;
}

TaskSpec Chat() {
  TaskSpec spec;
  spec.kind = TaskKind::kChat;
  return spec;
}

std::string Text(const std::vector<int32_t>& ids) { return *ByteTokenizer().Decode(ids, /*show_special=*/true); }

absl::StatusOr<TaskDataset> Load(const TaskSpec& spec, std::string_view jsonl, DatasetReport* report = nullptr,
                                 const ByteTokenizer& tokenizer = ByteTokenizer()) {
  DatasetReport unread;
  return TaskDataset::Load(spec, tokenizer, jsonl, "d.jsonl", report == nullptr ? &unread : report);
}

// The one error of a dataset whose second line is `row`, as "column: reason".
std::string ErrorOf(const TaskSpec& spec, const std::string& row) {
  const std::string good =
      spec.kind == TaskKind::kClassification ? R"({"text":"a","label":0})" : R"({"q":"a","a":"b"})";
  DatasetReport report;
  const auto dataset = Load(spec, absl::StrCat(good, "\n", row, "\n", good, "\n"), &report);
  EXPECT_THAT(dataset, StatusIs(kInvalid, HasSubstr("d.jsonl: 1 of 3 rows are bad\nd.jsonl:2")));
  EXPECT_EQ(report.errors_total, 1);
  if (report.errors.size() != 1) return "no single error";
  EXPECT_EQ(report.errors[0].line, 2);
  return absl::StrCat(report.errors[0].column, ": ", report.errors[0].reason);
}

TEST(Classification, EachOptionIsABranchAfterThePrompt) {
  ASSERT_OK_AND_ASSIGN(
      const TaskDataset data,
      Load(Classification(), "{\"text\":\"good\",\"label\":1}\n{\"label\":0,\"text\":\"bad\",\"id\":[3]}\n"));
  ASSERT_EQ(data.size(), 2);
  EXPECT_EQ(Text(data.example(0).prompt), "T: good A:");
  ASSERT_EQ(data.example(0).branches.size(), 2u);
  EXPECT_EQ(Text(data.example(0).branches[0]), " no");
  EXPECT_EQ(Text(data.example(0).branches[1]), " yes!");
  EXPECT_EQ(data.example(0).label, 1);
  EXPECT_TRUE(data.example(0).scored.empty());
  EXPECT_EQ(data.example(1).label, 0);
}

TEST(Classification, RowsAreListedByLabel) {
  DatasetReport report;
  ASSERT_OK_AND_ASSIGN(
      const TaskDataset data,
      Load(Classification(), "{\"text\":\"a\",\"label\":1}\n{\"text\":\"b\",\"label\":0}\n{\"text\":\"c\",\"label\":1}",
           &report));
  EXPECT_THAT(data.rows_by_label(), ElementsAre(ElementsAre(1), ElementsAre(0, 2)));
  EXPECT_THAT(report.label_counts, ElementsAre(1, 2));
}

TEST(Classification, LabelsMayBeNamed) {
  TaskSpec spec = Classification();
  spec.label_field = "class";
  spec.label_names = {"ham", "spam"};
  ASSERT_OK_AND_ASSIGN(const TaskDataset data,
                       Load(spec, "{\"text\":\"a\",\"class\":\"spam\"}\n{\"text\":\"b\",\"class\":0}"));
  EXPECT_EQ(data.example(0).label, 1);
  EXPECT_EQ(data.example(1).label, 0);
}

TEST(Classification, UnknownLabelsAreNamed) {
  TaskSpec spec = Classification();
  const auto row = [](std::string_view label) {
    return absl::StrCat("{\"text\":\"a\",\"label\":", absl::string_view(label.data(), label.size()), "}");
  };
  EXPECT_EQ(ErrorOf(spec, row("2")), "0: field 'label': found 2, expected an integer from 0 to 1");
  EXPECT_EQ(ErrorOf(spec, row("-1")), "0: field 'label': found -1, expected an integer from 0 to 1");
  EXPECT_EQ(ErrorOf(spec, row("18446744073709551615")),
            "0: field 'label': found 18446744073709551615, expected an integer from 0 to 1");
  EXPECT_EQ(ErrorOf(spec, row("null")), "0: field 'label': found null, expected an integer from 0 to 1");
  EXPECT_EQ(ErrorOf(spec, row("1.0")), "0: field 'label': found number, expected an integer from 0 to 1");
  EXPECT_EQ(ErrorOf(spec, row("\"1\"")), "0: field 'label': found '1', expected an integer from 0 to 1");
  spec.label_names = {"ham", "spam"};
  EXPECT_EQ(
      ErrorOf(spec, row("\"spem\"")),
      "0: field 'label': found 'spem', expected an integer from 0 to 1 or one of ham, spam (did you mean 'spam'?)");
}

TEST(Classification, TrueIsTheSecondOfTwoOptions) {
  ASSERT_OK_AND_ASSIGN(const TaskDataset data,
                       Load(Classification(), "{\"text\":\"a\",\"label\":true}\n{\"text\":\"a\",\"label\":false}"));
  EXPECT_EQ(data.example(0).label, 1);
  EXPECT_EQ(data.example(1).label, 0);
  TaskSpec three = Classification();
  three.options.emplace_back(" maybe");
  EXPECT_EQ(ErrorOf(three, R"({"text":"a","label":true})"),
            "0: field 'label': found boolean, expected an integer from 0 to 2");
}

TEST(Classification, OptionsMayReadTheRow) {
  TaskSpec spec = Classification();
  spec.options = {" {choices.0}", " {choices.1}"};
  ASSERT_OK_AND_ASSIGN(const TaskDataset data, Load(spec, R"({"text":"a","label":0,"choices":["x","y"]})"
                                                          "\n"
                                                          R"({"text":"a","label":1,"choices":["long","z"]})"));
  EXPECT_EQ(Text(data.example(0).branches[1]), " y");
  EXPECT_EQ(Text(data.example(1).branches[0]), " long");
  const auto error = [&](const std::string& row) { return std::string(Load(spec, row).status().message()); };
  EXPECT_THAT(error(R"({"text":"a","label":0,"choices":["x","x"]})"),
              HasSubstr("task.options[1]: the same tokens as an option before it"));
  EXPECT_THAT(error(R"({"text":"a","label":0,"choices":["x"]})"),
              HasSubstr("task.options[1]: row has no field 'choices.1'"));
  spec.options = {" {a", " {label}"};
  EXPECT_THAT(spec.Validate(), StatusIs(kInvalid, AllOf(HasSubstr("task.options: [0]: byte 2: '{' is not closed"),
                                                        HasSubstr("task.options: [1] reads {label}"))));
}

TEST(Classification, FiltersChangeWhatARowHolds) {
  TaskSpec spec = Classification();
  spec.prompt = "{text|map yes=Y no=N}{a|strip|end ?|capital}";
  ASSERT_OK_AND_ASSIGN(const TaskDataset data, Load(spec, R"({"text":"no","a":" is it\n","label":0})"));
  EXPECT_EQ(Text(data.example(0).prompt), "NIs it?");
  EXPECT_THAT(Load(spec, R"({"text":"x","a":"b","label":0})"),
              StatusIs(kInvalid, HasSubstr("field 'text': found 'x', expected yes or no")));
}

TEST(Classification, OptionThatCannotFitIsAnErrorOfTheSpec) {
  TaskSpec spec = Classification();
  spec.sequence_len = 5;  // " yes!" has 5 tokens
  EXPECT_THAT(Load(spec, "{\"text\":\"a\",\"label\":0}"), StatusIs(kInvalid, HasSubstr("task.options[1]: 5 tokens")));
}

// Encodes blanks as nothing.
class BlanklessTokenizer final : public ByteTokenizer {
 public:
  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text, bool parse_special) const override {
    auto ids = ByteTokenizer::Encode(text, parse_special);
    std::erase(*ids, ' ');
    return ids;
  }
};

TEST(Classification, OptionsMustDifferInTokens) {
  TaskSpec spec = Classification();
  spec.options = {"yes", " yes"};
  const std::string_view row = R"({"text":"a","label":0})";
  EXPECT_OK(Load(spec, row));
  EXPECT_THAT(Load(spec, row, nullptr, BlanklessTokenizer()),
              StatusIs(kInvalid, HasSubstr("task.options[1]: the same tokens as an option before it")));
  spec.options = {" ", "yes"};
  EXPECT_THAT(Load(spec, row, nullptr, BlanklessTokenizer()),
              StatusIs(kInvalid, HasSubstr("task.options[0]: the text is empty")));
}

TEST(Completion, AnswerEndsWithEos) {
  ASSERT_OK_AND_ASSIGN(const TaskDataset data, Load(Completion(), R"({"q":"1+1","a":2})"));
  EXPECT_EQ(Text(data.example(0).prompt), "1+1=");
  ASSERT_EQ(data.example(0).branches.size(), 1u);
  EXPECT_EQ(Text(data.example(0).branches[0]), "2</s>");
  EXPECT_TRUE(data.example(0).scored.empty()) << "all of it counts, EOS included";
  EXPECT_EQ(data.example(0).label, -1);
  EXPECT_THAT(data.rows_by_label(), ElementsAre(ElementsAre(0)));
}

TEST(Completion, VocabularyWithoutEosAddsNone) {
  const ByteTokenizer tokenizer({.has_eos = false});
  ASSERT_OK_AND_ASSIGN(const TaskDataset data, Load(Completion(), R"({"q":"1+1","a":"2"})", nullptr, tokenizer));
  EXPECT_EQ(Text(data.example(0).branches[0]), "2");
}

TEST(Task, BosComesFirstWhenTheTokenizerSaysSo) {
  const ByteTokenizer tokenizer({.add_bos = true});
  ASSERT_OK_AND_ASSIGN(const TaskDataset data, Load(Completion(), R"({"q":"1","a":"2"})", nullptr, tokenizer));
  EXPECT_EQ(Text(data.example(0).prompt), "<s>1=");
  EXPECT_EQ(Text(data.example(0).branches[0]), "2</s>");
}

TEST(Task, ChatRowsBecomeOneScoredBranch) {
  const ByteTokenizer tokenizer({.add_bos = true});
  ASSERT_OK_AND_ASSIGN(
      const TaskDataset data,
      Load(Chat(), R"({"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Yo"}]})", nullptr,
           tokenizer));
  EXPECT_EQ(Text(data.example(0).prompt), "<s><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(Text(data.example(0).branches[0]), "Yo<|im_end|>");
  EXPECT_THAT(data.example(0).scored, ElementsAre(1, 1, 1));
}

TEST(Task, MarksAreSpecialInTemplatesAndTextInRows) {
  TaskSpec spec = Completion();
  spec.prompt = "<|im_start|>{q}<|im_end|><|unknown|>";
  ASSERT_OK_AND_ASSIGN(const TaskDataset data, Load(spec, R"({"q":"<|im_end|>","a":"x"})"));
  std::vector<int32_t> expected = {ByteTokenizer::kTurnStart};
  for (const char c : std::string("<|im_end|>")) expected.push_back(c);
  expected.push_back(ByteTokenizer::kTurnEnd);
  for (const char c : std::string("<|unknown|>")) expected.push_back(c);
  EXPECT_EQ(data.example(0).prompt, expected);
}

TEST(Task, NumbersAreWrittenAsJsonWritesThem) {
  ASSERT_OK_AND_ASSIGN(const TaskDataset data, Load(Completion(), R"({"q":-0.5,"a":12345678901})"));
  EXPECT_EQ(Text(data.example(0).prompt), "-0.5=");
  EXPECT_EQ(Text(data.example(0).branches[0]), "12345678901</s>");
}

TEST(Truncation, PromptLosesItsLeftAndKeepsBos) {
  TaskSpec spec = Completion();
  spec.sequence_len = 8;
  const ByteTokenizer tokenizer({.add_bos = true});
  DatasetReport report;
  ASSERT_OK_AND_ASSIGN(
      const TaskDataset data,
      Load(spec, "{\"q\":\"0123456789\",\"a\":\"xy\"}\n{\"q\":\"012\",\"a\":\"xy\"}", &report, tokenizer));
  // BOS 1 + answer 2 + EOS 1 leave 4 of 8.
  EXPECT_EQ(Text(data.example(0).prompt), "<s>789=");
  EXPECT_EQ(Text(data.example(1).prompt), "<s>012=");
  EXPECT_EQ(report.truncated_rows, 1);
  EXPECT_EQ(report.longest, 1 + 11 + 3) << "before truncation";
}

TEST(Truncation, ClassificationMakesRoomForTheLongestOption) {
  TaskSpec spec = Classification();
  spec.sequence_len = 8;
  ASSERT_OK_AND_ASSIGN(const TaskDataset data, Load(spec, R"({"text":"abc","label":0})"));
  EXPECT_EQ(Text(data.example(0).prompt), " A:") << "8 − 5 of ' yes!'";
}

TEST(Truncation, AnswerMustFitWithOnePromptToken) {
  TaskSpec spec = Completion();
  spec.sequence_len = 8;
  ASSERT_OK_AND_ASSIGN(const TaskDataset data, Load(spec, R"({"q":"q","a":"123456"})"));
  EXPECT_EQ(Text(data.example(0).prompt), "=");
  EXPECT_EQ(ErrorOf(spec, R"({"q":"q","a":"1234567"})"),
            "0: an answer of 8 tokens leaves no room for a prompt in task.sequence_len = 8");
}

TEST(Truncation, ChatsLoseTheirLastTurnsFirst) {
  TaskSpec spec = Chat();
  spec.chat_format = ChatFormat::kPlain;
  const std::string row = R"({"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"},)"
                          R"({"role":"user","content":"Well"},{"role":"assistant","content":"Good"},)"
                          R"({"role":"user","content":"Bye"},{"role":"assistant","content":"Ciao"}]})";
  const auto load = [&](int32_t sequence_len, DatasetReport* report) {
    spec.sequence_len = sequence_len;
    const auto data = Load(spec, row, report);
    if (!data.ok()) return std::string(data.status().message());
    return Text(data->example(0).prompt) + "|" + Text(data->example(0).branches[0]);
  };
  // "User: Hi\nAssistant:" is 19 tokens, " Hello</s>" 7, each of the two further exchanges 1 + 21 + 6 and 1 + 20 + 6.
  const std::string one = "User: Hi\nAssistant:| Hello</s>";
  const std::string two = one + "\nUser: Well\nAssistant: Good</s>";
  const std::string three = two + "\nUser: Bye\nAssistant: Ciao</s>";
  DatasetReport report;
  EXPECT_EQ(load(81, &report), three);
  EXPECT_EQ(report.truncated_rows, 0);
  EXPECT_EQ(load(80, &report), two);
  EXPECT_EQ(report.truncated_rows, 1);
  EXPECT_EQ(report.shortened_chats, 1);
  EXPECT_EQ(report.lost_tokens, 27);
  EXPECT_EQ(report.longest, 81);
  EXPECT_EQ(load(54, &report), two);
  EXPECT_EQ(load(53, &report), one);
  EXPECT_EQ(report.lost_tokens, 55);
  EXPECT_EQ(load(20, &report), "Hi\nAssistant:| Hello</s>") << "then the beginning";
  EXPECT_EQ(report.lost_tokens, 61);
  EXPECT_EQ(load(8, &report), ":| Hello</s>");
  EXPECT_THAT(load(7, &report), HasSubstr("an answer of 7 tokens leaves no room"));
}

TEST(Completion, AnAnswerThatStopsHasNoEndOfText) {
  TaskSpec spec = Completion();
  spec.answer = "{a}\n";
  spec.stop = {";", "\n"};
  ASSERT_OK_AND_ASSIGN(const TaskDataset data, Load(spec, R"({"q":"a","a":"b"})"));
  EXPECT_EQ(Text(data.example(0).branches[0]), "b\n");
  ASSERT_OK_AND_ASSIGN(const std::vector<Question> questions,
                       LoadQuestions(spec, ByteTokenizer(), "q\ta\na\tb \n", "d"));
  EXPECT_THAT(questions.at(0).references, ElementsAre("b"));
  spec.references = "more";
  EXPECT_THAT(LoadQuestions(spec, ByteTokenizer(), R"({"q":"a","a":"b","more":[]})", "d"),
              StatusIs(kInvalid, HasSubstr("field 'more' is empty")));
  EXPECT_THAT(LoadQuestions(Classification(), ByteTokenizer(), "{}", "d"),
              StatusIs(kInvalid, HasSubstr("only answers of completion tasks")));
}

TEST(Report, CountsWhatAForwardPassReads) {
  DatasetReport report;
  ASSERT_OK(Load(Classification(), "{\"text\":\"a\",\"label\":1}\n{\"text\":\"abcdef\",\"label\":1}", &report));
  // Prompts "T: a A:" 7 and "T: abcdef A:" 12, options 3 + 5 in each row.
  EXPECT_EQ(report.rows, 2);
  EXPECT_EQ(report.tokens, 7 + 8 + 12 + 8);
  EXPECT_EQ(report.scored, 8 + 8);
  EXPECT_EQ(report.branches, 4);
  EXPECT_EQ(report.longest, 12 + 5);
  EXPECT_EQ(report.length_histogram[3], 1) << "7 + 5 = 12 lies in [8, 16)";
  EXPECT_EQ(report.length_histogram[4], 1) << "17 lies in [16, 32)";
  EXPECT_EQ(report.truncated_rows, 0);
  EXPECT_EQ(report.errors_total, 0);
}

TEST(BadRow, JsonErrorsHaveTheirColumn) {
  const TaskSpec spec = Completion();
  EXPECT_EQ(ErrorOf(spec, R"({"q":"a",})"),
            "10: not valid JSON: syntax error while parsing object key - unexpected '}'; expected string literal");
  EXPECT_THAT(ErrorOf(spec, R"({"q":"a")"),
              HasSubstr("9: not valid JSON: syntax error while parsing object - unexpected end"));
  EXPECT_THAT(ErrorOf(spec, R"({"q":"a","a":"b"} {})"), HasSubstr("19: not valid JSON"));
  EXPECT_THAT(ErrorOf(spec, R"({"q":"\ud800","a":"b"})"), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf(spec, R"({"q":1e999,"a":"b"})"), HasSubstr("number overflow"));
  EXPECT_THAT(ErrorOf(spec, "{'q':1}"), HasSubstr("2: not valid JSON"));
}

TEST(BadRow, ReasonsAreValidUtf8) {
  // The parser stops within the é and quotes half of it.
  const std::string error = ErrorOf(Completion(), "{\"q\":é}");
  EXPECT_THAT(error, HasSubstr("6: not valid JSON"));
  EXPECT_EQ(base::FindInvalidUtf8(error), std::string::npos) << error;
}

TEST(BadRow, ParserMessagesAreCut) {
  const std::string error = ErrorOf(Completion(), absl::StrCat("{\"q\":\"", std::string(100'000, 'x')));
  EXPECT_LT(error.size(), 300u);
  EXPECT_THAT(error, HasSubstr("100007: not valid JSON"));
}

TEST(BadRow, EachDefectHasOneReason) {
  const TaskSpec spec = Completion();
  EXPECT_EQ(ErrorOf(spec, ""), "0: blank line; expected one JSON object a line");
  EXPECT_EQ(ErrorOf(spec, " \t\r"), "0: blank line; expected one JSON object a line");
  EXPECT_EQ(ErrorOf(spec, "[1]"), "0: found array, expected a JSON object");
  EXPECT_EQ(ErrorOf(spec, R"({"q":"a","a":"b","q":"c"})"), "0: key 'q' stands twice in one object");
  EXPECT_EQ(ErrorOf(spec, R"({"q":"a","a":"b","m":[{"k":1,"k":2}]})"), "0: key 'k' stands twice in one object");
  EXPECT_EQ(ErrorOf(spec, R"({"q":"a"})"), "0: row has no field 'a' (did you mean 'q'?)");
  EXPECT_EQ(ErrorOf(spec, R"({"q":null,"a":"b"})"), "0: field 'q': found null, expected a string or a number");
  EXPECT_EQ(ErrorOf(spec, R"({"q":"a","a":["b"]})"), "0: field 'a': found array, expected a string or a number");
  EXPECT_EQ(ErrorOf(spec, R"({"q":"a","a":""})"), "0: the answer is empty");
  EXPECT_EQ(ErrorOf(spec, "{\"q\":\"a\xff\",\"a\":\"b\"}"), "8: byte 0xff is not valid UTF-8; save the file as UTF-8");
  TaskSpec bare = spec;
  bare.prompt = "{q}";
  EXPECT_EQ(ErrorOf(bare, R"({"q":" ","a":"b"})"), "0: the prompt is empty");
  EXPECT_THAT(ErrorOf(spec, absl::StrCat("{\"q\":\"", std::string(1 << 20, 'x'), "\",\"a\":\"b\"}")),
              HasSubstr("0: row of 1.0 MiB; expected at most 1.0 MiB"));
}

TEST(BadRow, EqualKeysOfDifferentObjectsAreFine) {
  EXPECT_OK(Load(Completion(), R"({"q":"a","a":"b","m":[{"q":1},{"q":2}]})"));
}

TEST(BadRow, DeepNestingIsOnlyData) {
  const std::string open(200'000, '[');
  const std::string close(200'000, ']');
  EXPECT_OK(Load(Completion(), absl::StrCat("{\"q\":\"a\",\"a\":\"b\",\"x\":", open, close, "}")));
  EXPECT_THAT(ErrorOf(Completion(), absl::StrCat("{\"x\":", open)), HasSubstr("200006: not valid JSON"));
}

TEST(BadRow, FieldNamedManyTimesCannotFillTheMemory) {
  TaskSpec spec = Completion();
  for (int i = 0; i < 8; ++i) spec.prompt += spec.prompt;
  EXPECT_THAT(ErrorOf(spec, absl::StrCat("{\"q\":\"", std::string(100'000, 'x'), "\",\"a\":\"b\"}")),
              HasSubstr("the prompt has more than 1.0 MiB of fields"));
}

TEST(BadRow, AllAreCountedAndTheFirstTwentyKept) {
  std::string jsonl;
  for (int i = 0; i < 25; ++i) absl::StrAppend(&jsonl, "{\"q\":\"a\",\"a\":\"b\"}\n{\n");
  DatasetReport report;
  EXPECT_THAT(Load(Completion(), jsonl, &report),
              StatusIs(kInvalid, AllOf(HasSubstr("25 of 50 rows are bad"), HasSubstr("d.jsonl:2:2: not valid JSON"),
                                       HasSubstr("… and 20 more"))));
  EXPECT_EQ(report.rows, 50);
  EXPECT_EQ(report.errors_total, 25);
  ASSERT_EQ(report.errors.size(), 20u);
  EXPECT_EQ(report.errors[19].line, 40);
}

TEST(Jsonl, ByteOrderMarkAndWindowsLineEndsAreAccepted) {
  ASSERT_OK_AND_ASSIGN(const TaskDataset data,
                       Load(Completion(), "\xEF\xBB\xBF{\"q\":\"a\",\"a\":\"b\"}\r\n{\"q\":\"c\",\"a\":\"d\"}\r\n"));
  EXPECT_EQ(data.size(), 2);
  DatasetReport report;
  EXPECT_FALSE(Load(Completion(), "\xEF\xBB\xBF{]\n{]\n", &report).ok());
  ASSERT_EQ(report.errors.size(), 2u);
  EXPECT_EQ(report.errors[0].column, 5) << "columns count the file's bytes";
  EXPECT_EQ(report.errors[1].column, 2);
}

TEST(Jsonl, EmptyDatasetIsAnError) {
  EXPECT_THAT(Load(Completion(), ""), StatusIs(kInvalid, HasSubstr("d.jsonl: empty")));
  EXPECT_THAT(Load(Completion(), "\xEF\xBB\xBF"), StatusIs(kInvalid, HasSubstr("d.jsonl: empty")));
}

TEST(Jsonl, ReportIsResetByEachLoad) {
  DatasetReport report;
  EXPECT_FALSE(Load(Completion(), "{\n", &report).ok());
  ASSERT_OK(Load(Completion(), R"({"q":"a","a":"b"})", &report));
  EXPECT_EQ(report.errors_total, 0);
  EXPECT_TRUE(report.errors.empty());
  EXPECT_EQ(report.rows, 1);
}

TEST(Jsonl, ShippedDatasetsLoad) {
  const auto read = [](const std::string& path) {
    const absl::StatusOr<std::string> bytes = base::RealFileSystem()->Read(testing::TestFile(path));
    EXPECT_OK(bytes);
    return bytes.value_or("");
  };
  DatasetReport report;
  ASSERT_OK(Load(Classification(), read("../examples/sms_spam/train.jsonl"), &report));
  EXPECT_THAT(report.label_counts, ElementsAre(3213, 447));
  // 512 − 6 of the template − 5 of " yes!": four messages have more than 501 bytes, the longest 910.
  EXPECT_EQ(report.truncated_rows, 4);
  EXPECT_EQ(report.longest, 910 + 6 + 5);
  for (const auto& [name, rows] : {std::pair{"train", 64}, {"dev", 32}, {"test", 32}}) {
    ASSERT_OK(Load(Classification(), read(absl::StrCat("golden/data/tiny_", name, ".jsonl")), &report));
    EXPECT_THAT(report.label_counts, ElementsAre(rows / 2, rows / 2)) << name;
  }
  TaskSpec completion = Completion();
  completion.prompt = "{prompt}";
  completion.answer = "{answer}";
  ASSERT_OK_AND_ASSIGN(TaskDataset data, Load(completion, read("golden/data/tiny_completion.jsonl")));
  EXPECT_EQ(data.size(), 8);
  ASSERT_OK_AND_ASSIGN(data, Load(Chat(), read("golden/data/tiny_chat.jsonl")));
  EXPECT_EQ(data.size(), 8);
}

TEST(Inference, NeedsNeitherLabelNorAnswer) {
  const ByteTokenizer tokenizer;
  ASSERT_OK_AND_ASSIGN(Example example, MakeInferenceExample(Classification(), tokenizer, R"({"text":"a"})"));
  EXPECT_EQ(example.label, -1);
  EXPECT_EQ(example.branches.size(), 2u);
  ASSERT_OK_AND_ASSIGN(example, MakeInferenceExample(Completion(), tokenizer, R"({"q":"a"})"));
  EXPECT_EQ(Text(example.prompt), "a=");
  EXPECT_TRUE(example.branches.empty());
  ASSERT_OK_AND_ASSIGN(example,
                       MakeInferenceExample(Chat(), tokenizer, R"({"messages":[{"role":"user","content":"a"}]})"));
  EXPECT_EQ(Text(example.prompt), "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n");
}

TEST(Inference, LeavesRoomForOneToken) {
  TaskSpec spec = Completion();
  spec.sequence_len = 5;
  const ByteTokenizer tokenizer({.add_bos = true});
  ASSERT_OK_AND_ASSIGN(const Example example, MakeInferenceExample(spec, tokenizer, R"({"q":"012345"})"));
  EXPECT_EQ(Text(example.prompt), "<s>45=");
}

TEST(Inference, ErrorsHaveTheirByte) {
  const ByteTokenizer tokenizer;
  EXPECT_THAT(MakeInferenceExample(Completion(), tokenizer, "{]"),
              StatusIs(kInvalid, HasSubstr("byte 2: not valid JSON")));
  EXPECT_THAT(MakeInferenceExample(Completion(), tokenizer, R"({"a":"b"})"),
              StatusIs(kInvalid, HasSubstr("no field 'q'")));
  EXPECT_THAT(MakeInferenceExample(Chat(), ByteTokenizer({.has_turns = false}), "{}"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("chat_format")));
}

TEST(TaskSpec, SoundSpecsPass) {
  EXPECT_OK(Classification().Validate());
  EXPECT_OK(Completion().Validate());
  EXPECT_OK(Chat().Validate());
}

TEST(TaskSpec, AllViolationsComeAtOnce) {
  TaskSpec spec = Classification();
  spec.prompt = "T: {label";
  spec.options = {" a", "", " a"};
  spec.label_field = "";
  spec.label_names = {"x"};
  spec.answer = "{a}";
  spec.sequence_len = 0;
  EXPECT_THAT(spec.Validate(),
              StatusIs(kInvalid,
                       "task.prompt: byte 4: '{' is not closed by '}' on its line; write '{{' for a brace\n"
                       "task.label_field: empty, expected the name of a field\n"
                       "task.answer: set, but a classification task does not use it\n"
                       "task.options: [1] is empty\n"
                       "task.options: [2] repeats [0], ' a'\n"
                       "task.label_names: found 1, expected none or one per option (3)\n"
                       "task.sequence_len: found 0, expected 4 to 1048576"));
}

TEST(TaskSpec, PromptMustReadTheRowButNotTheLabel) {
  TaskSpec spec = Classification();
  spec.prompt = "Is it?";
  EXPECT_THAT(spec.Validate(), StatusIs(kInvalid, HasSubstr("task.prompt: no {field} in it")));
  spec.prompt = "{text} {label}";
  EXPECT_THAT(spec.Validate(), StatusIs(kInvalid, HasSubstr("task.prompt: reads {label}, which is the label")));
  spec.prompt = "";
  EXPECT_THAT(spec.Validate(), StatusIs(kInvalid, HasSubstr("task.prompt: empty")));
}

TEST(TaskSpec, FieldsOfOtherKindsAreRefused) {
  TaskSpec completion = Completion();
  completion.options = {"a", "b"};
  completion.label_names = {"a", "b"};
  EXPECT_THAT(completion.Validate(), StatusIs(kInvalid, AllOf(HasSubstr("task.options: set, but a completion task"),
                                                              HasSubstr("task.label_names: set"))));
  TaskSpec chat = Chat();
  chat.prompt = "{a}";
  EXPECT_THAT(chat.Validate(), StatusIs(kInvalid, HasSubstr("task.prompt: set, but a chat task does not use it")));
}

TEST(TaskSpec, OptionsAreBounded) {
  TaskSpec spec = Classification();
  spec.options = {" only"};
  EXPECT_THAT(spec.Validate(), StatusIs(kInvalid, HasSubstr("task.options: found 1, expected 2 to 256")));
  spec.options.clear();
  for (size_t i = 0; i <= kMaxOptions; ++i) spec.options.push_back(absl::StrCat(" ", i));
  EXPECT_THAT(spec.Validate(), StatusIs(kInvalid, HasSubstr("task.options: found 257, expected 2 to 256")));
}

TEST(TaskSpec, LoadChecksItFirst) {
  EXPECT_THAT(Load(TaskSpec(), "{}"), StatusIs(kInvalid, HasSubstr("task.prompt: empty")));
}

}  // namespace
}  // namespace qzo::model
