// What is left after the machine stops at any byte of the log.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "server/sqlite_store.h"
#include "server/store_conformance.h"
#include "tests/support/small_disk.h"

namespace qzo::server {
namespace {

std::unique_ptr<SqliteStore> Open(const std::string& path) {
  auto store = SqliteStore::Open({.path = path});
  EXPECT_OK(store);
  return *std::move(store);
}

std::string ReadOrDie(const std::string& path) {
  auto bytes = base::RealFileSystem()->Read(path);
  EXPECT_OK(bytes);
  return *std::move(bytes);
}

// A commit that was answered: how long the log was then, and how many steps and events the job had.
struct Acknowledged {
  size_t log_bytes;
  uint32_t steps;
  uint64_t events;
};

// Expects the store made of `database` and `log` to hold everything acknowledged within the first `intact` bytes of the
// log, and beyond that only what was really submitted.
void ExpectRecovered(const std::string& directory, const std::string& database, const std::string& log, size_t intact,
                     const std::vector<Acknowledged>& acks) {
  const std::string path = directory + "/copy.db";
  std::ofstream(path, std::ios::binary) << database;
  std::ofstream(path + "-wal", std::ios::binary) << log;
  auto store = Open(path);
  Acknowledged least = acks.front();
  for (const Acknowledged& ack : acks) least = ack.log_bytes <= intact ? ack : least;
  ASSERT_OK_AND_ASSIGN(const StoredResource job, store->GetByUid("uid-a"));
  ASSERT_GE(job.next_step, least.steps);
  ASSERT_LE(job.next_step, acks.back().steps);
  ExpectJournal(*store, "uid-a", 0, job.next_step);
  ASSERT_OK_AND_ASSIGN(const uint64_t events, store->LastEventSequence("uid-a"));
  EXPECT_EQ(events, job.next_step - acks.front().steps) << "an event without its step, or a step without its event";
  EXPECT_OK(store->Write({NewStep("uid-a", job.next_step)})) << "the job goes on";
}

TEST(SqliteAfterACrash, EveryAcknowledgedStepIsThereWhereverTheLogIsCut) {
  const qzo::testing::SmallDisk disk(uint64_t{64} << 20);  // for speed: hundreds of recoveries, each with its syncs
  const std::string path = disk.File("qzo.db");
  constexpr uint32_t kFirst = 1018;  // the log holds the compaction of the first chunk
  {
    WriteBatch batch = {NewJob("a")};
    for (uint32_t step = 0; step < kFirst; ++step) batch.push_back(NewStep("uid-a", step));
    ASSERT_OK(Open(path)->Write(batch));
  }
  auto store = Open(path);  // begins a new log
  const std::string database = ReadOrDie(path);
  std::vector<Acknowledged> acks = {{0, kFirst, 0}};
  for (uint32_t i = 0; i < 12; ++i) {
    ASSERT_OK(store->Write({NewStep("uid-a", kFirst + i), AppendEvent{"uid-a", {i + 1, absl::UnixEpoch(), "event"}}}));
    ASSERT_OK_AND_ASSIGN(const uint64_t log_bytes, base::RealFileSystem()->Size(path + "-wal"));
    acks.push_back({log_bytes, kFirst + i + 1, i + 1});
  }
  const std::string log = ReadOrDie(path + "-wal");
  ASSERT_EQ(ReadOrDie(path), database) << "no checkpoint yet, so that database and log belong together";

  std::set<size_t> cuts;
  for (size_t cut = 0; cut <= log.size(); cut += 2047) cuts.insert(cut);
  for (const Acknowledged& ack : acks) {
    for (const size_t cut : {ack.log_bytes - 1, ack.log_bytes, ack.log_bytes + 1})
      cuts.insert(std::min(cut, log.size()));
  }
  for (const size_t cut : cuts) {
    SCOPED_TRACE(absl::StrCat("cut at ", cut, " of ", log.size()));
    ExpectRecovered(disk.path(), database, log.substr(0, cut), cut, acks);
    std::string torn = log;  // as long as it was, but what follows never reached the disk
    std::fill(torn.begin() + static_cast<std::ptrdiff_t>(cut), torn.end(), '\0');
    ExpectRecovered(disk.path(), database, torn, cut, acks);
    if (HasFailure()) return;
  }
  for (size_t at = 100; at < log.size(); at += 8191) {
    SCOPED_TRACE(absl::StrCat("bit flipped at ", at));
    std::string flipped = log;
    flipped[at] ^= 1;
    ExpectRecovered(disk.path(), database, flipped, at, acks);
    if (HasFailure()) return;
  }
}

TEST(SqliteAfterACrash, AKilledServerHasEveryStepItAcknowledged) {
  const qzo::testing::SmallDisk disk(uint64_t{64} << 20);
  const std::string path = disk.File("qzo.db");
  int pipe_ends[2];
  ASSERT_EQ(::pipe(pipe_ends), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto store = Open(path);
    if (!store->Write({NewJob("a")}).ok()) ::_exit(1);
    for (uint32_t step = 0;; ++step) {
      if (!store->Write({NewStep("uid-a", step)}).ok() || ::write(pipe_ends[1], ".", 1) != 1) ::_exit(1);
    }
  }
  ::close(pipe_ends[1]);
  uint32_t acknowledged = 0;
  char buffer[256];
  bool killed = false;
  for (ssize_t n; (n = ::read(pipe_ends[0], buffer, sizeof buffer)) > 0;) {
    acknowledged += static_cast<uint32_t>(n);
    if (acknowledged >= 1100 && !killed) killed = ::kill(child, SIGKILL) == 0;
  }
  ::close(pipe_ends[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << "the server ended by itself";
  auto store = Open(path);
  ASSERT_OK_AND_ASSIGN(const StoredResource job, store->GetByUid("uid-a"));
  EXPECT_GE(job.next_step, acknowledged);
  EXPECT_LE(job.next_step, acknowledged + 1);
  ExpectJournal(*store, "uid-a", 0, job.next_step);
}

}  // namespace
}  // namespace qzo::server
