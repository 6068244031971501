#include "base/signals.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <future>

namespace qzo::base {
namespace {

TEST(SignalWatch, TheFirstSignalAsksForAnEnd) {
  for (const int signal : {SIGTERM, SIGINT}) {
    SignalWatch signals;
    std::promise<void> stopped;
    signals.Arm([&stopped] { stopped.set_value(); });
    ::kill(::getpid(), signal);
    stopped.get_future().wait();
  }
}

TEST(SignalWatchDeathTest, TheSecondSignalEndsTheProcessAtOnce) {
  const auto twice = [] {
    SignalWatch signals;
    std::promise<void> stopped;
    signals.Arm([&stopped] { stopped.set_value(); });
    ::kill(::getpid(), SIGTERM);
    stopped.get_future().wait();
    ::kill(::getpid(), SIGINT);
    std::promise<void>().get_future().wait();  // for ever: the drain that hangs
  };
  EXPECT_EXIT(twice(), ::testing::ExitedWithCode(128 + SIGINT), "");
}

}  // namespace
}  // namespace qzo::base
