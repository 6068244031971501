#include "worker/frame_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>

#include "tests/support/status_matchers.h"

namespace qzo::worker {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;

v1::StageFrame Frame(uint32_t row) {
  v1::StageFrame frame;
  frame.mutable_rows()->set_row(row);
  frame.mutable_rows()->set_values(std::string(100, 'x'));
  return frame;
}

TEST(FrameQueueTest, GivesFramesOutInOrder) {
  FrameQueue queue(1 << 20);
  EXPECT_FALSE(queue.TryPop().has_value());
  ASSERT_OK(queue.Push(Frame(1)));
  queue.Add(Frame(2));
  ASSERT_OK(queue.Push(Frame(3)));
  ASSERT_OK_AND_ASSIGN(const v1::StageFrame first, queue.Pop());
  EXPECT_EQ(first.rows().row(), 1u);
  EXPECT_EQ(queue.TryPop()->rows().row(), 2u);
  EXPECT_EQ(queue.Pop()->rows().row(), 3u);
}

TEST(FrameQueueTest, HoldsNoMoreThanItMay) {
  FrameQueue queue(150);  // two frames: the second one before it is full
  std::atomic<int> pushed{0};
  std::thread producer([&] {
    for (uint32_t i = 0; i < 1000; ++i) {
      ASSERT_OK(queue.Push(Frame(i)));
      ++pushed;
    }
  });
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(queue.Pop()->rows().row(), static_cast<uint32_t>(i));
    EXPECT_LE(pushed, i + 1 + 2) << "popped, and held";
  }
  producer.join();
  EXPECT_FALSE(queue.full());
  queue.Add(Frame(0));
  queue.Add(Frame(0));
  EXPECT_TRUE(queue.full());
}

TEST(FrameQueueTest, ItsEndWakesWhateverWaitsAndIsTheLastWord) {
  FrameQueue empty(1), full(1);
  ASSERT_OK(full.Push(Frame(1)));
  absl::Status popped, pushed, opened;
  std::thread reader([&] { popped = empty.Pop().status(); });
  std::thread writer([&] { pushed = full.Push(Frame(2)); });
  std::thread opener([&] { opened = empty.WaitUntilOpen(); });
  EXPECT_TRUE(empty.End(absl::UnavailableError("gone")));
  EXPECT_TRUE(full.End(absl::UnavailableError("gone")));
  EXPECT_FALSE(full.End(absl::CancelledError("too late")));
  reader.join();
  writer.join();
  opener.join();
  for (const absl::Status& status : {popped, pushed, opened, full.status(), full.Push(Frame(3)), full.Pop().status(),
                                     full.WaitForEnd(absl::Hours(1))}) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("gone")));
  }
  EXPECT_FALSE(full.full()) << "what was in it is gone";
}

TEST(FrameQueueTest, OpensWhenTheOtherSideIsThere) {
  FrameQueue queue(1);
  std::thread other([&] { queue.Open(); });
  EXPECT_OK(queue.WaitUntilOpen());
  other.join();
  EXPECT_OK(queue.WaitForEnd(absl::ZeroDuration())) << "no end";
}

}  // namespace
}  // namespace qzo::worker
