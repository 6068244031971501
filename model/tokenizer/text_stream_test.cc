#include "model/tokenizer/text_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/byte_tokenizer.h"
#include "tests/support/status_matchers.h"

namespace qzo::model {
namespace {

using ::qzo::testing::ByteTokenizer;
using ::testing::ElementsAre;

TEST(TextStream, GivesWholeCharactersAndNothingTwice) {
  const ByteTokenizer tokenizer;
  TextStream stream(&tokenizer);
  std::vector<std::string> pieces;
  for (const char byte : std::string("a\xC3\xA9\xE2\x82\xAC")) {  // a, e with acute, euro: 1, 2 and 3 bytes
    ASSERT_OK_AND_ASSIGN(const std::string piece, stream.Add(static_cast<unsigned char>(byte)));
    pieces.push_back(piece);
  }
  EXPECT_THAT(pieces, ElementsAre("a", "", "\xC3\xA9", "", "", "\xE2\x82\xAC"));
  EXPECT_FALSE(stream.Add(100'000).ok());
}

TEST(StopTokens, AreTheEndOfTextAndTheEndOfATurn) {
  EXPECT_THAT(StopTokens(ByteTokenizer()), ElementsAre(ByteTokenizer::kEos, ByteTokenizer::kTurnEnd));
  EXPECT_THAT(StopTokens(ByteTokenizer({.has_turns = false})), ElementsAre(ByteTokenizer::kEos));
}

}  // namespace
}  // namespace qzo::model
