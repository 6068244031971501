#include "model/tokenizer/symbol_merger.h"

#include <gtest/gtest.h>

#include <cmath>

namespace qzo::model {
namespace {

// Joins asked for until a run of `size` equal symbols, whose joins double, is one. The heap adds a factor of log(size).
int64_t JoinsOfARun(uint32_t size) {
  SymbolMerger merger;
  for (uint32_t i = 0; i < size; ++i) merger.Add(1, i, 1);
  int64_t asked = 0;
  merger.Run([&asked](const SymbolMerger::Symbol& left,
                      const SymbolMerger::Symbol& right) -> std::optional<SymbolMerger::Join> {
    ++asked;
    if (left.size != right.size) return std::nullopt;
    return SymbolMerger::Join{std::log2(left.size), 1};
  });
  EXPECT_EQ(merger.symbols()[0].size, size);
  return asked;
}

TEST(SymbolMerger, AsksForJoinsInProportionToTheWord) {
  const int64_t small = JoinsOfARun(1 << 10);
  const int64_t large = JoinsOfARun(1 << 16);
  EXPECT_LE(large, 66 * small) << "64 times as long";
  EXPECT_LE(large, 4 << 16);
}

}  // namespace
}  // namespace qzo::model
