#include "server/sqlite_store.h"

#include <fstream>

#include "server/sqlite_fault_vfs.h"
#include "server/sqlite_journal.h"
#include "server/sqlite_schema.h"
#include "server/store_conformance.h"
#include "tests/support/small_disk.h"
#include "tests/support/temp_dir.h"

namespace qzo::server {
namespace {

class SqliteHarness final : public StoreHarness {
 public:
  SqliteHarness() { Reopen(); }
  Store& store() override { return *store_; }
  void Reopen() override {
    store_.reset();
    auto opened = SqliteStore::Open({.path = directory_.File("qzo.db"), .clock = &clock_});
    EXPECT_OK(opened);
    store_ = *std::move(opened);
  }
  qzo::testing::FakeClock& clock() override { return clock_; }

 private:
  const qzo::testing::TempDir directory_;
  qzo::testing::FakeClock clock_;
  std::unique_ptr<SqliteStore> store_;
};

std::unique_ptr<StoreHarness> NewSqliteHarness() { return std::make_unique<SqliteHarness>(); }
INSTANTIATE_TEST_SUITE_P(Sqlite, StoreConformance, ::testing::Values(&NewSqliteHarness));

class SqliteStoreTest : public ::testing::Test {
 protected:
  SqliteStore::Options Options() {
    SqliteStore::Options options;
    options.path = path_;
    options.clock = &clock_;
    return options;
  }
  std::unique_ptr<SqliteStore> OpenOrDie(SqliteStore::Options options) {
    auto store = SqliteStore::Open(std::move(options));
    EXPECT_OK(store);
    return *std::move(store);
  }
  // The database behind the store's back, while no store is open.
  std::unique_ptr<SqliteConnection> Raw() {
    auto db = SqliteConnection::Open(path_, "");
    EXPECT_OK(db);
    return *std::move(db);
  }
  void WriteFile(const std::string& bytes) { std::ofstream(path_, std::ios::binary) << bytes; }

  const qzo::testing::TempDir directory_;
  const std::string path_ = directory_.File("deep/down/qzo.db");
  qzo::testing::FakeClock clock_;
};

TEST_F(SqliteStoreTest, MakesItsDirectoryAndOneFile) {
  OpenOrDie(Options()).reset();
  EXPECT_OK(base::RealFileSystem()->Size(path_));
  EXPECT_FALSE(base::RealFileSystem()->Exists(path_ + "-wal")) << "an orderly end leaves no log";
}

TEST_F(SqliteStoreTest, ASecondServerIsToldWhoHasTheStore) {
  auto store = OpenOrDie(Options());
  EXPECT_THAT(SqliteStore::Open(Options()),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       ::testing::AllOf(HasSubstr(path_), HasSubstr(absl::StrCat("process ", ::getpid())))));
  std::filesystem::create_symlink(path_, directory_.File("other-name.db"));
  SqliteStore::Options by_link = Options();
  by_link.path = directory_.File("other-name.db");
  EXPECT_THAT(SqliteStore::Open(by_link), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("in use")));
  store.reset();
  EXPECT_OK(SqliteStore::Open(Options()));
}

TEST_F(SqliteStoreTest, NetworkFileSystemsAreRefused) {
  SqliteStore::Options options = Options();
  options.network_file_system = [](const std::string&) { return "NFS"; };
  EXPECT_THAT(SqliteStore::Open(options),
              StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::AllOf(HasSubstr("NFS"), HasSubstr(path_))));
  EXPECT_FALSE(base::RealFileSystem()->Exists(path_));
}

TEST_F(SqliteStoreTest, ANewerSchemaIsRefusedAndLeftAlone) {
  OpenOrDie(Options()).reset();
  ASSERT_OK(Raw()->Run("UPDATE schema_version SET version = 99"));
  EXPECT_THAT(SqliteStore::Open(Options()), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                     ::testing::AllOf(HasSubstr("newer server"), HasSubstr("99"))));
  ASSERT_OK_AND_ASSIGN(const int64_t version, Raw()->Value(0, "SELECT version FROM schema_version"));
  EXPECT_EQ(version, 99);
}

