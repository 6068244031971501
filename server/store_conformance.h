// For tests: what every Store must do, as a suite that a store's own test instantiates with a way to make one:
//   INSTANTIATE_TEST_SUITE_P(Sqlite, StoreConformance, ::testing::Values(&NewSqliteHarness));
#ifndef QZO_SERVER_STORE_CONFORMANCE_H_
#define QZO_SERVER_STORE_CONFORMANCE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <future>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/store.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"

namespace qzo::server {

class StoreHarness {
 public:
  virtual ~StoreHarness() = default;
  virtual Store& store() = 0;
  // Closes the store and opens it over the same data.
  virtual void Reopen() = 0;
  virtual qzo::testing::FakeClock& clock() = 0;
};
using NewStoreHarness = std::unique_ptr<StoreHarness> (*)();

inline constexpr absl::StatusCode kAborted = absl::StatusCode::kAborted;

// uid = "uid-" + id.
inline CreateResource NewJob(const std::string& id, const std::string& project = "p", int32_t state = 1,
                             int64_t create_seconds = 0, const std::string& request_id = "") {
  StoredResource r;
  r.key = {"job", project, id};
  r.uid = "uid-" + id;
  r.state = state;
  r.body = "body of " + id;
  r.create_time = r.update_time = absl::FromUnixSeconds(create_seconds);
  return {r, request_id};
}

// A step whose every value is a function of (uid, step), two probes; the second takes no part in every fifth step.
inline AppendStep NewStep(const std::string& uid, uint32_t step, uint64_t epoch = 1) {
  const float base = static_cast<float>(step) + static_cast<float>(uid.size()) / 64;
  AppendStep append{uid, epoch, {step, {base, -base}, {base / 1024, base / 512}}, {1 + static_cast<double>(step) / 3}};
  if (step % 5 == 0) {
    append.record.d[1] = std::numeric_limits<float>::quiet_NaN();
    append.record.coefficients[1] = 0;
  }
  return append;
}

inline ListQuery JobsOf(const std::string& project = "", std::vector<int32_t> states = {}) {
  ListQuery query;
  query.kind = "job";
  query.project = project;
  query.states = std::move(states);
  return query;
}

inline std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

// Expects ReadJournal to give exactly the steps [from, to) as NewStep makes them, and the state after the last.
inline void ExpectJournal(Store& store, const std::string& uid, uint32_t from, uint32_t to,
                          uint32_t asked_to = std::numeric_limits<uint32_t>::max()) {
  ASSERT_OK_AND_ASSIGN(const method::JournalChunk journal, store.ReadJournal(uid, from, asked_to));
  ASSERT_EQ(journal.records.size(), to - from);
  for (uint32_t step = from; step < to; ++step) {
    const AppendStep expected = NewStep(uid, step);
    const method::StepRecord& record = journal.records[step - from];
    ASSERT_EQ(record.step, step);
    ASSERT_EQ(Bits(record.d), Bits(expected.record.d)) << step;
    ASSERT_EQ(Bits(record.coefficients), Bits(expected.record.coefficients)) << step;
  }
  EXPECT_EQ(journal.state_after, from < to ? NewStep(uid, to - 1).state_after : method::RuleState());
}

class StoreConformance : public ::testing::TestWithParam<NewStoreHarness> {
 protected:
  Store& store() { return harness_->store(); }
  uint32_t NextStep(const std::string& uid) {
    const absl::StatusOr<StoredResource> job = store().GetByUid(uid);
    EXPECT_OK(job);
    return job.ok() ? job->next_step : 0;
  }
  std::vector<std::string> ListIds(const ListQuery& query) {
    const absl::StatusOr<std::vector<StoredResource>> rows = store().List(query);
    EXPECT_OK(rows);
    std::vector<std::string> ids;
    for (const StoredResource& r : rows.value_or(std::vector<StoredResource>())) ids.push_back(r.key.id);
    return ids;
  }
  // Keeps the writer inside the answer to a batch until the returned promise is set.
  std::promise<void> HoldWriter() {
    std::promise<void> release;
    const auto held = std::make_shared<std::promise<void>>();  // shared: set_value is still at work when wait returns
    store().Submit({}, [held, gate = release.get_future().share()](const absl::Status&) {
      held->set_value();
      gate.wait();
    });
    held->get_future().wait();
    return release;
  }

