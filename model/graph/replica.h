// A job's multipliers and deltas at some step, how a step changes them, and the perturbed lanes that measure the next
// one. The same code serves workers, replays and verification.
#ifndef QZO_MODEL_GRAPH_REPLICA_H_
#define QZO_MODEL_GRAPH_REPLICA_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "method/batch_order.h"
#include "method/partition.h"
#include "method/rule.h"
#include "method/spec.h"
#include "model/graph/engine.h"

namespace qzo::model {

// Thread-compatible.
class Replica {
 public:
  // What is trained of `model`: of a range of layers, their slice of the whole partition.
  static method::Partition PartitionOf(const Model& model, const method::MethodSpec& spec);
  // At step 0: all multipliers 1, all deltas 0. The arguments but `spec` must outlive the replica. Possible errors:
  // INVALID_ARGUMENT when the method's mode does not fit the file's types (absolute mode without scales), or for a
  // range of layers whose embedding is the head of another range and has deltas.
  static absl::StatusOr<std::unique_ptr<Replica>> Create(const Model& model, const method::MethodSpec& spec,
                                                         const kernels::Kernels& kernels, kernels::ThreadPool* pool);

  ~Replica();

  const method::MethodSpec& spec() const { return spec_; }
  const method::Partition& partition() const { return partition_; }
  uint32_t step() const { return step_; }
  absl::Span<const float> multipliers() const { return multipliers_; }  // and deltas: the partition's flat array

  // Applies the coefficients (one per probe) of step(), which becomes step() + 1. INVALID_ARGUMENT for another count or
  // a coefficient that is not finite.
  absl::Status Apply(absl::Span<const float> coefficients);
  // Takes over multipliers of `step`. INVALID_ARGUMENT when they are not partition().values() finite numbers.
  absl::Status Restore(uint32_t step, absl::Span<const float> multipliers);
  // Back to step 0.
  void Reset();

  // method::ReplicaDigest of the multipliers; kept until they change.
  uint64_t digest() const;

  // Losses of items [first, first + count) of step(): item i is probe i / micro_batches, micro-batch i % micro_batches.
  // `order` gives rows of `data`. Items of one micro-batch share their passes. Possible errors: those of
  // Engine::Losses, INVALID_ARGUMENT for items past spec().items().
  // Allocates nothing once it has seen steps like this one.
  absl::Status MeasureItems(Engine* engine, const TaskSpec& task, const TaskDataset& data,
                            const method::BatchOrder& order, uint32_t first, uint32_t count,
                            std::vector<method::ItemLosses>* items);

  // Sums over `rows` of a dataset with the multipliers as they are.
  absl::StatusOr<EvalSums> EvaluateRows(Engine* engine, const TaskSpec& task, const TaskDataset& data,
                                        absl::Span<const int32_t> rows);

  // The multipliers as they are, as a single lane. Valid while the replica lives; follows its changes.
  std::unique_ptr<LaneSource> CurrentLane() const;

 private:
  class ProbeLanes;
  class CurrentLanes;
  const float* UnitsOf(const method::PartitionTensor& tensor) const;  // nullptr in relative mode
  LaneState State() const;
  // Moves the deltas of a tensor along the directions keys_.
  void MoveDeltas(const method::PartitionTensor& tensor, absl::Span<const float> coefficients);
  void Changed();  // the multipliers
  Replica(const method::MethodSpec& spec, method::Partition partition, const kernels::Kernels& kernels,
          kernels::ThreadPool* pool);

  const method::MethodSpec spec_;
  const method::Partition partition_;
  const kernels::Kernels& kernels_;
  kernels::ThreadPool* const pool_;
  const std::unique_ptr<ProbeLanes> lanes_;
  std::vector<float> units_;  // absolute mode only, flat as the multipliers without deltas
  std::vector<float> multipliers_;
  const std::shared_ptr<const void> owner_ = std::make_shared<char>();  // LaneState
  uint64_t version_ = 0;
  std::vector<kernels::NoiseKey> keys_;  // of the last step, and
  std::vector<float> coefficients_;      // what it took; none after another change
  uint32_t step_ = 0;
  mutable uint64_t digest_ = 0;
  mutable bool digest_valid_ = false;

  // Working memory.
  std::vector<int32_t> rows_;
  std::vector<const Example*> examples_;
  std::vector<ExampleLoss> losses_;
};

}  // namespace qzo::model

#endif  // QZO_MODEL_GRAPH_REPLICA_H_
