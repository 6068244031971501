// Lanes of multipliers, deltas and directions, for tests of engines that perturb on the fly against those that take
// arrays.
#ifndef QZO_TESTS_SUPPORT_DIRECTED_LANES_H_
#define QZO_TESTS_SUPPORT_DIRECTED_LANES_H_

#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/noise.h"
#include "model/graph/engine.h"

namespace qzo::testing {

// Lanes of one replica's multipliers and deltas in directions of their own, as a state and as arrays.
class DirectedLanes final : public model::LaneSource {
 public:
  DirectedLanes(const method::Partition& partition, int lanes, int first = 0, float epsilon = 0.05f)
      : partition_(partition), lanes_(lanes), first_(first), epsilon_(epsilon), values_(partition.InitialValues()) {
    for (size_t i = 0; i < values_.size(); ++i) values_[i] += 0.01f * static_cast<float>(i % 7);
  }
  int lanes() const override { return lanes_; }
  kernels::Granularity granularity() const override {
    return partition_.granularity() == method::Granularity::kGroup ? kernels::Granularity::kGroup
                                                                   : kernels::Granularity::kChannel;
  }
  const float* Multipliers(int lane, int ordinal) override {
    const method::PartitionTensor& tensor = partition_.multiplied(ordinal);
    std::vector<float>& made = made_[{lane, ordinal}];
    made.resize(static_cast<size_t>(tensor.count));
    model::LaneDirection direction = Direction(lane);
    direction.key.tensor = tensor.ordinal;
    kernels::BestKernels().perturb(direction.key, 0, tensor.count, values_.data() + tensor.offset, nullptr,
                                   direction.signed_epsilon, made.data());
    return made.data();
  }
  bool has_deltas(int) const override { return partition_.deltas() > 0; }
  void AddDeltas(int lane, int tensor, int64_t begin, int64_t count, float* x) const override {
    if (partition_.deltas() == 0) return;
    const method::PartitionTensor& added = partition_.added(tensor);
    const int64_t skipped = begin % kernels::kRademacherPerBlock;
    std::vector<float> made(static_cast<size_t>(skipped + count));
    model::LaneDirection direction = Direction(lane);
    direction.key.tensor = added.ordinal;
    kernels::BestKernels().perturb(direction.key, begin - skipped, skipped + count,
                                   values_.data() + added.offset + begin - skipped, nullptr,
                                   direction.signed_epsilon * kDeltaUnit, made.data());
    for (int64_t i = 0; i < count; ++i) x[i] += made[static_cast<size_t>(skipped + i)];
  }
  std::optional<model::LaneState> State() const override {
    return model::LaneState{
        .multipliers = values_, .delta_unit = partition_.deltas() > 0 ? kDeltaUnit : 0, .owner = owner_};
  }
  model::LaneDirection Direction(int lane) const override {
    return {.key = {.seed = 99, .step = 3, .probe = static_cast<uint32_t>((first_ + lane) / 2)},
            .signed_epsilon = (first_ + lane) % 2 == 0 ? epsilon_ : -epsilon_};
  }

 private:
  static constexpr float kDeltaUnit = 0.5f;
  const method::Partition& partition_;
  const int lanes_, first_;
  const float epsilon_;
  std::vector<float> values_;
  std::map<std::pair<int, int>, std::vector<float>> made_;
  const std::shared_ptr<const void> owner_ = std::make_shared<char>();
};

}  // namespace qzo::testing

#endif  // QZO_TESTS_SUPPORT_DIRECTED_LANES_H_
