// Types whose codes stand for entries of a codebook.
#include <gtest/gtest.h>

#include "kernels/test_data.h"
#include "kernels/weights.h"

namespace qzo::kernels {
namespace {

constexpr WeightType kBooks[] = {WeightType::kBook4, WeightType::kBook1x8, WeightType::kBook2x8, WeightType::kBook1x16};

// A product by random entries; `entry_type` is that of the vectors.
struct BookCase : MatMulCase {
  BookCase(std::mt19937& random, WeightType type, WeightType entry_type, int64_t m, int64_t n, int64_t k, int64_t group,
           Granularity granularity, std::vector<int64_t> lane_ends)
      : MatMulCase(random, WeightType::kF32, m, n, k, granularity, lane_ends, true, false, group),
        codes(static_cast<size_t>(n * (k / BlockValues(type)) * BlockBytes(type))),
        scales(RandomFloats(random, static_cast<size_t>(n * (k / group)))) {
    for (std::byte& code : codes) code = static_cast<std::byte>(random());
    const bool nibbles = type == WeightType::kBook4;
    const size_t entries = nibbles                         ? 16
                           : type == WeightType::kBook1x16 ? 8 * 65536
                           : type == WeightType::kBook2x8  ? 8 * 512
                                                           : 8 * 256;
    book.resize(entries * (nibbles ? 4 : 2) + 1);
    for (size_t i = 0; i < entries; ++i) {
      const float value = RandomFloats(random, 1)[0];
      const uint32_t bits = std::bit_cast<uint32_t>(value);
      const uint16_t half = entry_type == WeightType::kBF16
                                ? static_cast<uint16_t>(bits >> 16)
                                : static_cast<uint16_t>((random() & 0x83ffu) | random() % 16 << 10);
      if (nibbles) {
        std::memcpy(&book[1 + 4 * i], &value, 4);
      } else {
        std::memcpy(&book[1 + 2 * i], &half, 2);
      }
    }
    args.w = {.type = type, .data = codes.data(), .rows = n, .cols = k, .group = group};
    args.w.scales = scales.data();
    args.w.codebook = book.data() + 1;  // no alignment is asked for
    args.w.codebook_type = nibbles ? WeightType::kF32 : entry_type;
  }
  std::vector<std::byte> codes, book;
  std::vector<float> scales;
};

using BookTest = EveryVariant;

TEST_P(BookTest, EqualsTheReferenceBitForBit) {
  for (const WeightType type : kBooks) {
    for (const WeightType entry : {WeightType::kF16, WeightType::kBF16}) {
      if (type == WeightType::kBook4 && entry == WeightType::kBF16) continue;
      for (const Granularity granularity : {Granularity::kChannel, Granularity::kGroup}) {
        for (const auto& [m, n, k, group] : {std::tuple{1, 1, 32, 32},
                                             {3, 17, 64, 64},
                                             {20, 33, 192, 64},
                                             {5, 50, 160, 160},
                                             {2, 3, 4160, 64},
                                             {14, 35, 4160, 4160}}) {
          const BookCase problem(random_, type, entry, m, n, k, group, granularity,
                                 m < 3 ? std::vector<int64_t>{m} : std::vector<int64_t>{1, m});
          ASSERT_EQ(FirstDifference(problem.Run(kernels()), problem.Run(reference())), -1)
              << WeightTypeName(type) << " entries " << WeightTypeName(entry) << " M " << m << " N " << n << " K " << k;
        }
      }
    }
  }
}

QZO_INSTANTIATE_EVERY_VARIANT(BookTest);

TEST(BookValues, AreScalesTimesEntries) {
  const float entries[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};
  std::vector<std::byte> codes(32, std::byte{0x9f});  // two rows of 32 values: 1 and 7 in turn
  codes[31] = std::byte{0x08};
  const float scales[2] = {2, 0.5f};
  const WeightMatrix nibbles{.type = WeightType::kBook4,
                             .data = codes.data(),
                             .rows = 2,
                             .cols = 32,
                             .group = 32,
                             .scales = scales,
                             .codebook = reinterpret_cast<const std::byte*>(entries)};
  float row[32];
  DequantizeRow(nibbles, 0, row);
  EXPECT_EQ(row[0], 2);
  EXPECT_EQ(row[1], 14);
  DequantizeRow(nibbles, 1, row);
  EXPECT_EQ(row[29], 3.5f);
  EXPECT_EQ(row[30], -4);
  EXPECT_EQ(row[31], 0);

  // Entry e of the first book is all 2^-e, of the second all 1, but for e < 8.
  std::vector<uint16_t> halves(8 * 512);
  for (size_t e = 0; e < 8; ++e) {
    for (size_t i = 0; i < 8; ++i) halves[8 * e + i] = static_cast<uint16_t>(0x3c00 - 0x400 * e);
  }
  std::fill(halves.begin() + 8 * 256, halves.end(), 0x3c00);
  const std::byte pairs[8] = {std::byte{0}, std::byte{9}, std::byte{1}, std::byte{9},
                              std::byte{2}, std::byte{9}, std::byte{3}, std::byte{9}};
  const WeightMatrix sums{.type = WeightType::kBook2x8,
                          .data = pairs,
                          .rows = 1,
                          .cols = 32,
                          .group = 32,
                          .scales = scales,
                          .codebook = reinterpret_cast<const std::byte*>(halves.data()),
                          .codebook_type = WeightType::kF16};
  DequantizeRow(sums, 0, row);
  for (int i = 0; i < 32; ++i) EXPECT_EQ(row[i], 2 * (1 + 1.0f / static_cast<float>(1 << i / 8))) << i;
}

TEST(BookValues, ProductsStayInFp32) {
  for (const WeightType type : kBooks) {
    EXPECT_TRUE(HasCodebook(type));
    EXPECT_FALSE(SupportsRounded(type, 64)) << WeightTypeName(type);
    EXPECT_EQ(FindWeightType(WeightTypeName(type)), type);
  }
  EXPECT_FALSE(HasCodebook(WeightType::kU8x128));
}

}  // namespace
}  // namespace qzo::kernels
