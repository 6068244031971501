#include "model/formats/safetensors.h"

#include <gtest/gtest.h>

#include <utility>

#include "tests/support/safetensors_builder.h"
#include "tests/support/status_matchers.h"

namespace qzo::model {
namespace {

using qzo::testing::SafetensorsBuilder;
using qzo::testing::SafetensorsBytes;
using qzo::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TEST(Safetensors, ReadsTensorsInPlace) {
  const std::string bytes = SafetensorsBuilder()
                                .Tensor("w", "F16", {2, 3}, "abcdefghijkl")
                                .Tensor("none", "I32", {0, 7}, "")
                                .Tensor("one", "F32", {}, "wxyz")
                                .Finish();
  ASSERT_OK_AND_ASSIGN(const auto tensors, ParseSafetensors(bytes, "x.safetensors"));
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors[0].name, "none");
  EXPECT_THAT(tensors[1].dims, IsEmpty());
  EXPECT_EQ(tensors[1].bytes, "wxyz");
  EXPECT_EQ(tensors[2].type, SafetensorsType::kF16);
  EXPECT_THAT(tensors[2].dims, ElementsAre(2, 3));
  EXPECT_EQ(tensors[2].bytes.data(), bytes.data() + bytes.size() - 16);
}

TEST(Safetensors, SkipsMetadata) {
  ASSERT_OK_AND_ASSIGN(const auto tensors,
                       ParseSafetensors(SafetensorsBytes(R"({"__metadata__":{"format":"pt"}})", ""), "x"));
  EXPECT_THAT(tensors, IsEmpty());
}

TEST(Safetensors, RefusesAndNamesWhatIsUnsound) {
  const auto entry = [](const std::string& fields) { return SafetensorsBytes("{\"w\":" + fields + "}", "01234567"); };
  const std::pair<std::string, std::string> cases[] = {
      {"", "not a safetensors file: it has 0 bytes"},
      {std::string("\x10\0\0\0\0\0\0\0{}", 10), "the header says 16 bytes, but only 2 are left"},
      {std::string(8, '\xff') + "{}", "the header says 18446744073709551615 bytes"},
      {SafetensorsBytes("[]", ""), "the header is not a JSON object"},
      {SafetensorsBytes(std::string(100000, '['), ""), "the header is not a JSON object"},
      {SafetensorsBytes("{\"w\":1e999}", ""), "the header is not a JSON object"},
      {entry("7"), "tensor 'w' has the dtype null, which is not known"},
      {entry(R"({"dtype":"F4","shape":[2],"data_offsets":[0,8]})"), "has the dtype \"F4\", which is not known"},
      {entry(R"({"dtype":"F32","data_offsets":[0,8]})"), "tensor 'w': shape is missing"},
      {entry(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"), "has the shape [-2], expected"},
      {entry(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]})"), "a product within 63 bits"},
      {entry(R"({"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]})"), "a product within 63 bits"},
      {entry(R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8]})"), "no list of at most 8 numbers"},
      {entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0]})"), "data_offsets is missing or not two offsets"},
      {entry(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})"), "bytes 8 to 0 are not inside the 8 bytes"},
      {entry(R"({"dtype":"F32","shape":[2],"data_offsets":[4,12]})"), "bytes 4 to 12 are not inside the 8 bytes"},
      {entry(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"), "tensor 'w' has 8 bytes, expected 12 for F32 [3]"},
      {entry(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})"), "4 bytes of data belong to no tensor"},
      {entry(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})"), "begins at byte 4 of the data, expected 0"},
      {SafetensorsBytes(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                        R"("b":{"dtype":"U8","shape":[3],"data_offsets":[2,5]}})",
                        "01234"),
       "tensor 'b' begins at byte 2 of the data, expected 3"},
  };
  for (const auto& [bytes, message] : cases) {
    EXPECT_THAT(ParseSafetensors(bytes, "x.safetensors"),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(StartsWith("x.safetensors: "), HasSubstr(message))));
  }
}

}  // namespace
}  // namespace qzo::model
