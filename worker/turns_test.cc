#include "worker/turns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <latch>
#include <new>
#include <thread>

#include "tests/support/status_matchers.h"

namespace qzo::worker {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;

class TurnsTest : public ::testing::Test {
 protected:
  ~TurnsTest() override {
    queue_.Stop();
    compute_.join();
  }
  FairQueue queue_;
  Turns turns_{&queue_, 1};
  std::thread compute_{[this] {
    while (queue_.RunNext()) {
    }
  }};
};

TEST_F(TurnsTest, WorkRunsOnTheOtherThreadBeforeTheCallReturns) {
  std::thread::id ran;
  EXPECT_OK(turns_.Run([&] { ran = std::this_thread::get_id(); }));
  EXPECT_EQ(ran, compute_.get_id());
}

TEST_F(TurnsTest, WorkWithoutMemoryIsAStatus) {
  EXPECT_THAT(turns_.Run([] { throw std::bad_alloc(); }),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("out of memory")));
  EXPECT_OK(turns_.Run([] {}));
}

TEST_F(TurnsTest, StopEndsTheWaitForATurnButNotATurn) {
  std::latch busy(1), go_on(1);
  bool ended = false;
  std::thread running([&] {
    EXPECT_OK(turns_.Run([&] {
      busy.count_down();
      go_on.wait();
      ended = true;
    }));
    EXPECT_TRUE(ended);
  });
  busy.wait();
  std::thread waiting([&] {
    EXPECT_THAT(turns_.Run([] { ADD_FAILURE() << "it was stopped before"; }),
                StatusIs(absl::StatusCode::kCancelled, HasSubstr("closed")));
  });
  turns_.Stop();
  waiting.join();  // while the other turn goes on
  EXPECT_FALSE(ended);
  go_on.count_down();
  running.join();
  EXPECT_THAT(turns_.Run([] { ADD_FAILURE(); }), StatusIs(absl::StatusCode::kCancelled, HasSubstr("closed")));
}

}  // namespace
}  // namespace qzo::worker
