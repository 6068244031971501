// Whatever users and disks do wrong gives one clear message, the right exit code, and loses nothing. Real processes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/integration/fleet.h"

namespace qzo::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class BadInput : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(fleet_.dir().File(name), std::ios::binary) << text;
    return fleet_.dir().File(name);
  }
  // Submits a job file made of a good one with `replace` put in the place of `find`.
  CommandResult SubmitWith(const std::string& find, const std::string& replace) {
    std::string text = ReadWhole(fleet_.TinyJob("job", 5));
    const size_t at = text.find(find);
    EXPECT_NE(at, std::string::npos);
    text.replace(at, find.size(), replace);
    return fleet_.Ctl({"submit", "-f", Write("bad.yaml", text), "--detach"});
  }
  Fleet fleet_;
};

TEST_F(BadInput, UnknownKeysAreNamedWithTheirPlaceAndAGuess) {
  const CommandResult result = SubmitWith("probes", "probs");
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.errors, AllOf(HasSubstr("bad.yaml:"), HasSubstr("probs"), HasSubstr("did you mean 'probes'")));
}

TEST_F(BadInput, ValuesOutOfRangeAreAllReportedAtOnce) {
  const CommandResult result = SubmitWith("seed: 7", "seed: 7, epsilon: -1, warmup_ratio: 3");
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.errors, AllOf(HasSubstr("method.epsilon"), HasSubstr("method.warmup_ratio")));
}

TEST_F(BadInput, ABadDatasetLineIsNamed) {
  const std::string rows = ReadWhole(TestFile("golden/data/tiny_train.jsonl"));
  const std::string path = Write("rows.jsonl", rows + "{\"text\": \"cut off\", \"label\":\n");
  const CommandResult result = SubmitWith(TestFile("golden/data/tiny_train.jsonl"), path);
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.errors, HasSubstr("65:"));
}

TEST_F(BadInput, ARowWithoutTheTemplatesFieldIsNamed) {
  const CommandResult result = SubmitWith("prompt: \"{text}\"", "prompt: \"{txt}\"");
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.errors, AllOf(HasSubstr("1:"), HasSubstr("txt")));
}

TEST_F(BadInput, AnEmptyDatasetIsRefused) {
  const CommandResult result = SubmitWith(TestFile("golden/data/tiny_dev.jsonl"), Write("empty.jsonl", ""));
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.errors, HasSubstr("empty"));
}

TEST_F(BadInput, ATruncatedModelIsRefusedAndNothingIsLeftBehind) {
  const std::string model = ReadWhole(TestFile("golden/models/stories260k/stories260K-Q4_1.gguf"));
  const CommandResult result = fleet_.Ctl({"upload", "model", Write("cut.gguf", model.substr(0, model.size() / 2))});
  EXPECT_EQ(result.code, 2);
  EXPECT_EQ(fleet_.Ctl({"get", "models", "-o", "name"}).out, "");
}

TEST_F(BadInput, ARowWithoutTextIsNamed) {
  const std::string path =
      Write("rows.jsonl", ReadWhole(TestFile("golden/data/tiny_train.jsonl")) + "{\"text\": \"\", \"label\": 0}\n");
  const CommandResult result = SubmitWith(TestFile("golden/data/tiny_train.jsonl"), path);
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.errors, HasSubstr("65:"));
}

TEST_F(BadInput, ARowLongerThanTheContextIsCutAndCounted) {
  std::string row = "{\"text\": \"";
  for (int i = 0; i < 2000; ++i) row += "One day. ";
  const std::string path =
      Write("rows.jsonl", ReadWhole(TestFile("golden/data/tiny_train.jsonl")) + row + "\", \"label\": 0}\n");
  EXPECT_EQ(SubmitWith(TestFile("golden/data/tiny_train.jsonl"), path).code, 0);
  const CommandResult plan = fleet_.Ctl({"plan", "-f", fleet_.dir().File("bad.yaml"), "-o", "json"});
  EXPECT_EQ(plan.code, 0) << plan.errors;
  EXPECT_THAT(plan.out, HasSubstr("\"truncatedRows\": \"1\""));
}

