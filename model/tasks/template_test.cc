#include "model/tasks/template.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"

namespace qzo::model {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;

// "T(text)", "F(field)" and "M(mark)" of each piece, in order.
std::string Shape(std::string_view text) {
  const absl::StatusOr<Template> parsed = Template::Parse(text);
  if (!parsed.ok()) return parsed.status().ToString();
  std::string shape;
  for (const Template::Piece& piece : parsed->pieces()) {
    absl::StrAppend(&shape, std::string(1, "TFM"[static_cast<size_t>(piece.kind)]), "(", piece.text, ")");
  }
  return shape;
}

TEST(Template, SplitsTextAndFields) {
  EXPECT_EQ(Shape("Review: {text}\nSentiment:"), "T(Review: )F(text)T(\nSentiment:)");
  EXPECT_EQ(Shape("{a}{b c}"), "F(a)F(b c)");
  EXPECT_EQ(Shape("no field"), "T(no field)");
  EXPECT_EQ(Shape(""), "");
}

TEST(Template, DoubledBracesAreLiteral) {
  EXPECT_EQ(Shape("{{\"q\": \"{q}\"}}"), "T({\"q\": \")F(q)T(\"})");
  EXPECT_EQ(Shape("{{{x}}}"), "T({)F(x)T(})");
  EXPECT_EQ(Shape("{{x}}"), "T({x})");
}

TEST(Template, MarksOfItsOwnTextAreApart) {
  EXPECT_EQ(Shape("<|im_start|>user\n{q}<|im_end|>"), "M(<|im_start|>)T(user\n)F(q)M(<|im_end|>)");
  EXPECT_EQ(Shape("a <|b|><|c|> d"), "T(a )M(<|b|>)M(<|c|>)T( d)");
  // Not marks: a blank in the name, no name, no end, a bracket inside (only the inner one is whole).
  EXPECT_EQ(Shape("1 <|a b|> 2 <||> 3 <|x"), "T(1 <|a b|> 2 <||> 3 <|x)");
  EXPECT_EQ(Shape("<|<|x|>|>"), "T(<|)M(<|x|>)T(|>)");
}

TEST(Template, KnowsItsFields) {
  ASSERT_OK_AND_ASSIGN(const Template parsed, Template::Parse("{a} and {b}"));
  EXPECT_TRUE(parsed.HasField());
  EXPECT_TRUE(parsed.HasField("b"));
  EXPECT_FALSE(parsed.HasField("and"));
  ASSERT_OK_AND_ASSIGN(const Template literal, Template::Parse("{{a}}"));
  EXPECT_FALSE(literal.HasField());
}

TEST(Template, ErrorsNameTheByte) {
  const auto expect_error = [](std::string_view text, const std::string& message) {
    EXPECT_THAT(Template::Parse(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message))) << text;
  };
  expect_error("Text: {text", "byte 7: '{' is not closed");
  expect_error("{te\nxt}", "byte 1: '{' is not closed");
  expect_error("{a{b}", "byte 1: '{' is not closed");
  expect_error("{a} }", "byte 5: '}' closes nothing");
  expect_error("ab{}", "byte 3: '{}' names no field");
  expect_error("ab{|strip}", "byte 3: '{' names no field before its filters");
  expect_error("{a|stripe}",
               "byte 4: filter 'stripe' is unknown, expected one of strip, lower, capital, uncapital, cut, ");
  expect_error("{a|strip|}", "byte 10: filter '' is unknown");
  expect_error("{a|strip x}", "byte 4: filter 'strip' takes no text after its name");
  expect_error("{a|cut}", "byte 4: filter 'cut' takes text after its name");
  expect_error("{a|map b}", "byte 4: filter 'map': found 'b', expected text=text");
}

TEST(Template, FiltersSayWhatBecomesOfAField) {
  const auto filtered = [](const std::string& filter, std::string text) {
    const absl::StatusOr<Filter> parsed = Filter::Parse(filter);
    EXPECT_OK(parsed);
    const auto result = parsed->Apply(std::move(text));
    return result.ok() ? *result : std::string(result.status().message());
  };
  EXPECT_EQ(filtered("strip", " a b\n"), "a b");
  EXPECT_EQ(filtered("lower", "He\u00C9"), "he\u00C9") << "ASCII's letters";
  EXPECT_EQ(filtered("capital", "is it"), "Is it");
  EXPECT_EQ(filtered("capital", ""), "");
  EXPECT_EQ(filtered("uncapital", "The Man"), "the Man");
  EXPECT_EQ(filtered("uncapital", "I ran"), "I ran");
  EXPECT_EQ(filtered("cut .", "It rained. "), "It rained");
  EXPECT_EQ(filtered("cut .", "So what?"), "So what?");
  EXPECT_EQ(filtered("end ?", "is it"), "is it?");
  EXPECT_EQ(filtered("end ?", "is it?"), "is it?");
  EXPECT_EQ(filtered("map cause=because effect=so", "effect"), "so");
  EXPECT_EQ(filtered("map cause=because effect=so", "end"), "found 'end', expected cause or effect");
}

}  // namespace
}  // namespace qzo::model