  const std::unique_ptr<StoreHarness> harness_ = GetParam()();
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StoreConformance);

using ::qzo::testing::StatusIs;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_P(StoreConformance, ResourcesAreFoundAsTheyWereWritten) {
  CreateResource create = NewJob("a", "p", 3, 100);
  create.resource.epoch = 7;
  create.resource.body = std::string("\0\xff body", 7);
  ASSERT_OK(store().Write({create}));
  harness_->Reopen();
  for (const auto& found : {store().Get({"job", "p", "a"}), store().GetByUid("uid-a")}) {
    ASSERT_OK(found);
    EXPECT_EQ(found->key, create.resource.key);
    EXPECT_EQ(found->uid, "uid-a");
    EXPECT_EQ(found->state, 3);
    EXPECT_EQ(found->epoch, 7u);
    EXPECT_EQ(found->next_step, 0u);
    EXPECT_EQ(found->body, create.resource.body);
    EXPECT_EQ(found->create_time, absl::FromUnixSeconds(100));
    EXPECT_EQ(found->update_time, absl::FromUnixSeconds(100));
  }
  EXPECT_THAT(store().Get({"job", "q", "a"}), StatusIs(absl::StatusCode::kNotFound, HasSubstr("q/a")));
  EXPECT_THAT(store().Get({"dataset", "p", "a"}), StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(store().GetByUid("uid-b"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("uid-b")));
}

TEST_P(StoreConformance, AKeyAndAUidAreTakenOnce) {
  ASSERT_OK(store().Write({NewJob("a")}));
  EXPECT_THAT(store().Write({NewJob("a")}), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("p/a")));
  EXPECT_THAT(store().Write({NewJob("a", "q")}), StatusIs(absl::StatusCode::kAlreadyExists, _)) << "the uid is taken";
  CreateResource same_id = NewJob("b");
  same_id.resource.key.kind = "dataset";
  same_id.resource.key.id = "a";
  EXPECT_OK(store().Write({same_id}));
}

TEST_P(StoreConformance, ABatchThatFailsChangesNothing) {
  ASSERT_OK(store().Write({NewJob("a"), NewStep("uid-a", 0)}));
  EXPECT_THAT(store().Write({NewJob("b", "p", 1, 0, "request"), UpdateResource{"uid-a", std::nullopt, 9, "new"},
                             NewStep("uid-a", 1), AppendEvent{"uid-a", {1, absl::UnixEpoch(), "e"}},
                             PutEvaluation{"uid-a", 1, "test", "v"}, TakeEpoch{"uid-a"}, NewStep("uid-a", 2, 1)}),
              StatusIs(kAborted, HasSubstr("epoch 2")))
      << "the batch took the epoch itself";
  ASSERT_OK_AND_ASSIGN(const StoredResource job, store().GetByUid("uid-a"));
  EXPECT_EQ(job.body, "body of a");
  EXPECT_EQ(job.epoch, 1u);
  EXPECT_EQ(job.next_step, 1u);
  EXPECT_THAT(store().GetByUid("uid-b"), StatusIs(absl::StatusCode::kNotFound, _));
  ExpectJournal(store(), "uid-a", 0, 1);
  ASSERT_OK_AND_ASSIGN(const uint64_t last_event, store().LastEventSequence("uid-a"));
  EXPECT_EQ(last_event, 0u);
  ASSERT_OK_AND_ASSIGN(const auto evaluations, store().ReadEvaluations("uid-a"));
  EXPECT_TRUE(evaluations.empty());
  EXPECT_OK(store().Write({NewJob("b", "p", 1, 0, "request")})) << "the request id was not used up";
}

TEST_P(StoreConformance, AFailedBatchFailsAloneAmongThoseItIsCommittedWith) {
  ASSERT_OK(store().Write({NewJob("a"), NewJob("b")}));
  std::vector<absl::Status> answers;
  const auto note = [&answers](absl::Status status) { answers.push_back(std::move(status)); };
  std::promise<void> release = HoldWriter();
  store().Submit({NewStep("uid-a", 0)}, note);
  store().Submit({NewStep("uid-b", 0), NewStep("uid-a", 5)}, note);
  store().Submit({NewStep("uid-a", 1)}, note);
  store().Submit({NewStep("uid-a", 1)}, note);
  store().Submit({NewStep("uid-b", 0)}, note);
  release.set_value();
  ASSERT_OK(store().Write({}));
  ASSERT_THAT(answers, ::testing::SizeIs(5));
  EXPECT_OK(answers[0]);
  EXPECT_THAT(answers[1], StatusIs(kAborted, HasSubstr("next step is 1")));
  EXPECT_OK(answers[2]);
  EXPECT_THAT(answers[3], StatusIs(kAborted, HasSubstr("next step is 2")));
  EXPECT_OK(answers[4]);
  ExpectJournal(store(), "uid-a", 0, 2);
  ExpectJournal(store(), "uid-b", 0, 1);
}

TEST_P(StoreConformance, ManyBatchesShareOneCommit) {
  constexpr int kThreads = 8, kBatches = 25;
  WriteBatch jobs;
  for (int t = 0; t < kThreads; ++t) jobs.push_back(NewJob(absl::StrCat("j", t)));
  ASSERT_OK(store().Write(jobs));
  const StoreStats before = store().Stats();
  std::promise<void> release = HoldWriter();
  std::vector<std::vector<uint32_t>> answered(kThreads);  // written by the writer thread only
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (uint32_t step = 0; step < kBatches; ++step) {
        store().Submit({NewStep(absl::StrCat("uid-j", t), step)}, [&answered, t, step](const absl::Status& status) {
          EXPECT_OK(status);
          answered[t].push_back(step);
        });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  release.set_value();
  ASSERT_OK(store().Write({}));
  const StoreStats after = store().Stats();
  EXPECT_EQ(after.steps - before.steps, uint64_t{kThreads * kBatches});
  EXPECT_EQ(after.batches - before.batches, uint64_t{kThreads * kBatches + 2});
  EXPECT_LE(after.commits - before.commits, 3u) << "the held one, all the others, and the last";
  for (size_t t = 0; t < kThreads; ++t) {
    EXPECT_TRUE(std::is_sorted(answered[t].begin(), answered[t].end())) << "answers come in the order submitted";
    ExpectJournal(store(), absl::StrCat("uid-j", t), 0, kBatches);
  }
}

TEST_P(StoreConformance, AnAnsweredWriteIsSeenByEveryReader) {
  ASSERT_OK(store().Write({NewJob("a")}));
  for (uint32_t step = 0; step < 20; ++step) {
    uint32_t seen = 0;
    store().Submit({NewStep("uid-a", step)}, [&](const absl::Status&) { seen = NextStep("uid-a"); });
    ASSERT_OK(store().Write({}));
    EXPECT_EQ(seen, step + 1);
  }
}

TEST_P(StoreConformance, ReadersWorkWhileOthersWrite) {
  ASSERT_OK(store().Write({NewJob("a")}));
  std::vector<std::thread> readers;
  for (int r = 0; r < 6; ++r) {
    readers.emplace_back([&] {
      for (uint32_t seen = 0; seen < 100;) {
        const absl::StatusOr<method::JournalChunk> journal = store().ReadJournal("uid-a", 0, 100);
        ASSERT_OK(journal);
        ASSERT_GE(journal->records.size(), seen);
        seen = static_cast<uint32_t>(journal->records.size());
      }
    });
  }
  for (uint32_t step = 0; step < 100; ++step) EXPECT_OK(store().Write({NewStep("uid-a", step)}));
  for (std::thread& reader : readers) reader.join();
}

TEST_P(StoreConformance, OnlyTheHolderOfTheEpochAppendsAndOnlyTheNextStep) {
  ASSERT_OK(store().Write({NewJob("a"), NewStep("uid-a", 0)}));
  EXPECT_THAT(store().Write({NewStep("uid-a", 2)}), StatusIs(kAborted, HasSubstr("next step is 1")));
  EXPECT_THAT(store().Write({NewStep("uid-a", 0)}), StatusIs(kAborted, HasSubstr("next step is 1")));
  EXPECT_THAT(store().Write({NewStep("uid-a", 1, 2)}), StatusIs(kAborted, HasSubstr("epoch 1")));
  EXPECT_THAT(store().Write({NewStep("uid-z", 0)}), StatusIs(kAborted, HasSubstr("no such job")));
  ASSERT_OK(store().Write({TakeEpoch{"uid-a"}}));
  EXPECT_THAT(store().Write({NewStep("uid-a", 1, 1)}), StatusIs(kAborted, HasSubstr("epoch 2")));
  EXPECT_THAT(store().Write({UpdateResource{"uid-a", 1, 2, "old owner"}}), StatusIs(kAborted, HasSubstr("epoch 2")));
  EXPECT_OK(store().Write({UpdateResource{"uid-a", 2, 2, "new owner"}, NewStep("uid-a", 1, 2)}));
  ExpectJournal(store(), "uid-a", 0, 2);
  EXPECT_THAT(store().Write({TakeEpoch{"uid-z"}}), StatusIs(absl::StatusCode::kNotFound, HasSubstr("uid-z")));
}

TEST_P(StoreConformance, ARecordThatCouldNotBeReadBackIsRefused) {
  ASSERT_OK(store().Write({NewJob("a"), NewStep("uid-a", 0)}));
  std::vector<AppendStep> bad(5, NewStep("uid-a", 1));
  bad[0].record.coefficients[0] = std::numeric_limits<float>::infinity();
  bad[1].record.d.pop_back();
  bad[2].record.d.clear();
  bad[2].record.coefficients.clear();
  bad[3].state_after.mean_square = std::numeric_limits<double>::quiet_NaN();
  bad[4].record.d.push_back(0);
  bad[4].record.coefficients.push_back(0);
  for (const AppendStep& append : bad) {
    EXPECT_THAT(store().Write({append}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("uid-a")));
  }
  EXPECT_OK(store().Write({NewStep("uid-a", 1)}));
}

TEST_P(StoreConformance, AnUpdateChangesStateBodyAndUpdateTime) {
  ASSERT_OK(store().Write({NewJob("a", "p", 1, 100)}));
  harness_->clock().Advance(absl::Seconds(5));
  ASSERT_OK(store().Write({UpdateResource{"uid-a", std::nullopt, 4, ""}}));
  ASSERT_OK_AND_ASSIGN(const StoredResource job, store().GetByUid("uid-a"));
  EXPECT_EQ(job.state, 4);
  EXPECT_EQ(job.body, "");
  EXPECT_EQ(job.create_time, absl::FromUnixSeconds(100));
  EXPECT_EQ(job.update_time, harness_->clock().Now());
  EXPECT_THAT(store().Write({UpdateResource{"uid-z", std::nullopt, 4, ""}}), StatusIs(absl::StatusCode::kNotFound, _));
}

TEST_P(StoreConformance, ARequestIdMakesOneResource) {
  ASSERT_OK(store().Write({NewJob("a", "p", 1, 0, "r1")}));
  EXPECT_THAT(store().Write({NewJob("b", "p", 1, 0, "r1")}),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("r1")));
  ASSERT_OK_AND_ASSIGN(std::optional<std::string> uid, store().ResourceOfRequest("job", "p", "r1"));
  EXPECT_EQ(uid, "uid-a");
  ASSERT_OK_AND_ASSIGN(uid, store().ResourceOfRequest("job", "p", "r2"));
  EXPECT_EQ(uid, std::nullopt);
  EXPECT_OK(store().Write({NewJob("c", "q", 1, 0, "r1")})) << "request ids belong to a project";
  ASSERT_OK(store().Write({DeleteResource{"uid-a"}}));
  EXPECT_THAT(store().Write({NewJob("a", "p", 1, 0, "r1")}),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("r1")))
      << "a late retry does not make a deleted resource again";
}