TEST_F(SqliteStoreTest, AnotherProgramsDatabaseIsRefused) {
  ASSERT_OK(base::RealFileSystem()->CreateDirectories(directory_.File("deep/down")));
  ASSERT_OK(Raw()->Script("CREATE TABLE songs(title TEXT)"));
  EXPECT_THAT(SqliteStore::Open(Options()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("another program")));
}

TEST_F(SqliteStoreTest, MigrationsRunOnceAndInOrderAndAFailedOneLeavesNothing) {
  ASSERT_OK(base::RealFileSystem()->CreateDirectories(directory_.File("deep/down")));
  auto db = Raw();
  const char* const first = "CREATE TABLE t(a INTEGER); INSERT INTO t VALUES (1);";
  const char* const second = "ALTER TABLE t ADD COLUMN b INTEGER; UPDATE t SET b = a + 1;";
  const char* const broken = "UPDATE t SET b = 7; INSERT INTO nowhere VALUES (1);";
  ASSERT_OK(MigrateSqliteSchema(db.get(), path_, {first}));
  ASSERT_OK(MigrateSqliteSchema(db.get(), path_, {first, second}));
  ASSERT_OK(MigrateSqliteSchema(db.get(), path_, {first, second}));
  EXPECT_THAT(MigrateSqliteSchema(db.get(), path_, {first, second, broken}),
              StatusIs(absl::StatusCode::kInternal, ::testing::AllOf(HasSubstr("version 3"), HasSubstr("nowhere"))));
  ASSERT_OK_AND_ASSIGN(const int64_t b, db->Value(0, "SELECT b FROM t"));
  EXPECT_EQ(b, 2);
  ASSERT_OK_AND_ASSIGN(const int64_t version, db->Value(0, "SELECT version FROM schema_version"));
  EXPECT_EQ(version, 2);
}

TEST_F(SqliteStoreTest, ADatabaseOfTheFirstVersionIsBroughtUpToDate) {
  ASSERT_OK(base::RealFileSystem()->CreateDirectories(directory_.File("deep/down")));
  ASSERT_OK(MigrateSqliteSchema(Raw().get(), path_, SqliteMigrations().first(1)));
  auto store = OpenOrDie(Options());
  ASSERT_OK(store->Write({NewJob("a"), NewAudit("r")}));
  ASSERT_OK_AND_ASSIGN(const std::vector<StoredAudit> audit, store->ListAudit({}));
  EXPECT_EQ(audit.size(), 1u);
}

TEST_F(SqliteStoreTest, ADamagedFileIsDataLossWithItsPath) {
  ASSERT_OK(base::RealFileSystem()->CreateDirectories(directory_.File("deep/down")));
  WriteFile(std::string(8192, 'x'));
  EXPECT_THAT(SqliteStore::Open(Options()), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(path_)));
}

TEST_F(SqliteStoreTest, ADamagedPageIsDataLossToReadersAndWriters) {
  {
    auto store = OpenOrDie(Options());
    WriteBatch batch;
    for (int i = 0; i < 300; ++i) batch.push_back(NewJob(absl::StrCat("job", i)));
    ASSERT_OK(store->Write(batch));
  }
  ASSERT_OK_AND_ASSIGN(const int64_t root,
                       Raw()->Value(0, "SELECT rootpage FROM sqlite_schema WHERE name = 'resource'"));
  ASSERT_OK_AND_ASSIGN(const int64_t page_bytes, Raw()->Value(0, "PRAGMA page_size"));
  ASSERT_OK_AND_ASSIGN(std::string bytes, base::RealFileSystem()->Read(path_));
  for (int64_t i = (root - 1) * page_bytes; i < root * page_bytes; ++i)
    bytes[static_cast<size_t>(i)] = static_cast<char>(i * 131);
  WriteFile(bytes);
  auto store = OpenOrDie(Options());
  EXPECT_THAT(store->List(JobsOf()), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(path_)));
  EXPECT_THAT(store->Write({NewJob("new")}), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(path_)));
}

