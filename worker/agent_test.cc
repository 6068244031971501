#include "worker/agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "tests/support/status_matchers.h"
#include "worker/member.h"
#include "worker/oracle.h"

namespace qzo::worker {
namespace {

using ::qzo::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The machine's clock with a hook: a job asks for the time before each of its items and replayed steps.
class HookClock final : public base::Clock {
 public:
  absl::Time Now() const override { return base::SystemClock()->Now(); }
  absl::Duration Monotonic() const override {
    if (++calls_ == hook_at_) hook_();
    return base::SystemClock()->Monotonic();
  }
  // Calls `hook` once, on the compute thread, when it asks for the time for the nth time from now.
  void HookAt(int64_t nth, std::function<void()> hook) {
    hook_ = std::move(hook);
    hook_at_ = calls_ + nth;
  }

 private:
  mutable std::atomic<int64_t> calls_{0};
  std::atomic<int64_t> hook_at_{0};
  std::function<void()> hook_;
};

class AgentTest : public ::testing::Test {
 protected:
  AgentTest() { Restart(int64_t{1} << 30); }

  void Restart(int64_t memory_bytes) { member_.emplace(nullptr, &blobs_, memory_bytes, nullptr, &clock_); }

  void OpenAndWait(const v1::OpenJob& open) {
    member_->Open(open);
    ASSERT_EQ(member_->NextReady().job(), open.job());
  }
  void Work(uint32_t job, uint32_t step, const std::vector<float>& coefficients, uint32_t first, uint32_t count) {
    member_->agent->Receive(worker::Work(job, step, coefficients, first, count));
  }
  // Answers come from one thread in turn: when this one is there, nothing before it is still to come.
  void ExpectNothingButAnswerOf(uint32_t job) {
    Work(job, 0, {}, 0, 1);
    EXPECT_EQ(member_->NextResults().job(), job);
  }

