#include "model/formats/gguf.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/support/gguf_builder.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::model {
namespace {

using ::qzo::testing::GgufBuilder;
using ::qzo::testing::GgufString;
using ::qzo::testing::LittleEndian;
using ::qzo::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

absl::Status ParseError(const std::string& bytes) { return GgufFile::ParseBytes(bytes, "x.gguf").status(); }

GgufBuilder SmallFile() {
  GgufBuilder builder;
  builder.String("general.architecture", "llama")
      .Uint32("llama.block_count", 2)
      .Strings("tokenizer.ggml.tokens", {"a", "", "ccc"})
      .Floats("tokenizer.ggml.scores", {0.5f, -1, 2})
      .Tensor("f", GgmlType::kF32, {3, 2}, std::string(24, 'f'))
      .Tensor("q", GgmlType::kQ4_0, {64, 2}, std::string(72, 'q'));
  return builder;
}

TEST(Gguf, ReadsKeysAndTensorsInPlace) {
  const std::string bytes = SmallFile().Finish();
  ASSERT_OK_AND_ASSIGN(auto file, GgufFile::ParseBytes(bytes, "x.gguf"));
  EXPECT_EQ(file->version(), 3u);
  EXPECT_THAT(file->Keys(), ElementsAre("general.architecture", "llama.block_count", "tokenizer.ggml.tokens",
                                        "tokenizer.ggml.scores"));
  ASSERT_OK_AND_ASSIGN(const auto tokens, file->GetStrings("tokenizer.ggml.tokens"));
  EXPECT_THAT(tokens, ElementsAre("a", "", "ccc"));
  ASSERT_OK_AND_ASSIGN(const auto scores, file->GetFloats("tokenizer.ggml.scores"));
  EXPECT_THAT(scores, ElementsAre(0.5f, -1.0f, 2.0f));

  ASSERT_EQ(file->tensors().size(), 2u);
  EXPECT_EQ(file->FindTensor("absent"), nullptr);
  const GgufTensor* q = file->FindTensor("q");
  ASSERT_NE(q, nullptr);
  EXPECT_EQ(q->type, GgmlType::kQ4_0);
  EXPECT_THAT(q->dims, ElementsAre(64, 2));
  EXPECT_EQ(q->bytes, std::string(72, 'q'));
  EXPECT_EQ(q->bytes.data(), bytes.data() + q->file_offset);
  EXPECT_EQ(q->file_offset % 32, 0u);
}

TEST(Gguf, GettersWidenAndCheckTypes) {
  const std::string bytes = GgufBuilder()
                                .Raw("u8", 0, "\xff")
                                .Raw("i8", 1, "\xff")
                                .Uint64("u64", std::numeric_limits<uint64_t>::max())
                                .Float("f32", 0.5f)
                                .Raw("f64", 12, LittleEndian(0.25))
                                .Bool("yes", true)
                                .Int32s("ints", {-1, 7})
                                .Raw("big", 9, GgufBuilder::ArrayHeader(10, 1) + LittleEndian(~uint64_t{0}))
                                .Raw("f64s", 9, GgufBuilder::ArrayHeader(12, 1) + LittleEndian(1.5))
                                .String("text", "t\n")
                                .String("long", std::string(59, 'x') + "éé")
                                .Strings("one", {"1"})
                                .Finish();
  ASSERT_OK_AND_ASSIGN(auto file, GgufFile::ParseBytes(bytes, "x.gguf"));
  EXPECT_EQ(file->GetUint("u8").value(), 255u);
  EXPECT_EQ(file->GetUint("u64").value(), std::numeric_limits<uint64_t>::max());
  EXPECT_THAT(file->GetUint("i8"),
              StatusIs(kInvalid, AllOf(HasSubstr("x.gguf: key 'i8' is -1"), HasSubstr("0 or more"))));
  EXPECT_THAT(file->GetUint("text"), StatusIs(kInvalid, HasSubstr("key 'text' is string, expected an integer")));
  EXPECT_THAT(file->GetUint("none"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("x.gguf: key 'none' is missing")));
  EXPECT_EQ(file->GetFloat("f32").value(), 0.5);
  EXPECT_EQ(file->GetFloat("f64").value(), 0.25);
  EXPECT_THAT(file->GetFloat("u8"), StatusIs(kInvalid, HasSubstr("expected a float")));
  EXPECT_TRUE(file->GetBool("yes").value());
  EXPECT_THAT(file->GetBool("u8"), StatusIs(kInvalid, HasSubstr("is uint8, expected a bool")));
  EXPECT_THAT(file->GetString("one"), StatusIs(kInvalid, HasSubstr("is 1 string, expected a string")));
  EXPECT_THAT(file->GetInts("ints").value(), ElementsAre(-1, 7));
  EXPECT_THAT(file->GetInts("big"), StatusIs(kInvalid, HasSubstr("element 0 of key 'big'")));
  EXPECT_THAT(file->GetFloats("f64s").value(), ElementsAre(1.5f));
  EXPECT_THAT(file->GetFloats("ints"), StatusIs(kInvalid, HasSubstr("is 2 int32s, expected an array of floats")));

  EXPECT_EQ(file->Describe("text"), "t\\n");
  EXPECT_EQ(file->Describe("long"), std::string(59, 'x') + "…");
  EXPECT_EQ(file->Describe("ints"), "[2 int32s]");
  EXPECT_EQ(file->Describe("u64"), "18446744073709551615");
  EXPECT_EQ(file->Describe("i8"), "-1");
  EXPECT_EQ(file->Describe("f32"), "0.5");
  EXPECT_EQ(file->Describe("yes"), "true");
  EXPECT_EQ(file->Describe("none"), "");
}

TEST(Gguf, EveryTruncationIsAnErrorOrASmallerSoundFile) {
  const std::string whole = SmallFile().Finish();
  for (size_t size = 0; size < whole.size(); ++size) {
    // A copy on the heap, so that AddressSanitizer sees a read past the end.
    const std::vector<char> copy(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
    const auto file = GgufFile::ParseBytes({copy.data(), copy.size()}, "x.gguf");
    EXPECT_THAT(file, StatusIs(kInvalid, HasSubstr("x.gguf: "))) << "of " << size << " bytes";
  }
  EXPECT_OK(ParseError(whole));
}

TEST(Gguf, EveryChangedByteIsAnErrorOrKeepsTensorsInside) {
  const std::string whole = SmallFile().Finish();
  int sound = 0;
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const char change : {'\x01', '\x80', '\xff'}) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ change);
      const auto file = GgufFile::ParseBytes(bytes, "x.gguf");
      if (!file.ok()) continue;
      ++sound;
      for (const GgufTensor& tensor : (*file)->tensors()) {
        ASSERT_LE(tensor.file_offset, bytes.size());
        ASSERT_LE(tensor.bytes.size(), bytes.size() - tensor.file_offset);
      }
    }
  }
  EXPECT_GT(sound, 100) << "tensor data may change freely";
}