TEST_F(SqliteStoreTest, ADamagedChunkIsDataLossAndNamesTheJob) {
  {
    auto store = OpenOrDie(Options());
    WriteBatch batch = {NewJob("a")};
    for (uint32_t step = 0; step < 2 * kStepsPerChunk + 3; ++step) batch.push_back(NewStep("uid-a", step));
    ASSERT_OK(store->Write(batch));
  }
  {
    auto db = Raw();
    ASSERT_OK_AND_ASSIGN(const int64_t chunks, db->Value(0, "SELECT count(*) FROM step_chunk"));
    EXPECT_EQ(chunks, 2);
    ASSERT_OK_AND_ASSIGN(const int64_t tail, db->Value(0, "SELECT count(*) FROM step_tail"));
    EXPECT_EQ(tail, 3);
  }
  for (const char* where : {"20000", "40"}) {  // in the mean squares, in the records
    auto db = Raw();
    std::string damaged;
    {
      ASSERT_OK_AND_ASSIGN(SqlCursor chunk, db->Query("SELECT records FROM step_chunk WHERE first = 1024"));
      ASSERT_OK(chunk.Next());
      damaged = chunk.String(0);
    }
    damaged[std::stoul(where)] ^= 1;
    ASSERT_OK(db->Run("UPDATE step_chunk SET records = ?1 WHERE first = 1024", SqlBlob{damaged}));
    db.reset();
    auto store = OpenOrDie(Options());
    EXPECT_THAT(store->ReadJournal("uid-a", 0, 3000), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("job uid-a")));
    ExpectJournal(*store, "uid-a", 100, 1024, 1024);
    ExpectJournal(*store, "uid-a", 2048, 2051);
  }
  ASSERT_OK(Raw()->Run("DELETE FROM step_tail WHERE step = 2049"));
  EXPECT_THAT(OpenOrDie(Options())->ReadJournal("uid-a", 2048, 3000),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("step 2050 stands where step 2049")));
  ASSERT_OK(Raw()->Run("DELETE FROM step_tail"));
  EXPECT_THAT(OpenOrDie(Options())->ReadJournal("uid-a", 2048, 3000),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("0 steps from 2048, expected 3")));
}

TEST_F(SqliteStoreTest, RequestIdsAreForgottenAfterAWeek) {
  ASSERT_OK(OpenOrDie(Options())->Write({NewJob("a", "p", 1, 0, "old")}));
  clock_.Advance(absl::Hours(7 * 24));
  ASSERT_OK(OpenOrDie(Options())->Write({NewJob("b", "p", 1, 0, "new")}));
  clock_.Advance(absl::Seconds(1));
  auto store = OpenOrDie(Options());
  ASSERT_OK_AND_ASSIGN(std::optional<std::string> uid, store->ResourceOfRequest("job", "p", "old"));
  EXPECT_EQ(uid, std::nullopt);
  ASSERT_OK_AND_ASSIGN(uid, store->ResourceOfRequest("job", "p", "new"));
  EXPECT_EQ(uid, "uid-b");
}