TEST_P(StoreConformance, ListsPageFromTheNewestDown) {
  WriteBatch batch;
  for (int i = 0; i < 6; ++i) batch.push_back(NewJob(absl::StrCat("a", i), "p", i % 2, 10 + i / 2));
  for (int i = 0; i < 3; ++i) batch.push_back(NewJob(absl::StrCat("b", i), "q", i, 20));
  batch.push_back(NewJob("d", "p"));
  std::get<CreateResource>(batch.back()).resource.key.kind = "dataset";
  ASSERT_OK(store().Write(batch));
  EXPECT_THAT(ListIds(JobsOf()), ElementsAre("b2", "b1", "b0", "a5", "a4", "a3", "a2", "a1", "a0"));
  EXPECT_THAT(ListIds(JobsOf("p")), ElementsAre("a5", "a4", "a3", "a2", "a1", "a0"));
  EXPECT_THAT(ListIds(JobsOf("p", {1})), ElementsAre("a5", "a3", "a1"));
  EXPECT_THAT(ListIds(JobsOf("", {1, 2})), ElementsAre("b2", "b1", "a5", "a3", "a1"));
  EXPECT_THAT(ListIds(JobsOf("", {7})), IsEmpty());
  ListQuery query;
  query.kind = "dataset";
  EXPECT_THAT(ListIds(query), ElementsAre("d"));
  query.kind = "model";
  EXPECT_THAT(ListIds(query), IsEmpty());
  std::vector<std::string> paged;
  query.kind = "job";
  query.limit = 2;
  for (;;) {
    ASSERT_OK_AND_ASSIGN(const std::vector<StoredResource> page, store().List(query));
    if (page.empty()) break;
    ASSERT_LE(page.size(), 2u);
    for (const StoredResource& r : page) paged.push_back(r.key.id);
    query.before_time = page.back().create_time;
    query.before_uid = page.back().uid;
  }
  EXPECT_EQ(paged, ListIds(JobsOf()));
}