TEST(Gguf, RefusesOtherVersionsClearly) {
  EXPECT_THAT(ParseError("GGML1234"), StatusIs(kInvalid, HasSubstr("not a GGUF file: it begins with 'GGML'")));
  EXPECT_THAT(ParseError(GgufBuilder().Version(1).Finish()),
              StatusIs(kInvalid, HasSubstr("GGUF version 1; supported are 2 and 3")));
  EXPECT_THAT(ParseError(GgufBuilder().Version(4).Finish()), StatusIs(kInvalid, HasSubstr("GGUF version 4")));
  EXPECT_THAT(ParseError(GgufBuilder().Version(0x03000000).Finish()), StatusIs(kInvalid, HasSubstr("big-endian")));
  EXPECT_OK(ParseError(GgufBuilder().Version(2).Finish()));
}

TEST(Gguf, RefusesCountsBeyondTheFile) {
  constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();
  EXPECT_THAT(ParseError(GgufBuilder().ClaimKeys(kHuge).Finish()),
              StatusIs(kInvalid, HasSubstr("18446744073709551615 keys")));
  EXPECT_THAT(ParseError(GgufBuilder().ClaimTensors(kHuge).Finish()),
              StatusIs(kInvalid, HasSubstr("tensors, more than")));
  EXPECT_THAT(ParseError(GgufBuilder().Raw("k", 8, LittleEndian(kHuge)).Finish()),
              StatusIs(kInvalid, AllOf(HasSubstr("key 'k' at byte "), HasSubstr("needs 18446744073709551615 bytes"))));
  for (const uint32_t element_type : {0u, 8u, 9u, 12u}) {
    EXPECT_THAT(ParseError(GgufBuilder().Raw("k", 9, GgufBuilder::ArrayHeader(element_type, kHuge)).Finish()),
                StatusIs(kInvalid, HasSubstr("key 'k'")));
  }
}

