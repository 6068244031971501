// How far answers of workers of different kinds may lie apart. Pure.
#ifndef QZO_SERVER_CORE_KINDS_H_
#define QZO_SERVER_CORE_KINDS_H_

#include <cstddef>
#include <optional>
#include <string_view>

namespace qzo::server::core {

// Bound of the difference of two losses of one example or token, measured at the same multipliers by workers of kinds
// `a` and `b` on a model of so many layers. nullopt where a kind's arithmetic is not known.
//
// A kind rounds the activations of every matrix product with a relative error of at most u. The errors of a layer's
// seven products are independent of each other and add up along the residual stream as a random walk does, so that the
// last hidden state, and with it every logit, is off by some u·√(7·layers) of its size; at four standard deviations and
// logits of up to 32 that is 4·32·u·√(7·layers). A log-probability takes twice the error of the logits, a softmax over
// the scores of options twice that again; and each of the two kinds adds its own:
//
//   4 · 4 · 32 · (u_a + u_b) · √(7 · layers)
//
// It is wide: what lies beyond is no rounding.
std::optional<double> LossTolerance(std::string_view a, std::string_view b, size_t layers);

}  // namespace qzo::server::core

#endif  // QZO_SERVER_CORE_KINDS_H_