TEST_P(StoreConformance, EventsAreNumberedWithoutGaps) {
  ASSERT_OK(store().Write({NewJob("a"), NewJob("b")}));
  for (uint64_t i = 1; i <= 5; ++i) {
    ASSERT_OK(store().Write(
        {AppendEvent{"uid-a", {i, absl::FromUnixSeconds(static_cast<int64_t>(i)), absl::StrCat("e", i)}}}));
  }
  EXPECT_THAT(store().Write({AppendEvent{"uid-a", {7, absl::UnixEpoch(), ""}}}),
              StatusIs(kAborted, HasSubstr("next event is 6")));
  EXPECT_THAT(store().Write({AppendEvent{"uid-a", {5, absl::UnixEpoch(), ""}}}),
              StatusIs(kAborted, HasSubstr("next event is 6")));
  EXPECT_THAT(store().Write({AppendEvent{"uid-b", {0, absl::UnixEpoch(), ""}}}),
              StatusIs(kAborted, HasSubstr("next event is 1")));
  EXPECT_THAT(store().Write({AppendEvent{"uid-z", {1, absl::UnixEpoch(), ""}}}),
              StatusIs(absl::StatusCode::kNotFound, _));
  harness_->Reopen();
  ASSERT_OK_AND_ASSIGN(const std::vector<StoredEvent> events, store().ReadEvents("uid-a", 3, 2));
  ASSERT_THAT(events, ::testing::SizeIs(2));
  EXPECT_EQ(events[0].sequence, 3u);
  EXPECT_EQ(events[0].time, absl::FromUnixSeconds(3));
  EXPECT_EQ(events[1].body, "e4");
  ASSERT_OK_AND_ASSIGN(const uint64_t last, store().LastEventSequence("uid-a"));
  EXPECT_EQ(last, 5u);
  ASSERT_OK_AND_ASSIGN(const uint64_t none, store().LastEventSequence("uid-b"));
  EXPECT_EQ(none, 0u);
}

