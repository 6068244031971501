#include "server/executor.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace qzo::server {
namespace {

TEST(Executor, RunsEverythingBeforeItGoes) {
  std::atomic<int> runs{0};
  {
    Executor executor(3);
    for (int i = 0; i < 100; ++i) executor.Run([&] { ++runs; });
  }
  EXPECT_EQ(runs, 100);
}

TEST(Executor, OneThreadKeepsTheOrderAndIsNotTheCallers) {
  std::vector<int> order;
  std::thread::id thread;
  {
    Executor executor(1);
    for (int i = 0; i < 10; ++i) executor.Run([&order, i] { order.push_back(i); });
    executor.Run([&] { thread = std::this_thread::get_id(); });
  }
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_NE(thread, std::this_thread::get_id());
}

TEST(Executor, WorkMayAddWork) {
  bool done = false;
  {
    Executor executor(1);
    executor.Run([&] { executor.Run([&] { done = true; }); });
  }
  EXPECT_TRUE(done);
}

}  // namespace
}  // namespace qzo::server
