#include "client/draw.h"

#include <bit>
#include <limits>
#include <numeric>
#include <random>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/tasks/row_reader.h"

namespace qzo::client {

std::vector<uint32_t> NumpyPermutation(uint32_t seed, uint32_t n) {
  std::mt19937 generator(seed);
  std::vector<uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0U);
  for (uint32_t i = n; i-- > 1;) {
    const uint32_t mask = std::numeric_limits<uint32_t>::max() >> std::countl_zero(i);
    uint32_t j = 0;
    do {
      j = static_cast<uint32_t>(generator()) & mask;
    } while (j > i);
    std::swap(order[i], order[j]);
  }
  return order;
}

absl::StatusOr<std::vector<std::string>> DrawRows(std::string_view file, uint32_t seed,
                                                  const std::vector<uint32_t>& pieces) {
  model::RowReader reader(file);
  std::vector<std::string_view> rows;
  while (reader.Next()) rows.push_back(reader.row());
  const uint64_t wanted = std::accumulate(pieces.begin(), pieces.end(), uint64_t{0});
  if (wanted > rows.size()) {
    return absl::InvalidArgumentError(absl::StrCat("found ", rows.size(), " rows, ", wanted, " are to be drawn"));
  }
  const std::vector<uint32_t> order = NumpyPermutation(seed, static_cast<uint32_t>(rows.size()));
  std::vector<std::string> drawn;
  auto next = order.begin();
  for (const uint32_t piece : pieces) {
    std::string& text = drawn.emplace_back();
    if (!reader.heading().empty()) absl::StrAppend(&text, std::string(reader.heading()), "\n");
    for (uint32_t i = 0; i < piece; ++i) text.append(rows[*next++]).push_back('\n');
  }
  return drawn;
}

}  // namespace qzo::client
