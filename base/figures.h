// Numbers and durations as people read them. Pure and thread-safe.
#ifndef QZO_BASE_FIGURES_H_
#define QZO_BASE_FIGURES_H_

#include <string>

#include "absl/time/time.h"

namespace qzo::base {

// The two largest units: "45s", "3m12s", "2h5m", "4d1h".
std::string ShortDuration(absl::Duration duration);

// 12 significant digits are for machines: people get four.
std::string Figure(double value);

}  // namespace qzo::base

#endif  // QZO_BASE_FIGURES_H_