TEST_F(BadInput, AnOptionLongerThanTheContextIsRefused) {
  std::string option;
  for (int i = 0; i < 2000; ++i) option += " day";
  const CommandResult result = SubmitWith("options: [He, She]", "options: [He, \"" + option + "\"]");
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.errors, HasSubstr("option"));
}

TEST_F(BadInput, ATokenizerThatIsNotKnownIsNamed) {
  std::string model = ReadWhole(TestFile("golden/models/stories260k/stories260K-Q4_1.gguf"));
  const std::string key = "tokenizer.ggml.model";
  const size_t value = model.find("llama", model.find(key));
  ASSERT_NE(value, std::string::npos);
  model.replace(value, 5, "clown");
  const CommandResult result = fleet_.Ctl({"upload", "model", Write("clown.gguf", model)});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.errors, AllOf(HasSubstr(key), HasSubstr("clown")));
}

TEST_F(BadInput, AFileThatIsNoModelIsRefused) {
  const CommandResult result = fleet_.Ctl({"upload", "model", Write("text.gguf", "GGUF is what this is not")});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.errors, HasSubstr("text.gguf"));
}

TEST_F(BadInput, TheSameRequestTwiceIsOneJob) {
  const std::string file = fleet_.TinyJob("job", 5);
  const CommandResult first = fleet_.Ctl({"submit", "-f", file, "--detach", "--request-id", "r1"});
  const CommandResult second = fleet_.Ctl({"submit", "-f", file, "--detach", "--request-id", "r1"});
  EXPECT_EQ(first.code, 0) << first.errors;
  EXPECT_EQ(second.code, 0) << second.errors;
  EXPECT_EQ(first.out, second.out);
  const CommandResult other = fleet_.Ctl({"submit", "-f", file, "--detach"});
  EXPECT_EQ(other.code, 8) << "the name is taken";
}

TEST_F(BadInput, AnUnreachableServerIsSaidInOneLine) {
  fleet_.KillServer(SIGTERM);
  const CommandResult result = fleet_.Ctl({"get", "jobs"});
  EXPECT_EQ(result.code, 5);
  EXPECT_THAT(result.errors, HasSubstr(fleet_.address()));
}

TEST_F(BadInput, UnknownJobsAndVerbsHaveTheirCodes) {
  EXPECT_EQ(fleet_.Ctl({"describe", "job", "nobody"}).code, 7);
  EXPECT_EQ(fleet_.Ctl({"no-such-verb"}).code, 2);
}

TEST_F(BadInput, ASecondServerOnTheSameStoreIsRefused) {
  const std::string log = fleet_.dir().File("second.log");
  Process second(Program("qzo-server"),
                 {"--listen", "127.0.0.1:" + std::to_string(FreePort()), "--metrics-address", "", "--data-dir",
                  fleet_.dir().File("server")},
                 log);
  EXPECT_EQ(second.Wait(), 1);
  EXPECT_THAT(ReadWhole(log), HasSubstr(fleet_.dir().File("server")));
}

TEST_F(BadInput, ListeningBeyondLoopbackNeedsInsecure) {
  const std::string log = fleet_.dir().File("open.log");
  Process open(Program("qzo-server"),
               {"--listen", "0.0.0.0:" + std::to_string(FreePort()), "--metrics-address", "", "--data-dir",
                fleet_.dir().File("open")},
               log);
  EXPECT_NE(open.Wait(), 0);
  EXPECT_THAT(ReadWhole(log), HasSubstr("--insecure"));
}

TEST_F(BadInput, CancelEndsWithItsOwnCode) {
  const CommandResult submit = fleet_.Ctl({"submit", "-f", fleet_.TinyJob("job", 5), "--detach"});
  ASSERT_EQ(submit.code, 0) << submit.errors;
  EXPECT_EQ(fleet_.Ctl({"wait", "job", "--for=state=succeeded", "--timeout", "1s"}).code, 4)
      << "no worker: still waiting";
  EXPECT_EQ(fleet_.Ctl({"cancel", "job"}).code, 0);
  EXPECT_EQ(fleet_.Ctl({"wait", "job", "--for=state=succeeded", "--timeout", "20s"}).code, 3);
  EXPECT_EQ(fleet_.Ctl({"cancel", "job"}).code, 8);
}

}  // namespace
}  // namespace qzo::testing
