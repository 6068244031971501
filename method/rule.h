// From the losses of a step's items to the coefficients that replicas apply (docs/architecture.md, "The method"). Pure.
#ifndef QZO_METHOD_RULE_H_
#define QZO_METHOD_RULE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "method/spec.h"

namespace qzo::method {

// What one item (probe, micro-batch) measured. Sums over its examples; `count` is examples (classification) or answer
// tokens.
struct ItemLosses {
  double plus = 0;
  double minus = 0;
  int64_t count = 0;

  friend bool operator==(const ItemLosses&, const ItemLosses&) = default;
};

// One probe's projected gradient: (Σ plus − Σ minus) / (2 ε Σ count), items in ascending order, in double, rounded to
// fp32. A non-finite sum, or no counted token, gives NaN: that probe takes no part in the step.
float ProjectedGradient(absl::Span<const ItemLosses> items_of_probe, float epsilon);

// (Σ plus + Σ minus) / (2 Σ count) over all finite items: the training loss to show. NaN when there is none.
double MeanLoss(absl::Span<const ItemLosses> items);

// The rule's memory between steps; journal chunks carry it so that recovery need not start at step 0.
struct RuleState {
  double mean_square = 0;  // σ̂²; 0 = no step with a nonzero d yet

  friend bool operator==(const RuleState&, const RuleState&) = default;
};

// One coefficient per probe, from projected gradients d (NaN = no part, coefficient 0). Updates `state`.
// kNormalized: m = mean of d² over finite probes; σ̂² = m at the first step with m > 0, then 0.95 σ̂² + 0.05 m, before it
// divides; c = fp32(lr · clip(d / σ̂, ±3)). kClip: c = fp32(lr · clip(d, ±clip)).
std::vector<float> Coefficients(const MethodSpec& spec, uint32_t step, absl::Span<const float> d, RuleState* state);

}  // namespace qzo::method

#endif  // QZO_METHOD_RULE_H_