TEST_P(StoreConformance, ARepeatedEvaluationReplacesTheFirst) {
  ASSERT_OK(store().Write({NewJob("a"), PutEvaluation{"uid-a", 20, "validation", "v20"}}));
  ASSERT_OK(
      store().Write({PutEvaluation{"uid-a", 10, "validation", "old"}, PutEvaluation{"uid-a", 10, "test", "t10"}}));
  ASSERT_OK(store().Write({PutEvaluation{"uid-a", 10, "validation", "v10"}}));
  ASSERT_OK_AND_ASSIGN(const std::vector<StoredEvaluation> evaluations, store().ReadEvaluations("uid-a"));
  std::vector<std::string> bodies;
  for (const StoredEvaluation& e : evaluations) bodies.push_back(absl::StrCat(e.step, " ", e.name, " ", e.body));
  EXPECT_THAT(bodies, ElementsAre("10 test t10", "10 validation v10", "20 validation v20"));
}

TEST_P(StoreConformance, ADeletedJobLeavesNothingOfItself) {
  // The job to delete is the newest: should a store number its rows, the next job may get the same number.
  WriteBatch batch = {NewJob("b"), NewStep("uid-b", 0), NewJob("a"), AppendEvent{"uid-a", {1, absl::UnixEpoch(), "e"}},
                      PutEvaluation{"uid-a", 1, "test", "v"}};
  for (uint32_t step = 0; step < 1100; ++step) batch.push_back(NewStep("uid-a", step));
  ASSERT_OK(store().Write(batch));
  ASSERT_OK(store().Write({DeleteResource{"uid-a"}}));
  EXPECT_OK(store().Write({DeleteResource{"uid-a"}})) << "gone already";
  EXPECT_THAT(store().Get({"job", "p", "a"}), StatusIs(absl::StatusCode::kNotFound, _));
  ASSERT_OK(store().Write({NewJob("a")}));  // the same uid would find what was left
  EXPECT_EQ(NextStep("uid-a"), 0u);
  ExpectJournal(store(), "uid-a", 0, 0);
  ASSERT_OK_AND_ASSIGN(const auto events, store().ReadEvents("uid-a", 0, 10));
  EXPECT_TRUE(events.empty());
  ASSERT_OK_AND_ASSIGN(const auto evaluations, store().ReadEvaluations("uid-a"));
  EXPECT_TRUE(evaluations.empty());
  ExpectJournal(store(), "uid-b", 0, 1);
}