TEST(Gguf, RefusesUnsoundKeys) {
  EXPECT_THAT(ParseError(GgufBuilder().Uint32("k", 1).Uint32("k", 2).Finish()),
              StatusIs(kInvalid, HasSubstr("key 'k' appears twice")));
  EXPECT_THAT(ParseError(GgufBuilder().Raw("k", 13, "12345678").Finish()),
              StatusIs(kInvalid, HasSubstr("unknown value type 13")));
  EXPECT_THAT(ParseError(GgufBuilder().Raw("k", 9, GgufBuilder::ArrayHeader(99, 0)).Finish()),
              StatusIs(kInvalid, HasSubstr("unknown value type 99")));
  EXPECT_THAT(ParseError(GgufBuilder().Raw("k", 7, "\2").Finish()), StatusIs(kInvalid, HasSubstr("has the bool 2")));
  EXPECT_THAT(ParseError(GgufBuilder().Uint32("", 1).Finish()),
              StatusIs(kInvalid, HasSubstr("0 bytes, expected 1 to 65535")));
  EXPECT_THAT(ParseError(GgufBuilder().Uint32("\xff", 1).Finish()),
              StatusIs(kInvalid, HasSubstr("not valid UTF-8: '\\377'")));
}

TEST(Gguf, LimitsTheDepthOfArrays) {
  const auto nested = [](int depth) {
    std::string bytes;
    for (int i = 1; i < depth; ++i) bytes += GgufBuilder::ArrayHeader(9, 1);
    return GgufBuilder().Raw("k", 9, bytes + GgufBuilder::ArrayHeader(8, 1) + GgufString("deep")).Finish();
  };
  const std::string deepest = nested(4);
  ASSERT_OK_AND_ASSIGN(auto file, GgufFile::ParseBytes(deepest, "x.gguf"));
  EXPECT_EQ(file->Describe("k"), "[1 array]");
  EXPECT_THAT(ParseError(nested(5)), StatusIs(kInvalid, HasSubstr("key 'k' nests arrays deeper than 4")));
}

TEST(Gguf, RefusesUnsoundTensors) {
  const auto error = [](std::string_view name, uint32_t type, const std::vector<uint64_t>& dims, size_t bytes,
                        std::optional<uint64_t> offset = std::nullopt) {
    return ParseError(
        GgufBuilder().Tensor(name, static_cast<GgmlType>(type), dims, std::string(bytes, 'x'), offset).Finish());
  };
  EXPECT_OK(error("t", 0, {4}, 16));
  EXPECT_OK(error(std::string(64, 'n'), 0, {4}, 16));
  EXPECT_THAT(error(std::string(65, 'n'), 0, {4}, 16), StatusIs(kInvalid, HasSubstr("65 bytes, expected 1 to 64")));
  EXPECT_THAT(error("t", 0, {}, 16), StatusIs(kInvalid, HasSubstr("tensor 't' has 0 dimensions")));
  EXPECT_THAT(error("t", 0, {1, 1, 1, 1, 1}, 16), StatusIs(kInvalid, HasSubstr("has 5 dimensions, expected 1 to 4")));
  EXPECT_THAT(error("t", 0, {4, 0}, 16), StatusIs(kInvalid, HasSubstr("dimension 1 is 0")));
  EXPECT_THAT(error("t", 0, {uint64_t{1} << 63}, 16),
              StatusIs(kInvalid, HasSubstr("dimension 0 is 9223372036854775808")));
  EXPECT_THAT(error("t", 0, {uint64_t{1} << 32, uint64_t{1} << 32}, 16), StatusIs(kInvalid, HasSubstr("dimension 1")));
  EXPECT_THAT(error("t", 0, {uint64_t{1} << 62}, 16), StatusIs(kInvalid, HasSubstr("too large")));
  for (const uint32_t type : {4u, 5u, 31u, 33u, 36u, 38u, 43u, 0xFFFFFFFFu}) {
    EXPECT_THAT(error("t", type, {32}, 64), StatusIs(kInvalid, HasSubstr("unknown or removed type number")));
  }
  EXPECT_THAT(error("t", 2, {48}, 36),
              StatusIs(kInvalid, HasSubstr("rows of 48 values are no whole number of Q4_0 blocks of 32")));
  EXPECT_THAT(error("t", 0, {4}, 16, 8),
              StatusIs(kInvalid, HasSubstr("offset 8 is not a multiple of the alignment 32")));
  EXPECT_THAT(error("t", 0, {4}, 16, 32),
              StatusIs(kInvalid, HasSubstr("16 bytes at offset 32 are not inside the 16 bytes")));
  EXPECT_THAT(error("t", 0, {4}, 16, ~uint64_t{31}), StatusIs(kInvalid, HasSubstr("not inside")));
  EXPECT_THAT(error("t", 0, {5}, 16), StatusIs(kInvalid, HasSubstr("20 bytes at offset 0")));
}

