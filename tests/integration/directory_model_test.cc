// Models in several files, a checkpoint directory and a split GGUF, from the job file to the verified adapter.
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>

#include "base/fs.h"
#include "tests/integration/fleet.h"
#include "tests/support/status_matchers.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_model.h"

namespace qzo::testing {
namespace {

class DirectoryModelTest : public ::testing::Test {
 protected:
  // Makes DIRECTORY/model/ of the files.
  std::string Directory(const std::map<std::string, std::string>& files) {
    const std::string directory = fleet_.dir().File("model");
    EXPECT_OK(base::RealFileSystem()->CreateDirectories(directory));
    for (const auto& [name, bytes] : files) {
      EXPECT_OK(base::RealFileSystem()->WriteDurably(directory + "/" + name, bytes));
    }
    return directory;
  }
  std::string JobFile(const std::string& name, const std::string& model) {
    const std::string path = fleet_.dir().File(name + ".yaml");
    std::ofstream(path) << "base_model: " << model
                        << "\ndatasets:\n  - {path: " << TestFile("golden/data/tiny_train.jsonl")
                        << ", split: train}\n  - {path: " << TestFile("golden/data/tiny_test.jsonl")
                        << ", split: test}\ntask: {kind: classification, prompt: \"{text}\", options: [He, She]}\n"
                        << "method: {steps: 6, batch_size: 4, probes: 2, seed: 7}\nname: " << name << "\n";
    return path;
  }
  void Run(const std::string& name, const std::string& model) {
    const std::string job = JobFile(name, model);
    const CommandResult plan = fleet_.Ctl({"plan", "-f", job});
    ASSERT_EQ(plan.code, 0) << plan.errors;
    const CommandResult submitted = fleet_.Ctl({"submit", "-f", job, "--detach"});
    ASSERT_EQ(submitted.code, 0) << submitted.errors;
    fleet_.ExpectSuccess(name);
    adapter_ = fleet_.dir().File(name + ".safetensors");
    ASSERT_EQ(fleet_.Ctl({"download", "adapter", name, "-f", adapter_}).code, 0);
  }
  nlohmann::json Json(std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"-o", "json"});
    const CommandResult result = fleet_.Ctl(std::move(arguments));
    EXPECT_EQ(result.code, 0) << result.errors;
    return nlohmann::json::parse(result.out, nullptr, false);
  }

  Fleet fleet_;
  std::string adapter_;
};

TEST_F(DirectoryModelTest, ACheckpointTrainsAndItsAdapterIsVerified) {
  std::map<std::string, std::string> files = TinyCheckpoint("gptq").Files(2);
  files["tokenizer.json"] = TinyCheckpoint::Tokenizer();
  files["README.md"] = "no part of the model";
  const std::string directory = Directory(files);
  fleet_.StartWorker("w1");
  Run("job", directory);
  EXPECT_EQ(fleet_.Job("job")["progress"]["step"], 6);

  // By the directory, and by what the server holds: the digest finds it.
  EXPECT_EQ(Json({"verify", adapter_, "--model", directory})["steps"], 6);
  const std::string cache = fleet_.dir().File("ctl-cache");
  EXPECT_EQ(Json({"--cache-dir", cache, "verify", "job"})["steps"], 6);
  const CommandResult scored =
      fleet_.Ctl({"--cache-dir", cache, "classify", "--adapter", "job", "--text", "text=Once upon a time"});
  EXPECT_EQ(scored.code, 0) << scored.errors;

  const nlohmann::json model = Json({"get", "models"})["models"][0];
  EXPECT_EQ(model["files"].size(), files.size() - 1) << "README.md stays here";
  EXPECT_TRUE(std::filesystem::exists(cache + "/" + model["digest"].get<std::string>() + "/SHA256SUMS"));
  const std::string copy = fleet_.dir().File("copy"), name = model["name"];
  ASSERT_EQ(fleet_.Ctl({"download", "model", name.substr(name.rfind('/') + 1), "-f", copy}).code, 0);
  EXPECT_EQ(Json({"verify", adapter_, "--model", copy})["steps"], 6);

  // A changed file makes another model.
  ASSERT_OK(base::RealFileSystem()->WriteDurably(copy + "/generation_config.json", "{}"));
  const CommandResult other = fleet_.Ctl({"verify", adapter_, "--model", copy});
  EXPECT_NE(other.code, 0);
  EXPECT_NE(other.errors.find("but the adapter was made for"), std::string::npos) << other.errors;
}

TEST_F(DirectoryModelTest, PartsOfASplitGgufTrain) {
  // llama.cpp's gguf-split leaves the keys in the first part; here it holds all tensors, too, but one.
  const auto whole = model::GgufFile::Open(TestFile("golden/models/stories260k/stories260K-Q4_1.gguf"));
  ASSERT_OK(whole);
  GgufBuilder first, second;
  CopyKeys(**whole, &first);
  first.Uint32("split.no", 0).Uint32("split.count", 2);
  second.Uint32("split.no", 1).Uint32("split.count", 2);
  for (const model::GgufTensor& tensor : (*whole)->tensors()) {
    (tensor.name == "output_norm.weight" ? second : first)
        .Tensor(tensor.name, tensor.type, {tensor.dims.begin(), tensor.dims.end()}, tensor.bytes);
  }
  const std::string directory =
      Directory({{"m-00001-of-00002.gguf", first.Finish()}, {"m-00002-of-00002.gguf", second.Finish()}});
  fleet_.StartWorker("w1");
  Run("job", directory + "/m-00001-of-00002.gguf");
  EXPECT_EQ(Json({"verify", adapter_, "--model", directory})["steps"], 6);
  EXPECT_EQ(Json({"--cache-dir", fleet_.dir().File("ctl-cache"), "verify", "job"})["steps"], 6);
}

}  // namespace
}  // namespace qzo::testing
