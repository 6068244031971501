#include "method/journal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "absl/strings/escaping.h"
#include "tests/support/status_matchers.h"

namespace qzo::method {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// A chunk as docs/formats.md describes it, written by a separate program.
constexpr char kGoldenChunk[] =
    "515a4a3105000000020000000200000000000000000004407c44546d3509ea08"
    "0000c03f000000c00000803e000000bf0000c07f0000003e000000000000803d";

JournalChunk GoldenChunk() {
  return {{{5, {1.5f, -2.0f}, {0.25f, -0.5f}}, {6, {kNaN, 0.125f}, {0.0f, 0.0625f}}}, {2.5}};
}

JournalChunk MakeRun(const MethodSpec& spec, uint32_t steps) {
  JournalChunk journal;
  for (uint32_t step = 0; step < steps; ++step) {
    StepRecord record{step, {}, {}};
    for (uint32_t p = 0; p < spec.probes; ++p) record.d.push_back(static_cast<float>(std::sin(step * 7.0 + p)));
    record.coefficients = Coefficients(spec, step, record.d, &journal.state_after);
    journal.records.push_back(std::move(record));
  }
  return journal;
}

MethodSpec Spec() {
  MethodSpec spec;
  spec.steps = 10;
  spec.probes = 3;
  return spec;
}

JournalChunk Part(const JournalChunk& journal, size_t from, size_t to) {
  return {{journal.records.begin() + static_cast<std::ptrdiff_t>(from),
           journal.records.begin() + static_cast<std::ptrdiff_t>(to)},
          journal.state_after};
}

TEST(JournalChunk, EncodesToTheGoldenBytes) {
  EXPECT_EQ(absl::BytesToHexString(EncodeChunk(GoldenChunk())), kGoldenChunk);
}

TEST(JournalChunk, DecodesTheGoldenBytes) {
  const std::string bytes = absl::HexStringToBytes(kGoldenChunk) + "rest";
  std::string_view left = bytes;
  ASSERT_OK_AND_ASSIGN(const JournalChunk chunk, DecodeChunk(&left));
  EXPECT_EQ(left, "rest");
  ASSERT_EQ(chunk.records.size(), 2u);
  EXPECT_EQ(chunk.records[1].step, 6u);
  EXPECT_TRUE(std::isnan(chunk.records[1].d[0]));
  EXPECT_EQ(chunk.records[0].coefficients, GoldenChunk().records[0].coefficients);
  EXPECT_EQ(chunk.state_after, GoldenChunk().state_after);
}

TEST(JournalChunk, AnyFlippedBitAndAnyCutIsDetected) {
  const std::string good = absl::HexStringToBytes(kGoldenChunk);
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    std::string_view left = bad;
    EXPECT_THAT(DecodeChunk(&left), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("journal chunk"))) << bit;
  }
  for (size_t size = 0; size < good.size(); ++size) {
    std::string_view left(good.data(), size);
    EXPECT_THAT(DecodeChunk(&left), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("expected"))) << size;
  }
}

TEST(JournalChunk, CoefficientsThatAreNotFiniteAreRefused) {
  JournalChunk chunk = GoldenChunk();
  chunk.records[0].coefficients[0] = kNaN;
  const std::string bytes = EncodeChunk(chunk);
  std::string_view left = bytes;
  EXPECT_THAT(DecodeChunk(&left), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("journal step 5")));
}

TEST(Journal, IsItsChunksInOrder) {
  const JournalChunk run = MakeRun(Spec(), 6);
  ASSERT_OK_AND_ASSIGN(const JournalChunk journal,
                       DecodeJournal(EncodeChunk(Part(run, 0, 2)) + EncodeChunk(Part(run, 2, 6))));
  ASSERT_EQ(journal.records.size(), 6u);
  for (uint32_t step = 0; step < 6; ++step) {
    EXPECT_EQ(journal.records[step].step, step);
    EXPECT_EQ(journal.records[step].d, run.records[step].d);
  }
  EXPECT_EQ(journal.state_after, run.state_after);
  ASSERT_OK_AND_ASSIGN(const JournalChunk empty, DecodeJournal(""));
  EXPECT_TRUE(empty.records.empty());
}

TEST(Journal, MissingRepeatedAndForeignChunksAreDetected) {
  const JournalChunk run = MakeRun(Spec(), 6);
  const std::string a = EncodeChunk(Part(run, 0, 2));
  const std::string b = EncodeChunk(Part(run, 2, 4));
  const std::string c = EncodeChunk(Part(run, 4, 6));
  EXPECT_THAT(DecodeJournal(a + c), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("begins at step 4, expected 2")));
  EXPECT_THAT(DecodeJournal(b), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("begins at step 2, expected 0")));
  EXPECT_THAT(DecodeJournal(a + a), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("begins at step 0, expected 2")));
  MethodSpec other = Spec();
  other.probes = 2;
  EXPECT_THAT(DecodeJournal(a + EncodeChunk(Part(MakeRun(other, 6), 2, 4))),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("number of probes changes at step 2")));
}

TEST(CheckCoefficients, AcceptsWhatTheRuleGivesAndNothingElse) {
  const MethodSpec spec = Spec();
  JournalChunk journal = MakeRun(spec, 8);
  EXPECT_OK(CheckCoefficients(spec, journal.records));
  JournalChunk changed = journal;
  changed.records[4].coefficients[1] = std::nextafter(changed.records[4].coefficients[1], 1.0f);
  EXPECT_THAT(CheckCoefficients(spec, changed.records),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("step 4, probe 1")));
  changed = journal;
  changed.records[2].d[0] += 1;
  EXPECT_THAT(CheckCoefficients(spec, changed.records), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("step 2")));
  changed = journal;
  changed.records.erase(changed.records.begin() + 3);
  EXPECT_THAT(CheckCoefficients(spec, changed.records),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("step 4, expected 3")));
  changed = journal;
  changed.records[1].coefficients.pop_back();
  EXPECT_THAT(CheckCoefficients(spec, changed.records),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("step 1, probe 2")));
}

}  // namespace
}  // namespace qzo::method