TEST(Gguf, RefusesTensorsThatShareANameOrBytes) {
  const std::string data(64, 'x');
  EXPECT_THAT(
      ParseError(
          GgufBuilder().Tensor("t", GgmlType::kF32, {16}, data).Tensor("t", GgmlType::kF32, {16}, data).Finish()),
      StatusIs(kInvalid, HasSubstr("tensor 't' appears twice")));
  EXPECT_THAT(
      ParseError(
          GgufBuilder().Tensor("b", GgmlType::kF32, {16}, data).Tensor("a", GgmlType::kF32, {16}, data, 32).Finish()),
      StatusIs(kInvalid, HasSubstr("tensors 'b' and 'a' overlap")));
}

TEST(Gguf, HonoursAlignment) {
  const std::string sound = GgufBuilder()
                                .Alignment(8)
                                .Tensor("a", GgmlType::kF32, {1}, "aaaa")
                                .Tensor("b", GgmlType::kF32, {1}, "bbbb")
                                .Finish();
  ASSERT_OK_AND_ASSIGN(auto file, GgufFile::ParseBytes(sound, "x.gguf"));
  EXPECT_EQ(file->FindTensor("b")->bytes, "bbbb");
  EXPECT_EQ(file->FindTensor("b")->file_offset, file->FindTensor("a")->file_offset + 8);
  for (const uint32_t alignment : {0u, 4u, 12u}) {
    EXPECT_THAT(ParseError(GgufBuilder().Uint32("general.alignment", alignment).Finish()),
                StatusIs(kInvalid, HasSubstr("multiple of 8")));
  }
  EXPECT_THAT(ParseError(GgufBuilder().String("general.alignment", "32").Finish()),
              StatusIs(kInvalid, HasSubstr("expected an integer")));
}

TEST(Gguf, NamesFromTheFileAreEscapedInMessages) {
  EXPECT_THAT(ParseError(GgufBuilder().Raw("evil\x1b[31m\n", 99, "12345678").Finish()),
              StatusIs(kInvalid, HasSubstr("'evil\\033[31m\\n'")));
}

TEST(Gguf, BlockSizesGiveTheKnownBitsPerWeight) {
  const auto bits = [](GgmlType type) {
    const GgmlTypeInfo* info = FindGgmlType(static_cast<uint32_t>(type));
    return 8.0 * static_cast<double>(info->block_bytes) / static_cast<double>(info->block_values);
  };
  EXPECT_EQ(bits(GgmlType::kBF16), 16);
  EXPECT_EQ(bits(GgmlType::kQ4_1), 5);
  EXPECT_EQ(bits(GgmlType::kQ4_K), 4.5);
  EXPECT_EQ(bits(GgmlType::kQ6_K), 6.5625);
  EXPECT_EQ(bits(GgmlType::kIQ1_M), 1.75);
  EXPECT_EQ(bits(GgmlType::kTQ1_0), 1.6875);
  EXPECT_EQ(bits(GgmlType::kMXFP4), 4.25);
}

TEST(Gguf, OpensRealFiles) {
  const std::string directory = testing::TestFile("golden/models/stories260k/");
  ASSERT_OK_AND_ASSIGN(const std::string manifest_text, base::RealFileSystem()->Read(directory + "gguf_manifest.json"));
  const auto manifest = nlohmann::json::parse(manifest_text);
  for (const auto& [name, entry] : manifest.items()) {
    ASSERT_OK_AND_ASSIGN(auto file, GgufFile::Open(directory + name));
    EXPECT_EQ(file->bytes().size(), entry["bytes"].get<size_t>());
    std::set<std::string> types;
    for (const GgufTensor& tensor : file->tensors())
      types.emplace(FindGgmlType(static_cast<uint32_t>(tensor.type))->name);
    EXPECT_EQ(types, entry["types"].get<std::set<std::string>>()) << name;
    EXPECT_EQ(file->tensors().size(), 47u);
    EXPECT_THAT(file->FindTensor("blk.4.ffn_down.weight")->dims, ElementsAre(172, 64));
    EXPECT_EQ(file->GetUint("llama.feed_forward_length").value(), 172u);
    EXPECT_EQ(file->Describe("tokenizer.ggml.tokens"), "[512 strings]");
  }
  EXPECT_THAT(GgufFile::Open(directory + "absent.gguf"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("absent.gguf")));
  EXPECT_THAT(GgufFile::Open(directory + "NOTICE.md"), StatusIs(kInvalid, HasSubstr("NOTICE.md: not a GGUF file")));
}

}  // namespace
}  // namespace qzo::model
