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
  std::string JobFile(const std::string& name, const std::string& model, const std::string& method) {
    const std::string path = fleet_.dir().File(name + ".yaml");
    std::ofstream(path) << "base_model: " << model
                        << "\ndatasets:\n  - {path: " << TestFile("golden/data/tiny_train.jsonl")
                        << ", split: train}\n  - {path: " << TestFile("golden/data/tiny_test.jsonl")
                        << ", split: test}\ntask: {kind: classification, prompt: \"{text}\", options: [He, She]}\n"
                        << "method: {steps: 6, batch_size: 4, probes: 2, seed: 7" << method << "}\nname: " << name
                        << "\n";
    return path;
  }
  void Run(const std::string& name, const std::string& model, const std::string& method = "") {
    const std::string job = JobFile(name, model, method);
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

TEST_F(DirectoryModelTest, WhatIsUnquantizedTrainsTooWhoeverWorks) {
  std::map<std::string, std::string> files = TinyCheckpoint("aqlm", 8, false, 2).Files();
  files["tokenizer.json"] = TinyCheckpoint::Tokenizer();
  const std::string directory = Directory(files);
  const std::string method = ", preset: qzo-paper, learning_rate: 1e-3, train: [scales, unquantized]";
  fleet_.StartWorker("w1");
  Run("alone", directory, method);
  const nlohmann::json job = fleet_.Job("alone");
  EXPECT_EQ(job["plan"]["deltas"], std::to_string(2 * 512 * 64 + 5 * 64));
  EXPECT_EQ(job["spec"]["method"]["train"], (nlohmann::json{"SCALES", "UNQUANTIZED"}));
  EXPECT_EQ(job["spec"]["method"]["deltaUnit"], 1);

  const nlohmann::json proof = Json({"verify", adapter_, "--model", directory});
  EXPECT_EQ(proof["steps"], 6);
  EXPECT_EQ(proof["deltas"], 2 * 512 * 64 + 5 * 64);
  EXPECT_EQ(proof["digestRecorded"], true);
  const std::string exported = fleet_.dir().File("exported");
  const nlohmann::json report =
      Json({"export", adapter_, exported, "--model", directory, "--dataset", TestFile("golden/data/tiny_test.jsonl")});
  EXPECT_EQ(report["tensors"], 14 + 7);
  EXPECT_NEAR(report["lossAfterRounding"], report["lossBeforeRounding"], 1e-2);
  EXPECT_EQ(Json({"verify", adapter_, "--model", directory, "--exported", exported})["exported"], exported);

  fleet_.StartWorker("w2");
  fleet_.StartWorker("w3");
  ASSERT_TRUE(Eventually([this] { return Json({"get", "workers"})["workers"].size() == 3; }));
  Run("together", directory, method);
  EXPECT_EQ(fleet_.Download("together").journal, fleet_.Download("alone").journal);
  EXPECT_EQ(Json({"verify", adapter_, "--model", directory})["replicaDigest"], proof["replicaDigest"]);

  // In stages, too: the embedding with the first, the head with the last.
  for (const char* name : {"w1", "w2", "w3"}) fleet_.StopWorker(name, SIGTERM);
  for (const char* name : {"s1", "s2"}) fleet_.StartWorker(name, {"--stage-address", "127.0.0.1:0"});
  Run("stages", directory, method + "}\nplacement: {stages: 2");
  EXPECT_EQ(fleet_.Download("stages").journal, fleet_.Download("alone").journal);
  EXPECT_EQ(Json({"verify", adapter_, "--model", directory})["replicaDigest"], proof["replicaDigest"]);
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
