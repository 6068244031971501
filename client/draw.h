// Rows drawn at random from a dataset file, exactly those that the code of MeZO and QZO draws (arXiv:2305.17333,
// arXiv:2505.13430).
#ifndef QZO_CLIENT_DRAW_H_
#define QZO_CLIENT_DRAW_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace qzo::client {

// What numpy.random.permutation(n) gives after numpy.random.seed(seed): the legacy generator, which NumPy keeps as it
// is (NEP 19). MT19937; a shuffle from the end with bounds by masks and rejection.
std::vector<uint32_t> NumpyPermutation(uint32_t seed, uint32_t n);

// Rows in the order of that permutation, in consecutive pieces of so many; each piece is a file of its own, with the
// first line of a table. INVALID_ARGUMENT when there are fewer rows than all pieces take.
absl::StatusOr<std::vector<std::string>> DrawRows(std::string_view file, uint32_t seed,
                                                  const std::vector<uint32_t>& pieces);

}  // namespace qzo::client

#endif  // QZO_CLIENT_DRAW_H_
