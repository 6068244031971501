#include "client/draw.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"

namespace qzo::client {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// numpy.random.seed(s); numpy.random.permutation(n), NumPy 2.
TEST(NumpyPermutation, IsNumpys) {
  EXPECT_THAT(NumpyPermutation(0, 10), ElementsAre(2, 8, 4, 9, 1, 6, 7, 3, 0, 5));
  const std::vector<uint32_t> sst2 = NumpyPermutation(0, 67349);
  EXPECT_THAT(std::vector<uint32_t>(sst2.begin(), sst2.begin() + 4), ElementsAre(43787, 16159, 59015, 5108));
  EXPECT_THAT(std::vector<uint32_t>(sst2.end() - 2, sst2.end()), ElementsAre(42613, 43567));
  const std::vector<uint32_t> last = NumpyPermutation(4294967295, 1000);
  EXPECT_THAT(std::vector<uint32_t>(last.begin(), last.begin() + 4), ElementsAre(94, 405, 819, 632));
  EXPECT_THAT(NumpyPermutation(0, 1), ElementsAre(0));
  EXPECT_THAT(NumpyPermutation(0, 0), IsEmpty());
}

TEST(DrawRows, PiecesFollowEachOtherInThePermutation) {
  std::string file;
  for (int i = 0; i < 10; ++i) absl::StrAppend(&file, "{\"i\":", i, "}\n");
  file.pop_back();  // a last line without its end is a row, too
  ASSERT_OK_AND_ASSIGN(const auto drawn, DrawRows(file, 0, {3, 0, 2}));
  EXPECT_THAT(drawn, ElementsAre("{\"i\":2}\n{\"i\":8}\n{\"i\":4}\n", "", "{\"i\":9}\n{\"i\":1}\n"));
  EXPECT_THAT(DrawRows(file, 0, {6, 5}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("found 10 rows, 11 are to be drawn")));
}

TEST(DrawRows, EveryPieceOfATableNamesItsColumns) {
  ASSERT_OK_AND_ASSIGN(const auto drawn, DrawRows("\xEF\xBB\xBFtext\tlabel\r\na\t0\r\nb\t1\r\nc\t0\r\n", 1, {2, 1}));
  ASSERT_EQ(drawn.size(), 2u);
  for (const std::string& piece : drawn) EXPECT_THAT(piece, ::testing::StartsWith("text\tlabel\r\n"));
  EXPECT_EQ(std::count(drawn[0].begin(), drawn[0].end(), '\n'), 3);
}

}  // namespace
}  // namespace qzo::client
