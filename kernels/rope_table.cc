#include "kernels/rope_table.h"

#include "base/log.h"
#include "kernels/exact_math.h"

namespace qzo::kernels {

RopeTable BuildRopeTable(int64_t positions, int rotary_dim, double base, std::span<const float> divisors,
                         double magnitude) {
  const size_t half = static_cast<size_t>(rotary_dim / 2);
  QZO_CHECK(divisors.empty() || divisors.size() == half);
  std::vector<double> frequencies(half);
  for (size_t i = 0; i < half; ++i) {
    frequencies[i] = Pow(base, -2.0 * static_cast<double>(i) / rotary_dim);
    if (!divisors.empty()) frequencies[i] /= divisors[i];
  }
  RopeTable table;
  table.cos.reserve(static_cast<size_t>(positions) * half);
  table.sin.reserve(static_cast<size_t>(positions) * half);
  for (int64_t position = 0; position < positions; ++position) {
    for (const double frequency : frequencies) {
      const SinCosResult angle = SinCos(static_cast<double>(position) * frequency);
      table.cos.push_back(static_cast<float>(magnitude * angle.cos));
      table.sin.push_back(static_cast<float>(magnitude * angle.sin));
    }
  }
  return table;
}

}  // namespace qzo::kernels