TEST_F(SqliteStoreTest, AFullQueueRefusesFromTheWriterThread) {
  SqliteStore::Options options = Options();
  options.max_queued_batches = 3;
  auto store = OpenOrDie(options);
  std::promise<void> release;
  const auto held = std::make_shared<std::promise<void>>();
  store->Submit({}, [held, gate = release.get_future().share()](const absl::Status&) {
    held->set_value();
    gate.wait();
  });
  held->get_future().wait();
  std::vector<absl::Status> answers;
  const auto note = [&answers](absl::Status status) { answers.push_back(std::move(status)); };
  for (int i = 0; i < 3; ++i) store->Submit({}, note);
  store->Submit({NewJob("a")}, note);
  EXPECT_TRUE(answers.empty()) << "an answer on this thread would meet the locks that it holds";
  release.set_value();
  store.reset();  // answers what is queued
  ASSERT_THAT(answers, ::testing::SizeIs(4));
  EXPECT_OK(answers[2]);
  EXPECT_THAT(answers[3], StatusIs(absl::StatusCode::kUnavailable, HasSubstr("3 writes")));
  EXPECT_THAT(OpenOrDie(Options())->GetByUid("uid-a"), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

TEST_F(SqliteStoreTest, WhatIsQueuedAtTheEndIsWrittenAndAnswered) {
  int answered = 0;
  {
    auto store = OpenOrDie(Options());
    store->Submit({NewJob("a")}, [&](const absl::Status&) { ++answered; });
    for (uint32_t step = 0; step < 50; ++step) {
      store->Submit({NewStep("uid-a", step)}, [&](const absl::Status& status) { answered += status.ok() ? 1 : 0; });
    }
  }
  EXPECT_EQ(answered, 51);
  ExpectJournal(*OpenOrDie(Options()), "uid-a", 0, 50);
}

// --- a disk that fails
// -----------------------------------------------------------------------------------------------------

class FailingDiskTest : public SqliteStoreTest {
 protected:
  void SetUp() override {
    store_ = Open();
    ASSERT_OK(store_->Write({NewJob("a"), NewStep("uid-a", 0)}));
    errors_before_ = store_->Stats().errors;
  }
  std::unique_ptr<SqliteStore> Open() {
    SqliteStore::Options options = Options();
    options.vfs = vfs_.name();
    return OpenOrDie(options);
  }

  FaultVfs vfs_{"qzo-fault"};
  std::unique_ptr<SqliteStore> store_;
  uint64_t errors_before_ = 0;
};

TEST_F(FailingDiskTest, NothingIsAnsweredBeforeItIsSynced) {
  for (uint32_t step = 1; step < 40; ++step) {
    int64_t unsynced = -1;
    store_->Submit({NewStep("uid-a", step)}, [&](const absl::Status&) { unsynced = vfs_.unsynced_log_bytes; });
    ASSERT_OK(store_->Write({}));
    ASSERT_EQ(unsynced, 0);
  }
}

TEST_F(FailingDiskTest, AFullDiskFailsTheWritesAndNothingElse) {
  vfs_.disk_full = true;
  EXPECT_THAT(store_->Write({NewStep("uid-a", 1)}), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr(path_)));
  EXPECT_THAT(store_->Write({NewJob("b")}), StatusIs(absl::StatusCode::kResourceExhausted, _));
  EXPECT_EQ(store_->Stats().errors, errors_before_ + 2);
  ExpectJournal(*store_, "uid-a", 0, 1);
  vfs_.disk_full = false;
  EXPECT_OK(store_->Write({NewJob("b"), NewStep("uid-a", 1)}));
  store_.reset();
  store_ = Open();
  ExpectJournal(*store_, "uid-a", 0, 2);
}

TEST_F(FailingDiskTest, ADiskFullInTheMiddleOfATransactionFailsAllOfIt) {
  CreateResource large = NewJob("large");
  large.resource.body = std::string(16 << 20, 'x');  // more than SQLite keeps in memory
  vfs_.disk_full = true;
  std::vector<absl::Status> answers;
  const auto note = [&answers](absl::Status status) { answers.push_back(std::move(status)); };
  std::promise<void> release;
  store_->Submit({}, [gate = release.get_future().share()](const absl::Status&) { gate.wait(); });
  store_->Submit({NewStep("uid-a", 1)}, note);
  store_->Submit({large}, note);
  store_->Submit({NewStep("uid-a", 2)}, note);
  release.set_value();
  EXPECT_THAT(store_->Write({NewJob("c")}), StatusIs(absl::StatusCode::kResourceExhausted, _));
  ASSERT_THAT(answers, ::testing::SizeIs(3));
  for (const absl::Status& answer : answers)
    EXPECT_THAT(answer, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr(path_)));
  vfs_.disk_full = false;
  EXPECT_OK(store_->Write({NewStep("uid-a", 1), large, NewStep("uid-a", 2)}));
}

