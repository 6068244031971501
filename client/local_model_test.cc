#include "client/local_model.h"

#include <gtest/gtest.h>

#include "client/testing/tiny_adapter.h"
#include "proto/spec_convert.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"

namespace qzo::client {
namespace {

using ::qzo::testing::StatusIs;
using ::testing::Each;
using ::testing::HasSubstr;

class LocalModelTest : public ::testing::Test {
 protected:
  const std::string path_ = TinyModelPath("Q4_1");
  method::Adapter adapter_ = MakeTinyAdapter(path_, 5);
};

TEST_F(LocalModelTest, WithoutAnAdapterEveryMultiplierIsOne) {
  ASSERT_OK_AND_ASSIGN(const auto local, LocalModel::Load(path_, nullptr, 1, kernels::Arithmetic::kInt16));
  EXPECT_THAT(local->replica().multipliers(), Each(1.0f));
}

TEST_F(LocalModelTest, JournalAndMultipliersGiveTheSameReplica) {
  ASSERT_OK_AND_ASSIGN(const auto replayed, LocalModel::Load(path_, &adapter_, 1, kernels::Arithmetic::kInt16));
  method::Adapter flat = adapter_;
  flat.journal.clear();
  flat.multipliers.assign(replayed->replica().multipliers().begin(), replayed->replica().multipliers().end());
  ASSERT_OK_AND_ASSIGN(const auto restored, LocalModel::Load(path_, &flat, 1, kernels::Arithmetic::kInt16));
  EXPECT_EQ(restored->replica().digest(), replayed->replica().digest());
  EXPECT_EQ(restored->replica().step(), 5u);
}

TEST_F(LocalModelTest, RefusesAnAdapterOfAnotherModel) {
  EXPECT_THAT(LocalModel::Load(TinyModelPath("Q8_0"), &adapter_, 1, kernels::Arithmetic::kInt16),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("the adapter was made for")));
  adapter_.tensors[2].rows += 1;
  EXPECT_THAT(LocalModel::Load(path_, &adapter_, 1, kernels::Arithmetic::kInt16),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("tensor 2 is blk.0.attn_v")));
}

TEST_F(LocalModelTest, EvaluatesADataset) {
  testing::TempDir dir;
  ASSERT_OK(base::RealFileSystem()->WriteDurably(
      dir.File("d.jsonl"), "{\"text\":\"I liked it.\",\"label\":\"pos\"}\n{\"text\":\"No fun.\",\"label\":0}\n"));
  ASSERT_OK_AND_ASSIGN(const auto local, LocalModel::Load(path_, &adapter_, 1, kernels::Arithmetic::kInt16));
  ASSERT_OK_AND_ASSIGN(const v1::Task task, TaskOf(adapter_));
  ASSERT_OK_AND_ASSIGN(const model::TaskSpec spec, TaskFor(local->model(), task));
  ASSERT_OK_AND_ASSIGN(const model::EvalSums sums, local->Evaluate(spec, dir.File("d.jsonl")));
  EXPECT_EQ(sums.rows, 2);
  EXPECT_EQ(sums.confusion.size(), 4u);
  EXPECT_GT(sums.loss_sum, 0);
}

TEST_F(LocalModelTest, AnAdapterWithoutTaskSaysSo) {
  adapter_.task_json.clear();
  EXPECT_TRUE(absl::IsNotFound(TaskOf(adapter_).status()));
  adapter_.task_json = "{\"kind\":7}x";
  EXPECT_THAT(TaskOf(adapter_), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the adapter's task")));
}

TEST_F(LocalModelTest, VerifiesAnHonestJournal) {
  ASSERT_OK_AND_ASSIGN(const VerifyReport report, VerifyAdapter(path_, adapter_, 1));
  EXPECT_EQ(report.steps, 5u);
  EXPECT_EQ(report.replica_digest, adapter_.replica_digest);
  EXPECT_TRUE(report.digest_recorded);
}

TEST_F(LocalModelTest, FindsACoefficientThatTheRuleDidNotGive) {
  adapter_.journal[3].coefficients[1] *= 1.0001f;
  EXPECT_THAT(VerifyAdapter(path_, adapter_, 1), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("step 3")));
}

TEST_F(LocalModelTest, FindsAReplicaThatIsNotTheOneRecorded) {
  adapter_.replica_digest ^= 1;
  EXPECT_THAT(VerifyAdapter(path_, adapter_, 1), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the adapter says")));
}

TEST_F(LocalModelTest, CannotVerifyMultipliersWithoutJournal) {
  adapter_.journal.clear();
  adapter_.multipliers = {1};
  EXPECT_THAT(VerifyAdapter(path_, adapter_, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("nothing to replay")));
}

// Every look at it takes a quarter of a second.
class TickingClock final : public base::Clock {
 public:
  absl::Time Now() const override { return clock_.Now(); }
  absl::Duration Monotonic() const override {
    clock_.Advance(absl::Milliseconds(250));
    return clock_.Monotonic();
  }

 private:
  mutable testing::FakeClock clock_;
};

TEST_F(LocalModelTest, MeasuresAStepFromItsItems) {
  testing::TempDir dir;
  ASSERT_OK(base::RealFileSystem()->WriteDurably(dir.File("d.jsonl"),
                                                 "{\"text\":\"a\",\"label\":0}\n{\"text\":\"b\",\"label\":1}\n"));
  ASSERT_OK_AND_ASSIGN(const auto local, LocalModel::Load(path_, nullptr, 1, kernels::Arithmetic::kInt16));
  ASSERT_OK_AND_ASSIGN(const v1::Task task, TaskOf(adapter_));
  v1::JobSpec job;
  *job.mutable_task() = task;
  job.set_training_digest(base::Sha256Hex("rows"));
  v1::Method& method = *job.mutable_method();
  method.set_preset(v1::DEFAULT);
  method.set_steps(1);
  method.set_probes(16);
  ASSERT_OK(rpc::ResolveMethod(2, &method));
  ASSERT_OK_AND_ASSIGN(const absl::Duration step, local->MeasureStep(job, dir.File("d.jsonl"), TickingClock()));
  EXPECT_EQ(step, absl::Milliseconds(500)) << "eight of sixteen items fit into two seconds; they took one tick";
}

}  // namespace
}  // namespace qzo::client
