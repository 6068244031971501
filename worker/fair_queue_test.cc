#include "worker/fair_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace qzo::worker {
namespace {

class FairQueueTest : public ::testing::Test {
 protected:
  FairQueue::Task Log(char name) {
    return [this, name] { return log_ += name, false; };
  }
  // Runs all that can run.
  void RunAll() {
    queue_.WhenIdle([this] { queue_.Stop(); });
    while (queue_.RunNext()) {
    }
  }

  FairQueue queue_;
  std::string log_;
};

TEST_F(FairQueueTest, LanesTakeTurnsAndKeepTheirOrder) {
  for (const char name : {'a', 'b', 'c'}) queue_.Push(1, Log(name));
  for (const char name : {'x', 'y'}) queue_.Push(2, Log(name));
  RunAll();
  EXPECT_EQ(log_, "axbyc");
}

TEST_F(FairQueueTest, ATaskThatIsNotDoneComesBackBeforeItsSuccessors) {
  int left = 3;
  queue_.Push(1, [&] { return log_ += 'r', --left > 0; });
  queue_.Push(1, Log('a'));
  queue_.Push(2, Log('x'));
  RunAll();
  EXPECT_EQ(log_, "rxrra");
}

TEST_F(FairQueueTest, AHeldLaneWaitsForItsRelease) {
  queue_.Hold(1);
  queue_.Push(1, Log('a'));
  queue_.Push(2, [this] { return log_ += 'x', queue_.Release(1), false; });
  queue_.Push(2, Log('y'));
  RunAll();
  EXPECT_EQ(log_, "xay");
}

TEST_F(FairQueueTest, IdleMeansThatOnlyHeldLanesHaveTasks) {
  queue_.Hold(1);
  queue_.Push(1, Log('a'));
  queue_.Push(2, Log('x'));
  RunAll();
  EXPECT_EQ(log_, "x");
}

TEST_F(FairQueueTest, ADroppedLaneForgetsItsTasksAndDestroysThem) {
  auto owned = std::make_shared<int>(0);
  queue_.Push(1, [owned] { return ++*owned, false; });
  queue_.Drop(1);
  EXPECT_EQ(owned.use_count(), 1);
  RunAll();
  EXPECT_EQ(*owned, 0);
}

TEST_F(FairQueueTest, ATaskWhoseLaneIsDroppedWhileItRunsIsNotCalledAgain) {
  queue_.Push(1, [this] { return log_ += 'r', queue_.Drop(1), true; });
  RunAll();
  EXPECT_EQ(log_, "r");
}

TEST_F(FairQueueTest, ALaneMayBeUsedAgainAfterADrop) {
  queue_.Push(1, [this] { return queue_.Drop(1), queue_.Push(1, Log('a')), true; });
  RunAll();
  EXPECT_EQ(log_, "a");
}

TEST_F(FairQueueTest, StopForgetsWhatWaitsAndWhatComes) {
  auto held = std::make_shared<int>(0);
  queue_.Push(1, [held] { return false; });
  queue_.Hold(2);
  queue_.Push(2, [held] { return false; });
  queue_.Stop();
  queue_.Push(1, [held] { return false; });
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_FALSE(queue_.RunNext());
}

}  // namespace
}  // namespace qzo::worker
