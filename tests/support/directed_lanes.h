// Lanes of multipliers and directions, for tests of engines that perturb on the fly against those that take arrays.
#ifndef QZO_TESTS_SUPPORT_DIRECTED_LANES_H_
#define QZO_TESTS_SUPPORT_DIRECTED_LANES_H_

#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/kernels.h"
#include "model/graph/engine.h"

namespace qzo::testing {

// Lanes of one replica's multipliers in directions of their own, as a state and as arrays.
class DirectedLanes final : public model::LaneSource {
 public:
  DirectedLanes(const method::Partition& partition, int lanes, int first = 0, float epsilon = 0.05f)
      : partition_(partition),
        lanes_(lanes),
        first_(first),
        epsilon_(epsilon),
        multipliers_(static_cast<size_t>(partition.multipliers())) {
    for (size_t i = 0; i < multipliers_.size(); ++i) multipliers_[i] = 1 + 0.01f * static_cast<float>(i % 7);
  }
  int lanes() const override { return lanes_; }
  kernels::Granularity granularity() const override {
    return partition_.granularity() == method::Granularity::kGroup ? kernels::Granularity::kGroup
                                                                   : kernels::Granularity::kChannel;
  }
  const float* Multipliers(int lane, int ordinal) override {
    const method::PartitionTensor& tensor = partition_.tensors()[static_cast<size_t>(ordinal)];
    std::vector<float>& made = made_[{lane, ordinal}];
    made.resize(static_cast<size_t>(tensor.count));
    model::LaneDirection direction = Direction(lane);
    direction.key.tensor = static_cast<uint32_t>(ordinal);
    kernels::BestKernels().perturb(direction.key, 0, tensor.count, multipliers_.data() + tensor.offset, nullptr,
                                   direction.signed_epsilon, made.data());
    return made.data();
  }
  std::optional<model::LaneState> State() const override {
    return model::LaneState{.multipliers = multipliers_, .owner = owner_};
  }
  model::LaneDirection Direction(int lane) const override {
    return {.key = {.seed = 99, .step = 3, .probe = static_cast<uint32_t>((first_ + lane) / 2)},
            .signed_epsilon = (first_ + lane) % 2 == 0 ? epsilon_ : -epsilon_};
  }

 private:
  const method::Partition& partition_;
  const int lanes_, first_;
  const float epsilon_;
  std::vector<float> multipliers_;
  std::map<std::pair<int, int>, std::vector<float>> made_;
  const std::shared_ptr<const void> owner_ = std::make_shared<char>();
};

}  // namespace qzo::testing

#endif  // QZO_TESTS_SUPPORT_DIRECTED_LANES_H_
