// What the answers of tests' jobs must be, computed without agent, queue or stream.
#ifndef QZO_WORKER_ORACLE_H_
#define QZO_WORKER_ORACLE_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "method/batch_order.h"
#include "method/journal.h"
#include "model/graph/engine.h"
#include "model/graph/pack.h"
#include "model/graph/replica.h"
#include "tests/support/status_matchers.h"
#include "tests/support/temp_dir.h"
#include "worker/fakes.h"

namespace qzo::worker {

inline constexpr uint32_t kItems = 4;  // of a step of TinyMethod
// Coefficients of steps 0, 1, 2.
inline const std::vector<std::vector<float>> kSteps = {{0.02f, -0.01f}, {-0.03f, 0.005f}, {0.01f, 0.04f}};

// Chunk of steps [first, end).
inline std::string Journal(size_t first, size_t end) {
  method::JournalChunk chunk;
  for (size_t step = first; step < end; ++step) {
    chunk.records.push_back({static_cast<uint32_t>(step), {0.5f, -0.5f}, kSteps[step]});
  }
  return method::EncodeChunk(chunk);
}

inline std::string Bytes(absl::Span<const float> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// On one thread, with the plain kernels.
class Oracle {
 public:
  explicit Oracle(const method::MethodSpec& method)
      : model_(model::Model::Load(testing::TestFile("golden/models/stories260k/stories260K-Q4_1.gguf")).value()),
        engine_(*model_, *kernels::FindKernels("reference"), &pool_, kernels::Arithmetic::kInt16),
        training_(Load("tiny_train")),
        order_(method, base::Sha256Hex(ReadTestFile("golden/data/tiny_train.jsonl")), training_.rows_by_label()),
        replica(model::Replica::Create(*model_, method, *kernels::FindKernels("reference"), &pool_).value()) {}

  std::vector<double> Losses(uint32_t first, uint32_t count) {
    std::vector<method::ItemLosses> items;
    EXPECT_OK(replica->MeasureItems(&engine_, TinyTask(), training_, order_, first, count, &items));
    std::vector<double> losses;
    for (const method::ItemLosses& item : items) losses.insert(losses.end(), {item.plus, item.minus});
    return losses;
  }
  // Token rows of the forward passes of items [first, first + count).
  int64_t Rows(uint32_t first, uint32_t count) const {
    int64_t rows = 0;
    for (uint32_t item = first; item < first + count; ++item) {
      for (const int32_t row : order_.Rows(replica->step(), item % replica->spec().micro_batches)) {
        rows += 2 * model::PackedRows(training_.example(row));
      }
    }
    return rows;
  }
  model::EvalSums Evaluate(const std::string& dataset, absl::Span<const int32_t> rows) {
    return replica->EvaluateRows(&engine_, TinyTask(), Load(dataset), rows).value();
  }

 private:
  model::TaskDataset Load(const std::string& name) {
    model::DatasetReport report;
    return model::TaskDataset::Load(TinyTask(), model_->tokenizer(), ReadTestFile("golden/data/" + name + ".jsonl"),
                                    name, &report)
        .value();
  }

  kernels::ThreadPool pool_{1};
  std::unique_ptr<model::Model> model_;
  model::Engine engine_;
  model::TaskDataset training_;
  method::BatchOrder order_;

 public:
  const std::unique_ptr<model::Replica> replica;
};

}  // namespace qzo::worker

#endif  // QZO_WORKER_ORACLE_H_
