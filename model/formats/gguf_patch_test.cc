#include "model/formats/gguf_patch.h"

#include <gtest/gtest.h>

#include "tests/support/gguf_builder.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::model {
namespace {

using ::qzo::testing::GgufBuilder;
using ::qzo::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string ThreeTensors(char middle) {
  return GgufBuilder()
      .String("general.architecture", "llama")
      .Tensor("a", GgmlType::kF32, {3}, std::string(12, 'a'))
      .Tensor("b", GgmlType::kF16, {5}, std::string(10, middle))
      .Tensor("c", GgmlType::kQ8_0, {32}, std::string(34, 'c'))
      .Finish();
}

class GgufPatch : public ::testing::Test {
 protected:
  absl::Status Write(const std::map<std::string, TensorReplacement>& replacements,
                     const std::map<std::string, GgmlType>& types = {}) {
    return WriteGgufWithReplacedTensors(base::RealFileSystem(), *file_, replacements, types, destination_);
  }

  testing::TempDir dir_;
  const std::string original_ = ThreeTensors('b');
  const std::unique_ptr<GgufFile> file_ = GgufFile::ParseBytes(original_, "x.gguf").value();
  const std::string destination_ = dir_.File("out.gguf");
};

TEST_F(GgufPatch, ReplacesOnlyTheNamedTensors) {
  ASSERT_OK(Write({{"b", [](const GgufTensor& tensor) { return std::string(tensor.bytes.size(), 'B'); }}}));
  EXPECT_EQ(base::RealFileSystem()->Read(destination_).value(), ThreeTensors('B'));
  ASSERT_OK(Write({})) << "an existing file is replaced";
  EXPECT_EQ(base::RealFileSystem()->Read(destination_).value(), original_);
}

TEST_F(GgufPatch, ReplacesInFileOrderWhateverTheNames) {
  std::string order;
  const TensorReplacement upper = [&order](const GgufTensor& tensor) {
    order += tensor.name;
    return std::string(tensor.bytes.size(), static_cast<char>(tensor.name[0] - 'a' + 'A'));
  };
  ASSERT_OK(Write({{"c", upper}, {"a", upper}}));
  EXPECT_EQ(order, "ac");
  ASSERT_OK_AND_ASSIGN(auto out, GgufFile::Open(destination_));
  EXPECT_EQ(out->FindTensor("a")->bytes, std::string(12, 'A'));
  EXPECT_EQ(out->FindTensor("b")->bytes, std::string(10, 'b'));
  EXPECT_EQ(out->FindTensor("c")->bytes, std::string(34, 'C'));
}

TEST_F(GgufPatch, GivesTensorsOtherTypes) {
  const TensorReplacement halves = [](const GgufTensor&) { return std::string(64, 'H'); };
  ASSERT_OK(Write({{"c", halves}}, {{"c", GgmlType::kF16}}));
  ASSERT_OK_AND_ASSIGN(auto out, GgufFile::Open(destination_));
  EXPECT_EQ(out->FindTensor("c")->type, GgmlType::kF16);
  EXPECT_EQ(out->FindTensor("c")->bytes, std::string(64, 'H'));
  EXPECT_EQ(out->FindTensor("b")->bytes, std::string(10, 'b'));
  EXPECT_EQ(out->FindTensor("a")->bytes, std::string(12, 'a'));
  EXPECT_EQ(out->GetString("general.architecture").value(), "llama");
  EXPECT_THAT(Write({{"b", halves}}, {{"b", GgmlType::kQ8_0}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the rows of 5 values of tensor 'b' are no whole Q8_0 blocks of 32")));
}

TEST_F(GgufPatch, LeavesNothingBehindOnErrors) {
  const TensorReplacement shorter = [](const GgufTensor&) { return std::string("x"); };
  const TensorReplacement failing = [](const GgufTensor&) { return absl::DataLossError("lost"); };
  EXPECT_THAT(Write({{"b", shorter}}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("tensor 'b' has 1 bytes, expected 10"), HasSubstr("x.gguf"))));
  EXPECT_THAT(Write({{"c", failing}}), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("lost")));
  EXPECT_THAT(Write({{"blk", shorter}}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no tensor 'blk'")));
  EXPECT_TRUE(base::RealFileSystem()->List(dir_.path()).value().empty());
}

}  // namespace
}  // namespace qzo::model
