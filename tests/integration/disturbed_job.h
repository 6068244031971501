// A job that meets with something, and must end in the bits of the same job on one worker in peace.
#ifndef QZO_TESTS_INTEGRATION_DISTURBED_JOB_H_
#define QZO_TESTS_INTEGRATION_DISTURBED_JOB_H_

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/integration/fleet.h"

namespace qzo::testing {

inline constexpr int kSteps = 80;

// Made once in a program: with one worker, and no trouble.
inline const Fleet::Result& Undisturbed() {
  static const Fleet::Result* const result = [] {
    Fleet fleet;
    fleet.StartWorker("only");
    EXPECT_EQ(fleet.Ctl({"submit", "-f", fleet.TinyJob("job", kSteps), "--detach"}).code, 0);
    fleet.ExpectSuccess("job");
    return new Fleet::Result(fleet.Download("job"));
  }();
  return *result;
}

class DisturbedJob : public ::testing::Test {
 protected:
  void Submit(std::vector<std::string> settings = {}) {
    std::vector<std::string> words = {"submit", "-f", fleet_.TinyJob("job", kSteps), "--detach"};
    for (std::string& setting : settings) words.insert(words.end(), {"--set", std::move(setting)});
    const CommandResult result = fleet_.Ctl(words);
    ASSERT_EQ(result.code, 0) << result.errors;
  }
  void WaitForStep(uint32_t step) {
    ASSERT_TRUE(Eventually([&] { return fleet_.Step("job") >= step; })) << fleet_.Ctl({"logs", "job"}).out;
    ASSERT_LT(fleet_.Step("job"), uint32_t{kSteps}) << "the job was over before it could be disturbed";
  }
  void ExpectUndisturbedResult() {
    fleet_.ExpectSuccess("job");
    const Fleet::Result result = fleet_.Download("job");
    EXPECT_FALSE(result.journal.empty());
    EXPECT_TRUE(result.journal == Undisturbed().journal) << "the journals differ";
    EXPECT_TRUE(result.adapter == Undisturbed().adapter) << "the adapters differ";
  }
  Fleet fleet_;
};

}  // namespace qzo::testing

#endif  // QZO_TESTS_INTEGRATION_DISTURBED_JOB_H_
