// What the worker's tests share: a transport without network, and a job small enough to run in milliseconds.
#ifndef QZO_WORKER_FAKES_H_
#define QZO_WORKER_FAKES_H_

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mutex.h"
#include "method/spec.h"
#include "model/tasks/task.h"
#include "proto/spec_convert.h"
#include "tests/support/temp_dir.h"
#include "worker/transport.h"

namespace qzo::worker {

inline std::string ReadTestFile(const std::string& name) {
  auto bytes = base::RealFileSystem()->Read(testing::TestFile(name));
  QZO_CHECK(bytes.ok());
  return *std::move(bytes);
}
inline std::string TinyModel() { return ReadTestFile("golden/models/stories260k/stories260K-Q4_1.gguf"); }

// Keeps what is sent. Thread-safe.
class RecordingUplink final : public Uplink {
 public:
  void Send(const v1::WorkerMessage& message) override {
    base::MutexLock lock(&mu_);
    messages_.push_back(message);
    changed_.SignalAll();
  }
  void Close() override {
    base::MutexLock lock(&mu_);
    closed_at_ = messages_.size();
    changed_.SignalAll();
  }
  void Abort() override {
    base::MutexLock lock(&mu_);
    aborted_ = true;
    changed_.SignalAll();
  }
  // Waits for Abort, a minute at most; whether it came.
  bool Aborted() {
    base::MutexLock lock(&mu_);
    while (!aborted_ && changed_.WaitFor(&mu_, absl::Minutes(1))) {
    }
    return aborted_;
  }
  // Waits for the message after the last one that was taken; an empty message when none comes within a minute.
  v1::WorkerMessage Next() {
    base::MutexLock lock(&mu_);
    while (messages_.size() <= next_ && changed_.WaitFor(&mu_, absl::Minutes(1))) {
    }
    return messages_.size() <= next_ ? v1::WorkerMessage() : messages_[next_++];
  }
  // Waits for Close; the number of messages sent before it.
  size_t Closed() {
    base::MutexLock lock(&mu_);
    while (closed_at_ == kOpen && changed_.WaitFor(&mu_, absl::Minutes(1))) {
    }
    return closed_at_;
  }
  size_t sent() {
    base::MutexLock lock(&mu_);
    return messages_.size();
  }

 private:
  static constexpr size_t kOpen = ~size_t{0};
  base::Mutex mu_;
  base::CondVar changed_;
  std::vector<v1::WorkerMessage> messages_ ABSL_GUARDED_BY(mu_);
  size_t next_ ABSL_GUARDED_BY(mu_) = 0;
  size_t closed_at_ ABSL_GUARDED_BY(mu_) = kOpen;
  bool aborted_ ABSL_GUARDED_BY(mu_) = false;
};

// Blobs in memory, handed out in small pieces, and the snapshots that were put. Thread-safe.
class FakeBlobs final : public BlobSource, public SnapshotSink {
 public:
  std::string Add(const std::string& bytes) {
    std::string digest = base::Sha256Hex(bytes);
    Replace(digest, bytes);
    return digest;
  }
  void Replace(const std::string& digest, const std::string& bytes) {
    base::MutexLock lock(&mu_);
    blobs_[digest] = bytes;
  }
  // Fetch waits while a gate is closed.
  void SetGate(bool closed) {
    base::MutexLock lock(&mu_);
    gate_closed_ = closed;
    changed_.SignalAll();
  }
  absl::Status Fetch(const std::string& digest, const BlobSink& sink) override {
    std::string bytes;
    {
      base::MutexLock lock(&mu_);
      while (gate_closed_) changed_.Wait(&mu_);
      ++fetches_[digest];
      const auto found = blobs_.find(digest);
      if (found == blobs_.end()) return absl::NotFoundError(absl::StrCat("no blob ", digest));
      bytes = found->second;
    }
    for (std::string_view rest = bytes; !rest.empty(); rest.remove_prefix(std::min(rest.size(), kPiece))) {
      if (absl::Status status = sink(rest.substr(0, kPiece)); !status.ok()) return status;
    }
    return absl::OkStatus();
  }
  int fetches(const std::string& digest) {
    base::MutexLock lock(&mu_);
    return fetches_[digest];
  }

  absl::Status Put(const v1::PutSnapshotRequest::Header& header, absl::Span<const float> multipliers) override {
    base::MutexLock lock(&mu_);
    snapshots_.emplace_back(header, std::vector<float>(multipliers.begin(), multipliers.end()));
    changed_.SignalAll();
    return absl::OkStatus();
  }
  std::pair<v1::PutSnapshotRequest::Header, std::vector<float>> WaitForSnapshot() {
    base::MutexLock lock(&mu_);
    while (snapshots_.empty() && changed_.WaitFor(&mu_, absl::Minutes(1))) {
    }
    return snapshots_.empty() ? std::pair<v1::PutSnapshotRequest::Header, std::vector<float>>() : snapshots_.front();
  }

 private:
  static constexpr size_t kPiece = 1000;
  base::Mutex mu_;
  base::CondVar changed_;
  bool gate_closed_ ABSL_GUARDED_BY(mu_) = false;
  std::map<std::string, std::string> blobs_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, int> fetches_ ABSL_GUARDED_BY(mu_);
  std::vector<std::pair<v1::PutSnapshotRequest::Header, std::vector<float>>> snapshots_ ABSL_GUARDED_BY(mu_);
};

// Four items a step over tiny_train.jsonl, unless the caller changes it.
inline method::MethodSpec TinyMethod() {
  method::MethodSpec method;
  method.seed = 7;
  method.steps = 20;
  method.probes = 2;
  method.micro_batches = 2;
  method.batch_size = 8;
  return method;
}

inline model::TaskSpec TinyTask() {
  model::TaskSpec task;
  task.kind = model::TaskKind::kClassification;
  task.prompt = "{text} It was";
  task.options = {" big", " little"};
  task.sequence_len = 96;
  return task;
}

// An OpenJob at step 0 whose blobs are in `blobs`.
template <typename Blobs>
v1::OpenJob TinyJob(uint32_t job, const method::MethodSpec& method, Blobs* blobs) {
  v1::OpenJob open;
  open.set_job(job);
  open.set_name(absl::StrCat("projects/p/jobs/job-", job));
  v1::JobSpec* spec = open.mutable_spec();
  *spec->mutable_method() = rpc::ToProto(method);
  *spec->mutable_task() = rpc::ToProto(TinyTask());
  spec->set_base_model_digest(blobs->Add(TinyModel()));
  spec->set_training_digest(blobs->Add(ReadTestFile("golden/data/tiny_train.jsonl")));
  spec->set_validation_digest(blobs->Add(ReadTestFile("golden/data/tiny_dev.jsonl")));
  spec->set_test_digest(blobs->Add(ReadTestFile("golden/data/tiny_test.jsonl")));
  return open;
}

}  // namespace qzo::worker

#endif  // QZO_WORKER_FAKES_H_
