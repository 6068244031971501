#include <gtest/gtest.h>

#include <fstream>

#include "base/digest.h"
#include "model/formats/gguf.h"
#include "model/formats/gguf_patch.h"
#include "model/formats/model_info.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::model {
namespace {

using ::qzo::testing::GgufBuilder;
using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

GgufBuilder Part(uint32_t index, uint32_t count) {
  GgufBuilder builder;
  return builder.Uint32("split.no", index).Uint32("split.count", count);
}

class SplitTest : public ::testing::Test {
 protected:
  void Write(const std::string& name, const std::string& bytes) {
    std::ofstream(directory_.File(name), std::ios::binary) << bytes;
  }
  testing::TempDir directory_;
  const std::string first_ = Part(0, 3).String("general.architecture", "llama").Finish();
  const std::string second_ = Part(1, 3).Tensor("a", GgmlType::kF32, {2}, "aaaaAAAA").Finish();
  const std::string third_ = Part(2, 3).Tensor("b", GgmlType::kF32, {1}, "bbbb").Finish();
};

TEST_F(SplitTest, OpensAllPartsByThePathOfTheFirst) {
  Write("m-00001-of-00003.gguf", first_);
  Write("m-00002-of-00003.gguf", second_);
  Write("m-00003-of-00003.gguf", third_);
  ASSERT_OK_AND_ASSIGN(const auto file, GgufFile::Open(directory_.File("m-00001-of-00003.gguf")));
  EXPECT_TRUE(file->complete());
  ASSERT_EQ(file->tensors().size(), 2u);
  EXPECT_EQ(file->FindTensor("a")->bytes, "aaaaAAAA");
  EXPECT_EQ(file->FindTensor("b")->bytes, "bbbb");
  EXPECT_EQ(file->file_bytes(), static_cast<int64_t>(first_.size() + second_.size() + third_.size()));
  EXPECT_EQ(file->Digest(),
            base::Sha256Hex(base::Sha256Hex(first_) + "  m-00001-of-00003.gguf\n" + base::Sha256Hex(second_) +
                            "  m-00002-of-00003.gguf\n" + base::Sha256Hex(third_) + "  m-00003-of-00003.gguf\n"));
  EXPECT_THAT(WriteGgufWithReplacedTensors(base::RealFileSystem(), *file, {}, {}, directory_.File("out.gguf")),
              StatusIs(kInvalid, HasSubstr("a split model; put its parts together")));
}

TEST_F(SplitTest, RefusesPartsThatDoNotFit) {
  Write("m-00001-of-00003.gguf", first_);
  EXPECT_THAT(GgufFile::Open(directory_.File("m-00001-of-00003.gguf")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("m-00002-of-00003.gguf")));
  Write("m-00002-of-00003.gguf", third_);
  EXPECT_THAT(GgufFile::Open(directory_.File("m-00001-of-00003.gguf")),
              StatusIs(kInvalid, HasSubstr("says that it is part 2 of 3, counted from 0; expected 1 of 3")));
  Write("m-00002-of-00003.gguf", second_);
  Write("m-00003-of-00003.gguf", Part(2, 3).Tensor("a", GgmlType::kF32, {1}, "bbbb").Finish());
  EXPECT_THAT(GgufFile::Open(directory_.File("m-00001-of-00003.gguf")),
              StatusIs(kInvalid, HasSubstr("tensor 'a' of '")));
  EXPECT_THAT(GgufFile::Open(directory_.File("m-00002-of-00003.gguf")),
              StatusIs(kInvalid, HasSubstr("open the first part, whose name ends with -00001-of-00003.gguf")));
}

TEST_F(SplitTest, APartAloneIsNoModel) {
  ASSERT_OK_AND_ASSIGN(const auto file, GgufFile::ParseBytes(first_, "blob"));
  EXPECT_FALSE(file->complete());
  EXPECT_THAT(ReadModelInfo(*file), StatusIs(kInvalid, HasSubstr("blob: a part of a split model; open the first")));
  ASSERT_OK_AND_ASSIGN(const auto whole, GgufFile::ParseBytes(Part(0, 1).Finish(), "blob"));
  EXPECT_TRUE(whole->complete());
}

}  // namespace
}  // namespace qzo::model
