// The settings of one run of the method, resolved: no "auto" is left. Pure data.
#ifndef QZO_METHOD_SPEC_H_
#define QZO_METHOD_SPEC_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace qzo::method {

enum class Granularity : uint8_t { kChannel = 1, kGroup = 2 };
enum class Mode : uint8_t { kRelative = 1, kAbsolute = 2 };
enum class Noise : uint8_t { kRademacher = 1, kGaussian = 2 };
enum class Rule : uint8_t { kNormalized = 1, kClip = 2 };
enum class Schedule : uint8_t { kConstant = 1, kLinear = 2, kCosine = 3 };
enum class Sampling : uint8_t { kShuffled = 1, kBalanced = 2 };

struct MethodSpec {
  uint64_t seed = 0;
  uint32_t steps = 0;          // at least 1
  uint32_t probes = 8;         // directions per step, 1 … 64
  uint32_t micro_batches = 1;  // fixed slices of a batch; divides batch_size
  uint32_t batch_size = 16;    // rows per step
  Granularity granularity = Granularity::kChannel;
  Mode mode = Mode::kRelative;
  Noise noise = Noise::kRademacher;
  Rule rule = Rule::kNormalized;
  Sampling sampling = Sampling::kShuffled;
  Schedule schedule = Schedule::kLinear;
  float epsilon = 1e-2f;  // relative mode: share of a multiplier; absolute mode: units of the stored scale
  double learning_rate = 1e-2;
  double warmup_ratio = 0;  // share of the steps over which the rate rises linearly from 0
  double clip = 100;        // kClip: largest |d| that counts
  // Whether unquantized tensors are trained beside the multipliers, by deltas that are added to them.
  bool train_unquantized = false;
  float delta_unit = 0.02f;  // what epsilon and coefficients are in units of where they move deltas

  uint32_t items() const { return probes * micro_batches; }

  // All violations at once as "method.field: found, expected" lines. INVALID_ARGUMENT.
  absl::Status Validate() const;
};

// Learning rate of step t (0-based): warm-up, then constant, linear to 0 or a half cosine to 0 at the last step + 1.
double LearningRate(const MethodSpec& spec, uint32_t step);

}  // namespace qzo::method

#endif  // QZO_METHOD_SPEC_H_
