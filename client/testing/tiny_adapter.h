// A trained adapter of the tiny model, made here: its gradients are invented, all that follows from them is the
// method's.
#ifndef QZO_CLIENT_TESTING_TINY_ADAPTER_H_
#define QZO_CLIENT_TESTING_TINY_ADAPTER_H_

#include <string>

#include "base/digest.h"
#include "base/log.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "method/adapter.h"
#include "method/rule.h"
#include "model/graph/model.h"
#include "model/graph/replica.h"
#include "tests/support/temp_dir.h"

namespace qzo::client {

inline std::string TinyModelPath(const std::string& type) {
  return testing::TestFile("golden/models/stories260k/stories260K-" + type + ".gguf");
}

// Of `steps` steps with two probes. The multipliers end up some percent away from one.
inline method::Adapter MakeTinyAdapter(const std::string& model_path, uint32_t steps,
                                       method::Granularity granularity = method::Granularity::kChannel,
                                       bool train_unquantized = false) {
  auto model = model::Model::Load(model_path);
  QZO_CHECK(model.ok());
  method::Adapter adapter;
  adapter.base_model_digest = base::Sha256Hex((*model)->file().bytes());
  adapter.spec.steps = steps;
  adapter.spec.probes = 2;
  adapter.spec.seed = 7;
  adapter.spec.granularity = granularity;
  adapter.spec.learning_rate = 0.02;
  adapter.spec.train_unquantized = train_unquantized;
  adapter.tensors = (*model)->info().TrainedBy(adapter.spec);
  adapter.step = steps;
  adapter.job = "projects/default/jobs/tiny";
  adapter.task_json =
      R"({"kind":"CLASSIFICATION","prompt":"{text} It was","options":[" bad"," good"],"labelNames":["neg","pos"],"sequenceLen":64})";
  kernels::ThreadPool pool(1);
  auto replica = model::Replica::Create(**model, adapter.spec, kernels::BestKernels(), &pool);
  QZO_CHECK(replica.ok());
  for (uint32_t step = 0; step < steps; ++step) {
    method::StepRecord record{.step = step, .d = {0.5f + static_cast<float>(step % 3), -1.25f}, .coefficients = {}};
    record.coefficients = method::Coefficients(adapter.spec, step, record.d, &adapter.state_after);
    QZO_CHECK((*replica)->Apply(record.coefficients).ok());
    adapter.journal.push_back(std::move(record));
  }
  adapter.replica_digest = (*replica)->digest();
  return adapter;
}

}  // namespace qzo::client

#endif  // QZO_CLIENT_TESTING_TINY_ADAPTER_H_
