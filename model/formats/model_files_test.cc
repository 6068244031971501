#include "model/formats/model_files.h"

#include <gtest/gtest.h>

#include "base/digest.h"
#include "base/sha256sums.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_checkpoint.h"

namespace qzo::model {
namespace {

using ::qzo::testing::GgufBuilder;
using ::qzo::testing::StatusIs;
using ::qzo::testing::TinyCheckpoint;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::string Part(uint32_t index, const std::string& tensor) {
  GgufBuilder builder;
  return builder.Uint32("split.no", index)
      .Uint32("split.count", 2)
      .Tensor(tensor, GgmlType::kF32, {1}, "xxxx")
      .Finish();
}

class ModelFilesTest : public ::testing::Test {
 protected:
  void Write(const std::map<std::string, std::string>& files) {
    for (const auto& [name, bytes] : files) {
      ASSERT_OK(base::RealFileSystem()->WriteDurably(directory_.File(name), bytes));
    }
  }
  std::vector<std::string> Names(const std::string& path) {
    std::vector<std::string> names;
    const auto listed = ListModelFiles(path);
    EXPECT_OK(listed);
    for (const NamedPath& file : *listed) {
      EXPECT_TRUE(base::RealFileSystem()->Exists(file.path));
      names.push_back(file.name);
    }
    return names;
  }
  // As they lie in a store of blobs.
  std::map<std::string, std::unique_ptr<base::MappedFile>> Mapped(const std::vector<std::string>& names) {
    std::map<std::string, std::unique_ptr<base::MappedFile>> files;
    for (const std::string& name : names) files[name] = base::MappedFile::Open(directory_.File(name)).value();
    return files;
  }
  // As a list of these files says it.
  std::string Listed(const std::vector<std::string>& names) {
    std::vector<base::FileDigest> files;
    for (const auto& [name, file] : Mapped(names)) files.push_back({name, base::Sha256Hex(file->bytes())});
    return base::Sha256Hex(base::WriteSha256Sums(files));
  }

  testing::TempDir directory_;
};

TEST_F(ModelFilesTest, ADirectoryIsItsCheckpointsFilesAndNoOthers) {
  Write(TinyCheckpoint("gptq").Files(2));
  Write({{"README.md", "x"}, {"tokenizer.json", "{}"}, {"other.safetensors", "x"}, {"SHA256SUMS", "x"}});
  const std::vector<std::string> names = {"config.json", "model-0.safetensors", "model-1.safetensors",
                                          "model.safetensors.index.json", "tokenizer.json"};
  EXPECT_EQ(Names(directory_.path()), names);
  ASSERT_OK_AND_ASSIGN(const ModelFiles opened, OpenModelFiles(directory_.path()));
  ASSERT_NE(opened.checkpoint, nullptr);
  EXPECT_EQ(opened.Digest(), Listed(names));
  ASSERT_OK_AND_ASSIGN(const ModelFiles again, OpenListedFiles(Mapped(names), "the model"));
  EXPECT_EQ(again.Digest(), opened.Digest());
  EXPECT_EQ(again.checkpoint->tensors().size(), opened.checkpoint->tensors().size());
}

TEST_F(ModelFilesTest, AListNamesEveryFileThatCountsAndNoOther) {
  Write(TinyCheckpoint("gptq").Files(2));
  Write({{"README.md", "x"}, {"other.safetensors", "x"}});
  const std::vector<std::string> names = {"config.json", "model-0.safetensors", "model-1.safetensors",
                                          "model.safetensors.index.json"};
  for (const std::string more : {"README.md", "other.safetensors"}) {
    std::vector<std::string> with = names;
    with.push_back(more);
    EXPECT_THAT(OpenListedFiles(Mapped(with), "the model"),
                StatusIs(kInvalid, HasSubstr("the model: '" + more + "' is no part of the model")));
  }
  EXPECT_THAT(
      OpenListedFiles(Mapped({"config.json", "model-0.safetensors", "model.safetensors.index.json"}), "the model"),
      StatusIs(kInvalid, HasSubstr("'model-1.safetensors', which model.safetensors.index.json names, is not")));
}

TEST_F(ModelFilesTest, PartsOfASplitModelAreOneModel) {
  Write({{"m-00001-of-00002.gguf", Part(0, "a")}, {"m-00002-of-00002.gguf", Part(1, "b")}, {"notes.txt", "x"}});
  const std::vector<std::string> names = {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"};
  EXPECT_EQ(Names(directory_.path()), names);
  EXPECT_EQ(Names(directory_.File(names[0])), names);
  ASSERT_OK_AND_ASSIGN(const ModelFiles by_directory, OpenModelFiles(directory_.path()));
  ASSERT_NE(by_directory.gguf, nullptr);
  EXPECT_EQ(by_directory.Digest(), Listed(names));
  ASSERT_OK_AND_ASSIGN(const ModelFiles listed, OpenListedFiles(Mapped(names), "the model"));
  EXPECT_TRUE(listed.gguf->complete());
  EXPECT_EQ(listed.Digest(), by_directory.Digest());
  EXPECT_NE(listed.gguf->FindTensor("b"), nullptr);

  EXPECT_THAT(OpenListedFiles(Mapped({names[0]}), "the model"),
              StatusIs(kInvalid, HasSubstr("part 'm-00002-of-00002.gguf' is missing")));
  Write({{"z.gguf", Part(1, "c")}});
  EXPECT_THAT(
      OpenListedFiles(Mapped({names[0], names[1], "z.gguf"}), "the model"),
      StatusIs(kInvalid, HasSubstr("'z.gguf' is no part of the model that begins with 'm-00001-of-00002.gguf'")));
}

TEST_F(ModelFilesTest, AFileInOnePieceIsNotOpenedToBeListed) {
  Write({{"m.gguf", "anything"}});
  EXPECT_THAT(Names(directory_.File("m.gguf")), ElementsAre("m.gguf"));
  EXPECT_THAT(OpenModelFiles(directory_.File("m.gguf")), StatusIs(kInvalid, HasSubstr("m.gguf")));
  EXPECT_THAT(ListModelFiles(directory_.File("m-00001-of-00002.gguf")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("m-00001")));
}

TEST_F(ModelFilesTest, ADirectoryWithoutAModelSaysWhatIsMissing) {
  Write({{"notes.txt", "x"}});
  EXPECT_THAT(OpenModelFiles(directory_.path()), StatusIs(kInvalid, HasSubstr("expected model.safetensors or")));
}

}  // namespace
}  // namespace qzo::model