inline AppendAudit NewAudit(const std::string& resource, const std::string& project = "p", int64_t seconds = 0,
                            const std::string& code = "OK", const std::string& caller = "c") {
  AppendAudit append;
  append.record.time = absl::FromUnixSeconds(seconds);
  append.record.project = project;
  append.record.caller = caller;
  append.record.peer = "unix:";
  append.record.method = "a.b.Make";
  append.record.resource = resource;
  append.record.code = code;
  append.record.reason = "because";
  return append;
}

TEST_P(StoreConformance, AuditRecordsAreNumberedListedAndForgotten) {
  ASSERT_OK(store().Write({NewAudit("r/1", "p", 10), NewAudit("r/2", "q", 20, "ABORTED"), NewAudit("r/2/x", "p", 30)}));
  ASSERT_OK(store().Write({NewAudit("r/22", "p", 40, "OK", "d")}));
  harness_->Reopen();
  ASSERT_OK_AND_ASSIGN(std::vector<StoredAudit> all, store().ListAudit({}));
  ASSERT_THAT(all, ::testing::SizeIs(4));
  EXPECT_EQ(all[0].resource, "r/22") << "the newest first";
  EXPECT_EQ(all[2].time, absl::FromUnixSeconds(20));
  EXPECT_EQ(absl::StrCat(all[2].project, all[2].caller, all[2].peer, all[2].method, all[2].code, all[2].reason),
            "qcunix:a.b.MakeABORTEDbecause");
  EXPECT_TRUE(all[3].sequence < all[2].sequence && all[1].sequence < all[0].sequence);

  const auto listed = [this](const AuditQuery& query) {
    const absl::StatusOr<std::vector<StoredAudit>> records = store().ListAudit(query);
    EXPECT_OK(records);
    std::vector<std::string> resources;
    for (const StoredAudit& r : records.value_or(std::vector<StoredAudit>())) resources.push_back(r.resource);
    return resources;
  };
  EXPECT_THAT(listed({.project = "p"}), ElementsAre("r/22", "r/2/x", "r/1"));
  EXPECT_THAT(listed({.caller = "d"}), ElementsAre("r/22"));
  EXPECT_THAT(listed({.method = "Make", .code = "ABORTED"}), ElementsAre("r/2"));
  EXPECT_THAT(listed({.method = "a.b.Make", .limit = 1}), ElementsAre("r/22"));
  EXPECT_THAT(listed({.method = "ake"}), IsEmpty());
  EXPECT_THAT(listed({.resource = "r/2"}), ElementsAre("r/2/x", "r/2"));
  EXPECT_THAT(listed({.from = absl::FromUnixSeconds(20), .to = absl::FromUnixSeconds(40)}),
              ElementsAre("r/2/x", "r/2"));
  EXPECT_THAT(listed({.before = all[1].sequence}), ElementsAre("r/2", "r/1"));
  EXPECT_THAT(listed({.project = "p", .oldest_first = true, .limit = 2}), ElementsAre("r/1", "r/2/x"));

  ASSERT_OK(store().Write({ForgetAudit{all[1].sequence}}));
  EXPECT_THAT(listed({}), ElementsAre("r/22"));
  ASSERT_OK(store().Write({ForgetAudit{all[0].sequence}}));
  harness_->Reopen();
  ASSERT_OK(store().Write({NewAudit("r/3")}));
  const uint64_t last = all[0].sequence;
  ASSERT_OK_AND_ASSIGN(all, store().ListAudit({}));
  ASSERT_THAT(all, ::testing::SizeIs(1));
  EXPECT_GT(all[0].sequence, last) << "numbers are not used again";
}

