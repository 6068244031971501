#include "server/core/simulator.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace qzo::server::core {
namespace {

// QZO_SIMULATOR_SEEDS=N runs N histories instead of 1000; QZO_SIMULATOR_FIRST=S begins at seed S.
uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

TEST(Simulator, EveryHistoryEndsInTheJournalOfAnUndisturbedRun) {
  const uint64_t first = FromEnvironment("QZO_SIMULATOR_FIRST", 1);
  uint64_t crashes = 0, kills = 0, delivered = 0, formed = 0, lost = 0;
  const uint64_t seeds = FromEnvironment("QZO_SIMULATOR_SEEDS", 1000);
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    Simulator simulator({.seed = seed});
    ASSERT_EQ(simulator.Run(), "");
    crashes += simulator.crashes();
    kills += simulator.kills();
    delivered += simulator.delivered();
    formed += simulator.formed();
    lost += simulator.lost();
  }
  // A simulator that disturbs nothing would prove nothing.
  EXPECT_GT(crashes, seeds / 2);
  EXPECT_GT(kills, seeds / 2);
  EXPECT_GT(delivered, 100 * seeds);
  EXPECT_GT(formed, 2 * seeds);
  EXPECT_GT(lost, seeds / 2);
}

TEST(Simulator, TheSameSeedIsTheSameHistory) {
  Simulator a({.seed = 7}), b({.seed = 7});
  EXPECT_EQ(a.Run(), b.Run());
  EXPECT_EQ(a.delivered(), b.delivered());
}

TEST(Simulator, ManyWorkersAndJobs) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Simulator simulator({.seed = seed, .jobs = 12, .workers = 16, .steps = 20});
    ASSERT_EQ(simulator.Run(), "");
  }
}

}  // namespace
}  // namespace qzo::server::core