TEST_F(FailingDiskTest, ACommitWhoseSyncFailedIsReadBackAndFoundWritten) {
  ExpectJournal(*store_, "uid-a", 0, 1);  // a reader has its connection open
  vfs_.failing_log_syncs = 1;
  EXPECT_OK(store_->Write({NewStep("uid-a", 1)})) << "the data had reached the file";
  EXPECT_EQ(store_->Stats().errors, errors_before_);
  ExpectJournal(*store_, "uid-a", 0, 2);
  EXPECT_OK(store_->Write({NewStep("uid-a", 2)}));
  store_.reset();
  store_ = Open();
  ExpectJournal(*store_, "uid-a", 0, 3);
}

TEST_F(FailingDiskTest, ACommitWhoseWriteFailedIsReadBackAndFoundMissing) {
  vfs_.failing_log_writes = 1;
  EXPECT_THAT(store_->Write({NewStep("uid-a", 1)}), StatusIs(absl::StatusCode::kInternal, HasSubstr(path_)));
  EXPECT_EQ(store_->Stats().errors, errors_before_ + 1);
  ExpectJournal(*store_, "uid-a", 0, 1);
  EXPECT_OK(store_->Write({NewStep("uid-a", 1)}));
  ExpectJournal(*store_, "uid-a", 0, 2);
}

TEST_F(FailingDiskTest, AnOutcomeThatCannotBeReadBackIsUnknownUntilTheDiskIsBack) {
  vfs_.failing_log_syncs = 1;
  vfs_.cannot_open = true;
  EXPECT_THAT(store_->Write({NewStep("uid-a", 1)}), StatusIs(absl::StatusCode::kUnknown, HasSubstr(path_)));
  EXPECT_THAT(store_->Write({NewStep("uid-a", 1)}), StatusIs(absl::StatusCode::kInternal, HasSubstr(path_)));
  EXPECT_THAT(store_->GetByUid("uid-a"), StatusIs(absl::StatusCode::kInternal, HasSubstr(path_)));
  vfs_.cannot_open = false;
  EXPECT_THAT(store_->Write({NewStep("uid-a", 1)}), StatusIs(kAborted, HasSubstr("next step is 2")))
      << "it was written";
  ExpectJournal(*store_, "uid-a", 0, 2);
}

TEST(SqliteOnASmallDisk, IsFullThenUsableAgain) {
  qzo::testing::SmallDisk disk(2 << 20);
  if (!disk.mounted()) GTEST_SKIP() << "cannot mount a tmpfs";
  auto opened = SqliteStore::Open({.path = disk.File("qzo.db")});
  ASSERT_OK(opened);
  SqliteStore& store = **opened;
  ASSERT_OK(base::RealFileSystem()->WriteDurably(disk.File("ballast"), std::string(512 << 10, 'b')));
  ASSERT_OK(store.Write({NewJob("a")}));
  uint32_t next = 0;
  absl::Status status;
  while (status.ok() && next < 100'000) {
    WriteBatch batch;
    for (uint32_t step = next; step < next + 100; ++step) batch.push_back(NewStep("uid-a", step));
    status = store.Write(batch);
    next += status.ok() ? 100 : 0;
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("qzo.db")));
  ExpectJournal(store, "uid-a", 0, next);
  ASSERT_OK(base::RealFileSystem()->Remove(disk.File("ballast")));
  EXPECT_OK(store.Write({NewStep("uid-a", next)}));
  ExpectJournal(store, "uid-a", 0, next + 1);
}

}  // namespace
}  // namespace qzo::server