TEST_P(StoreConformance, ARefusedBatchLeavesNoAuditRecord) {
  EXPECT_FALSE(store().Write({NewAudit("r"), UpdateResource{"uid-z", std::nullopt, 1, ""}}).ok());
  ASSERT_OK_AND_ASSIGN(const std::vector<StoredAudit> all, store().ListAudit({}));
  EXPECT_TRUE(all.empty());
}

TEST_P(StoreConformance, TheJournalKeepsEveryStepAndStateAcrossChunksAndReopening) {
  ASSERT_OK(store().Write({NewJob("a"), NewJob("other")}));
  uint32_t next = 0;
  for (const uint32_t end : {1u, 1023u, 1024u, 1025u, 2500u}) {
    WriteBatch batch;
    for (; next < end; ++next) batch.push_back(NewStep("uid-a", next));
    batch.push_back(NewStep("uid-other", NextStep("uid-other")));
    ASSERT_OK(store().Write(batch));
    ExpectJournal(store(), "uid-a", 0, end);
    harness_->Reopen();
    EXPECT_EQ(NextStep("uid-a"), end);
    ExpectJournal(store(), "uid-a", 0, end);
  }
  for (const uint32_t from : {0u, 1u, 500u, 1023u, 1024u, 1025u, 2047u, 2048u, 2300u, 2499u}) {
    for (const uint32_t to : {from, from + 1, 700u, 1024u, 1025u, 2048u, 2049u, 2400u, 2500u}) {
      if (to >= from && to <= 2500) ExpectJournal(store(), "uid-a", from, to, to);
    }
  }
  ExpectJournal(store(), "uid-a", 2500, 2500);
  ExpectJournal(store(), "uid-other", 0, 5);
  ASSERT_OK_AND_ASSIGN(const method::JournalChunk none, store().ReadJournal("uid-z", 0, 10));
  EXPECT_TRUE(none.records.empty());
}

}  // namespace qzo::server

#endif  // QZO_SERVER_STORE_CONFORMANCE_H_