  FakeBlobs blobs_;
  HookClock clock_;
  std::optional<Member> member_;
};

TEST_F(AgentTest, ANewJobStartsFromOnes) {
  Oracle oracle(TinyMethod());
  member_->Open(TinyJob(3, TinyMethod(), &blobs_));
  const v1::WorkerMessage answer = member_->uplink->Next();
  ASSERT_TRUE(answer.has_ready()) << answer.ShortDebugString();
  EXPECT_EQ(answer.ready().job(), 3u);
  EXPECT_EQ(answer.ready().step(), 0u);
  EXPECT_EQ(answer.ready().digest(), oracle.replica->digest());
  EXPECT_GT(answer.ready().resident_memory_bytes(), 1 << 20);
}

TEST_F(AgentTest, EveryWayToTheSameStepGivesTheSameReplica) {
  Oracle oracle(TinyMethod());
  std::string snapshot;
  for (size_t step = 0; step < kSteps.size(); ++step) {
    ASSERT_OK(oracle.replica->Apply(kSteps[step]));
    if (step == 1) snapshot = blobs_.Add(Bytes(oracle.replica->multipliers()));
  }
  v1::OpenJob whole = TinyJob(1, TinyMethod(), &blobs_);
  whole.set_journal(Journal(0, 2) + Journal(2, 3));
  whole.set_step(3);
  v1::OpenJob tail = TinyJob(3, TinyMethod(), &blobs_);
  tail.set_snapshot_blob(snapshot);
  tail.set_snapshot_step(2);
  tail.set_journal(Journal(2, 3));
  tail.set_step(3);
  v1::OpenJob overlapping = tail;  // the chunk begins before the snapshot
  overlapping.set_job(4);
  overlapping.set_journal(Journal(0, 3));
  for (const v1::OpenJob& open : {whole, tail, overlapping}) {
    member_->Open(open);
    const v1::WorkerMessage answer = member_->uplink->Next();
    ASSERT_TRUE(answer.has_ready()) << answer.ShortDebugString();
    EXPECT_EQ(answer.ready().job(), open.job());
    EXPECT_EQ(answer.ready().step(), 3u);
    EXPECT_EQ(answer.ready().digest(), oracle.replica->digest());
  }
  EXPECT_EQ(member_->metrics.replay_entries.Value(), 3 + 1 + 1);
}

TEST_F(AgentTest, ItemsSplitInAnyWayGiveTheSameLosses) {
  Oracle oracle(TinyMethod());
  const std::vector<double> expected = oracle.Losses(0, kItems);
  OpenAndWait(TinyJob(1, TinyMethod(), &blobs_));
  for (const auto& split : std::vector<std::vector<uint32_t>>{{4}, {1, 3}, {2, 2}, {1, 1, 1, 1}}) {
    std::vector<double> losses;
    for (const uint32_t count : split) {
      const uint32_t first = static_cast<uint32_t>(losses.size()) / 2;
      Work(1, 0, {}, first, count);
      const v1::Results results = member_->NextResults();
      EXPECT_EQ(results.step(), 0u);
      EXPECT_EQ(results.first_item(), first);
      EXPECT_EQ(results.digest(), oracle.replica->digest());
      EXPECT_THAT(results.counts(), ElementsAre(4)) << "one value for items of equal size";
      losses.insert(losses.end(), results.losses().begin(), results.losses().end());
    }
    EXPECT_EQ(losses, expected);
  }
  EXPECT_EQ(member_->metrics.items.Value(), 4 * kItems);
  EXPECT_GT(member_->metrics.tokens.Value(), 0);
}

TEST_F(AgentTest, ACommitMovesTheReplicaBeforeItsItemsAreMeasured) {
  Oracle oracle(TinyMethod());
  OpenAndWait(TinyJob(1, TinyMethod(), &blobs_));
  ASSERT_OK(oracle.replica->Apply(kSteps[0]));
  Work(1, 1, kSteps[0], 1, 2);
  v1::Results results = member_->NextResults();
  EXPECT_EQ(results.digest(), oracle.replica->digest());
  EXPECT_EQ(std::vector<double>(results.losses().begin(), results.losses().end()), oracle.Losses(1, 2));

  Work(1, 2, kSteps[1], 0, 0);  // commit only: no answer
  Work(1, 2, {}, 3, 1);
  ASSERT_OK(oracle.replica->Apply(kSteps[1]));
  results = member_->NextResults();
  EXPECT_EQ(results.step(), 2u);
  EXPECT_EQ(results.digest(), oracle.replica->digest());
  EXPECT_EQ(std::vector<double>(results.losses().begin(), results.losses().end()), oracle.Losses(3, 1));
}

TEST_F(AgentTest, CommitsThatArriveBeforeTheJobIsLoadedAreApplied) {
  Oracle oracle(TinyMethod());
  ASSERT_OK(oracle.replica->Apply(kSteps[0]));
  blobs_.SetGate(true);
  member_->Open(TinyJob(1, TinyMethod(), &blobs_));
  Work(1, 1, kSteps[0], 0, 1);
  blobs_.SetGate(false);
  EXPECT_EQ(member_->uplink->Next().ready().step(), 0u);
  EXPECT_EQ(member_->NextResults().digest(), oracle.replica->digest());
}

TEST_F(AgentTest, AReplicaThatIsOutOfStepSaysSoOnceAndCanBeMadeAnew) {
  OpenAndWait(TinyJob(1, TinyMethod(), &blobs_));
  OpenAndWait(TinyJob(2, TinyMethod(), &blobs_));
  Work(1, 5, {}, 0, 1);
  EXPECT_EQ(member_->NextTrouble(absl::StatusCode::kAborted, "out of step: the replica is at step 0").job(), 1u);
  Work(1, 0, {}, 0, 1);
  ExpectNothingButAnswerOf(2);
  OpenAndWait(TinyJob(1, TinyMethod(), &blobs_));
  ExpectNothingButAnswerOf(1);
}

TEST_F(AgentTest, ACommitIsAppliedOnce) {
  OpenAndWait(TinyJob(1, TinyMethod(), &blobs_));
  Work(1, 1, kSteps[0], 0, 1);
  member_->NextResults();
  Work(1, 1, kSteps[0], 0, 1);
  EXPECT_EQ(
      member_->NextTrouble(absl::StatusCode::kAborted, "at step 1, the message for step 1 has coefficients").job(), 1u);
}

TEST_F(AgentTest, ItemsOutsideTheStepAndWrongCoefficientsAreTrouble) {
  OpenAndWait(TinyJob(1, TinyMethod(), &blobs_));
  Work(1, 0, {}, 3, 2);
  EXPECT_EQ(member_->NextTrouble(absl::StatusCode::kInvalidArgument, "items [3, 5): expected items below 4").job(), 1u);
  OpenAndWait(TinyJob(1, TinyMethod(), &blobs_));
  Work(1, 1, {0.1f}, 0, 1);
  EXPECT_EQ(member_->NextTrouble(absl::StatusCode::kInvalidArgument, "1 coefficients").job(), 1u);
  Work(9, 0, {}, 0, 1);
  EXPECT_EQ(member_->NextTrouble(absl::StatusCode::kNotFound, "job 9 is not open").job(), 9u);
}

TEST_F(AgentTest, NonFiniteLossesAreSentAsTheyAre) {
  OpenAndWait(TinyJob(1, TinyMethod(), &blobs_));
  Work(1, 1, {-3e38f, 3e38f}, 0, 1);
  const v1::Results results = member_->NextResults();
  ASSERT_EQ(results.losses_size(), 2);
  EXPECT_FALSE(std::isfinite(results.losses(0)));
}

TEST_F(AgentTest, EvaluationsAreSumsOverRows) {
  constexpr uint32_t kEvalRows = 20;
  Oracle oracle(TinyMethod());
  v1::OpenJob open = TinyJob(1, TinyMethod(), &blobs_);
  open.mutable_spec()->mutable_evaluation()->set_eval_rows(kEvalRows);
  // 40 rows: two items, the second one short.
  const std::string dev = ReadTestFile("golden/data/tiny_dev.jsonl");
  const std::string lines = dev + dev;
  size_t end = 0;
  for (int line = 0; line < 40; ++line) end = lines.find('\n', end) + 1;
  open.mutable_spec()->set_test_digest(blobs_.Add(lines.substr(0, end)));
  OpenAndWait(open);

  const auto evaluate = [&](v1::Split split, uint32_t first, uint32_t count) {
    v1::CoordinatorMessage message;
    message.mutable_eval_work()->set_job(1);
    message.mutable_eval_work()->set_split(split);
    message.mutable_eval_work()->set_first_item(first);
    message.mutable_eval_work()->set_item_count(count);
    member_->agent->Receive(message);
    const v1::WorkerMessage answer = member_->uplink->Next();
    EXPECT_TRUE(answer.has_eval_results()) << answer.ShortDebugString();
    EXPECT_EQ(answer.eval_results().split(), split);
    EXPECT_EQ(answer.eval_results().first_item(), first);
    EXPECT_EQ(answer.eval_results().digest(), oracle.replica->digest());
    EXPECT_EQ(answer.eval_results().items_size(), static_cast<int>(count));
    return answer.eval_results();
  };
  const auto expect_sums = [](const v1::EvalResults::Item& item, const model::EvalSums& expected) {
    EXPECT_EQ(item.loss_sum(), expected.loss_sum);
    EXPECT_EQ(item.loss_count(), expected.loss_count);
    EXPECT_EQ(item.rows(), expected.rows);
    EXPECT_EQ(std::vector<int64_t>(item.confusion().begin(), item.confusion().end()), expected.confusion);
  };
  std::vector<int32_t> rows(32);
  for (int32_t i = 0; i < 32; ++i) rows[static_cast<size_t>(i)] = i;
  const std::vector<int32_t> chosen =
      method::EvaluationRows(TinyMethod().seed, method::Sampling::kShuffled, {rows}, kEvalRows);
  expect_sums(evaluate(v1::VALIDATION, 0, 1).items(0), oracle.Evaluate("tiny_dev", chosen));

  const v1::EvalResults both = evaluate(v1::TEST, 0, 2);
  expect_sums(both.items(0), oracle.Evaluate("tiny_dev", rows));
  rows.resize(8);
  expect_sums(both.items(1), oracle.Evaluate("tiny_dev", rows));
  EXPECT_EQ(evaluate(v1::TEST, 1, 1).items(0).loss_sum(), both.items(1).loss_sum());
}

TEST_F(AgentTest, AClosedJobStopsBetweenItemsAndSendsNothing) {
  OpenAndWait(TinyJob(1, TinyMethod(), &blobs_));
  OpenAndWait(TinyJob(2, TinyMethod(), &blobs_));
  const double before = member_->metrics.items.Value();
  std::latch both_queued(1);
  clock_.HookAt(1, [&] {  // the first item has begun
    both_queued.wait();
    member_->Close(1);
  });
  Work(1, 0, {}, 0, kItems);
  Work(1, 0, {}, 0, kItems);
  both_queued.count_down();
  ExpectNothingButAnswerOf(2);
  EXPECT_EQ(member_->metrics.items.Value() - before, 1 + 1);
}

TEST_F(AgentTest, OpeningAJobAgainDropsItsQueuedWork) {
  OpenAndWait(TinyJob(1, TinyMethod(), &blobs_));
  const v1::OpenJob again = TinyJob(1, TinyMethod(), &blobs_);
  clock_.HookAt(1, [&] { member_->Open(again); });
  Work(1, 0, {}, 0, kItems);
  const v1::WorkerMessage answer = member_->uplink->Next();
  EXPECT_TRUE(answer.has_ready()) << answer.ShortDebugString();
  ExpectNothingButAnswerOf(1);
}

TEST_F(AgentTest, JobsOfOneModelShareIt) {
  OpenAndWait(TinyJob(1, TinyMethod(), &blobs_));
  method::MethodSpec other = TinyMethod();
  other.seed = 8;
  const v1::OpenJob second = TinyJob(2, other, &blobs_);
  OpenAndWait(second);
  Work(1, 1, kSteps[0], 0, 1);
  Work(2, 0, {}, 0, 1);
  EXPECT_EQ(member_->NextResults().job(), 1u);
  const v1::Results results = member_->NextResults();
  Oracle oracle(other);
  EXPECT_EQ(results.digest(), oracle.replica->digest()) << "a step of one job moved the other";
  EXPECT_EQ(results.losses(0), oracle.Losses(0, 1)[0]);
  EXPECT_EQ(blobs_.fetches(second.spec().base_model_digest()), 1);
  EXPECT_EQ(member_->cache.mapped_bytes(), static_cast<int64_t>(TinyModel().size()));
}

TEST_F(AgentTest, AJobThatCannotBeLoadedLeavesOthersAlone) {
  OpenAndWait(TinyJob(1, TinyMethod(), &blobs_));

  v1::OpenJob missing = TinyJob(2, TinyMethod(), &blobs_);
  missing.mutable_spec()->set_training_digest(std::string(64, 'a'));
  member_->Open(missing);
  EXPECT_EQ(member_->NextTrouble(absl::StatusCode::kNotFound, std::string(64, 'a')).job(), 2u);

  v1::OpenJob damaged = TinyJob(2, TinyMethod(), &blobs_);
  blobs_.Replace(std::string(64, 'b'), "other bytes");
  damaged.set_snapshot_blob(std::string(64, 'b'));
  member_->Open(damaged);
  EXPECT_EQ(member_->NextTrouble(absl::StatusCode::kDataLoss, "received bytes with digest").job(), 2u);

  v1::OpenJob short_snapshot = TinyJob(2, TinyMethod(), &blobs_);
  short_snapshot.set_snapshot_blob(blobs_.Add(std::string(8, '\0')));
  member_->Open(short_snapshot);
  EXPECT_EQ(member_->NextTrouble(absl::StatusCode::kInvalidArgument, "2 multipliers").job(), 2u);

  v1::OpenJob not_text = TinyJob(2, TinyMethod(), &blobs_);
  not_text.mutable_spec()->set_validation_digest(blobs_.Add("{]\n"));
  member_->Open(not_text);
  EXPECT_EQ(member_->NextTrouble(absl::StatusCode::kInvalidArgument, "validation dataset").job(), 2u);

  v1::OpenJob no_method = TinyJob(2, TinyMethod(), &blobs_);
  no_method.mutable_spec()->mutable_method()->set_probes(0);
  member_->Open(no_method);
  EXPECT_EQ(member_->NextTrouble(absl::StatusCode::kInvalidArgument, "probes").job(), 2u);

  ExpectNothingButAnswerOf(1);
}

TEST_F(AgentTest, ADamagedOrIncompleteJournalIsTrouble) {
  v1::OpenJob open = TinyJob(1, TinyMethod(), &blobs_);
  open.set_step(3);
  open.set_journal(Journal(0, 1) + Journal(2, 3));
  member_->Open(open);
  EXPECT_EQ(member_->NextTrouble(absl::StatusCode::kDataLoss, "step 2 found, expected step 1").job(), 1u);
  open.set_journal(Journal(0, 2));
  member_->Open(open);
  EXPECT_EQ(member_->NextTrouble(absl::StatusCode::kDataLoss, "ends at step 2, expected 3").job(), 1u);
  std::string damaged = Journal(0, 3);
  damaged[damaged.size() / 2] ^= 1;
  open.set_journal(damaged);
  member_->Open(open);
  EXPECT_EQ(member_->NextTrouble(absl::StatusCode::kDataLoss, "").job(), 1u);
}

TEST_F(AgentTest, AReplicaThatDoesNotFitInMemoryIsRefused) {
  Oracle oracle(TinyMethod());
  const int64_t replica = static_cast<int64_t>(oracle.replica->multipliers().size() * sizeof(float));
  Restart(static_cast<int64_t>(TinyModel().size()) + replica);  // room for one
  OpenAndWait(TinyJob(1, TinyMethod(), &blobs_));
  member_->Open(TinyJob(2, TinyMethod(), &blobs_));
  EXPECT_EQ(member_->NextTrouble(absl::StatusCode::kResourceExhausted, "that this worker may use").job(), 2u);
  member_->Close(1);
  OpenAndWait(TinyJob(2, TinyMethod(), &blobs_));
}

TEST_F(AgentTest, ASnapshotIsTheReplicaAfterWhatCameBefore) {
  Oracle oracle(TinyMethod());
  ASSERT_OK(oracle.replica->Apply(kSteps[0]));
  OpenAndWait(TinyJob(1, TinyMethod(), &blobs_));
  Work(1, 1, kSteps[0], 0, 0);
  v1::CoordinatorMessage message;
  message.mutable_snapshot()->set_job(1);
  message.mutable_snapshot()->set_step(1);
  member_->agent->Receive(message);
  Work(1, 2, kSteps[1], 0, 1);
  const auto [header, multipliers] = blobs_.WaitForSnapshot();
  EXPECT_EQ(header.job(), "projects/p/jobs/job-1");
  EXPECT_EQ(header.step(), 1u);
  EXPECT_EQ(header.digest(), oracle.replica->digest());
  EXPECT_EQ(absl::MakeConstSpan(multipliers), oracle.replica->multipliers());
}

TEST_F(AgentTest, ADrainAnswersWhatWasAskedAndThenClosesTheStream) {
  OpenAndWait(TinyJob(1, TinyMethod(), &blobs_));
  blobs_.SetGate(true);
  v1::OpenJob still_loading = TinyJob(2, TinyMethod(), &blobs_);
  still_loading.mutable_spec()->set_training_digest(blobs_.Add("not fetched yet"));
  member_->Open(still_loading);
  // All from the compute thread while it is busy, so that nothing is answered in between.
  clock_.HookAt(1, [this] {
    Work(1, 1, kSteps[0], 0, 1);
    Work(1, 1, {}, 1, 1);
    v1::CoordinatorMessage drain;
    drain.mutable_drain();
    member_->agent->Receive(drain);
    blobs_.SetGate(false);
  });
  Work(1, 0, {}, 0, 1);
  EXPECT_TRUE(member_->uplink->Next().has_leaving());
  EXPECT_EQ(member_->NextResults().step(), 0u);
  EXPECT_EQ(member_->NextResults().first_item(), 0u);
  EXPECT_EQ(member_->NextResults().first_item(), 1u);
  EXPECT_EQ(member_->uplink->Closed(), 5u) << "ready, leaving and three answers";
  EXPECT_TRUE(member_->agent->draining());
  member_->Open(TinyJob(3, TinyMethod(), &blobs_));
  Work(3, 0, {}, 0, 1);
  EXPECT_EQ(member_->uplink->sent(), 5u);
}

TEST_F(AgentTest, ADrainingWorkerLeavesTheNextStreamToo) {
  member_->agent->Connect(nullptr);
  member_->agent->Drain();
  auto next = std::make_shared<RecordingUplink>();
  member_->agent->Connect(next);
  EXPECT_TRUE(next->Next().has_leaving());
  EXPECT_EQ(next->Closed(), 1u);
}

TEST_F(AgentTest, ANewStreamForgetsReplicasAndKeepsModels) {
  const v1::OpenJob open = TinyJob(1, TinyMethod(), &blobs_);
  OpenAndWait(open);
  const auto old = std::exchange(member_->uplink, std::make_shared<RecordingUplink>());
  const size_t sent = old->sent();
  member_->agent->Connect(nullptr);
  member_->agent->Connect(member_->uplink);
  Work(1, 0, {}, 0, 1);
  EXPECT_EQ(member_->NextTrouble(absl::StatusCode::kNotFound, "not open").job(), 1u);
  OpenAndWait(open);
  EXPECT_EQ(blobs_.fetches(open.spec().base_model_digest()), 1);
  EXPECT_EQ(old->sent(), sent);
}

}  // namespace
}  // namespace qzo::worker
