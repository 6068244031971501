#include "model/tasks/row_reader.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "tests/support/status_matchers.h"

namespace qzo::model {
namespace {

// "line: row" or "line:column: error" of each row.
std::vector<std::string> Read(std::string_view bytes) {
  std::vector<std::string> rows;
  RowReader reader(bytes);
  while (reader.Next()) {
    int64_t column = 0;
    const auto row = reader.Parse(&column);
    rows.push_back(row.ok() ? absl::StrCat(reader.line(), ": ", row->dump())
                            : absl::StrCat(reader.line(), ":", column, ": ", row.status().message()));
  }
  return rows;
}

using ::testing::ElementsAre;
using ::testing::StartsWith;

TEST(RowReader, ReadsJsonLines) {
  EXPECT_THAT(Read("{\"a\":1}\n{\"b\":\"x\\ty\"}\r\n"), ElementsAre(R"(1: {"a":1})", R"(2: {"b":"x\ty"})"));
  EXPECT_THAT(Read("\xEF\xBB\xBF{\"a\" 1}\n"), ElementsAre(StartsWith("1:9: ")));
  EXPECT_THAT(Read("{\"a\":\t1}\n"), ElementsAre(R"(1: {"a":1})")) << "a tab does not make a table";
  EXPECT_TRUE(Read("").empty());
}

TEST(RowReader, ReadsTabSeparatedValues) {
  EXPECT_THAT(Read("\xEF\xBB\xBFsentence\tlabel\r\nit 's \"good\"\t1\r\nbad\t0"),
              ElementsAre(R"(2: {"label":1,"sentence":"it 's \"good\""})", R"(3: {"label":0,"sentence":"bad"})"));
  // Only what reads the same again is a number.
  EXPECT_THAT(Read("a\tb\tc\td\n007\t-3\t1.50\t\n"), ElementsAre(R"(2: {"a":"007","b":-3,"c":"1.50","d":""})"));
  EXPECT_TRUE(Read("a\tb\n").empty());
}

TEST(RowReader, DefectsOfTablesAreNamed) {
  EXPECT_THAT(Read("a\tb\n1\n\n1\t2\t3\n1\t\xFF\n"),
              ElementsAre("2:0: found 1 values, expected 2, as the first line names",
                          "3:0: blank line; expected tab-separated values a line",
                          "4:0: found 3 values, expected 2, as the first line names",
                          "5:3: byte 0xff is not valid UTF-8; save the file as UTF-8"));
  EXPECT_THAT(Read("a\ta\n1\t2\n"), ElementsAre("2:0: the name of column 2 on the first line stands there twice"));
  EXPECT_THAT(Read("a\t\n1\t2\n"), ElementsAre("2:0: the name of column 2 on the first line is empty"));
  EXPECT_THAT(Read("a\t\xFF\n1\t2\n"),
              ElementsAre("2:0: the name of column 2 is not valid UTF-8; save the file as UTF-8"));
}

}  // namespace
}  // namespace qzo::model
