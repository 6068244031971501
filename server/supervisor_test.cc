#include "server/supervisor.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "absl/time/clock.h"
#include "base/fs.h"
#include "base/mutex.h"
#include "tests/support/temp_dir.h"

namespace qzo::server {
namespace {

// Counts starts and waits for them.
class Starts {
 public:
  void Count(int run) {
    base::MutexLock lock(&mu_);
    runs_ = run;
    changed_.SignalAll();
  }
  void WaitFor(int run) {
    base::MutexLock lock(&mu_);
    while (runs_ < run) changed_.Wait(&mu_);
  }

 private:
  base::Mutex mu_;
  base::CondVar changed_;
  int runs_ ABSL_GUARDED_BY(mu_) = 0;
};

Supervisor::Options Shell(const std::string& script, Starts* starts) {
  Supervisor::Options options;
  options.program = "/bin/sh";
  options.arguments = {"-c", script};
  options.first_pause = absl::Milliseconds(1);
  options.longest_pause = absl::Milliseconds(4);
  options.on_start = [starts](int run) { starts->Count(run); };
  return options;
}

TEST(Supervisor, StartsAgainWhateverEnds) {
  for (const char* script : {"exit 0", "exit 3", "kill -9 $$"}) {
    Starts starts;
    Supervisor supervisor(Shell(script, &starts));
    starts.WaitFor(4);
  }
}

TEST(Supervisor, AProgramThatIsNotThereIsTriedAgain) {
  Starts starts;
  Supervisor::Options options = Shell("", &starts);
  options.program = "/nonexistent";
  Supervisor supervisor(options);
  starts.WaitFor(3);
}

TEST(Supervisor, StopsTheChildInOrder) {
  testing::TempDir directory;
  const std::string ready = directory.File("ready"), bye = directory.File("bye");
  Starts starts;
  {
    // A child is told to stop only after it can be: the fifo's reader waits for the trap to be set.
    ASSERT_EQ(::mkfifo(ready.c_str(), 0600), 0);
    Supervisor supervisor(Shell(
        "trap 'echo bye > " + bye + "; exit 0' TERM; echo > " + ready + "; while :; do sleep 0.01; done", &starts));
    EXPECT_TRUE(base::RealFileSystem()->Read(ready).ok());
  }
  EXPECT_EQ(base::RealFileSystem()->Read(bye).value_or(""), "bye\n");
}

TEST(Supervisor, KillsAChildThatWillNotStop) {
  testing::TempDir directory;
  const std::string ready = directory.File("ready");
  ASSERT_EQ(::mkfifo(ready.c_str(), 0600), 0);
  Starts starts;
  Supervisor::Options options = Shell("trap '' TERM; echo > " + ready + "; exec sleep 60", &starts);
  options.stop_grace = absl::Milliseconds(20);
  const absl::Time start = absl::Now();
  {
    Supervisor supervisor(options);
    EXPECT_TRUE(base::RealFileSystem()->Read(ready).ok());
  }
  EXPECT_LT(absl::Now() - start, absl::Seconds(50));
}

}  // namespace
}  // namespace qzo::server
