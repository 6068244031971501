// Codes that stand for entries of a codebook: what bitsandbytes and AQLM store, as they store it. A row is its codes
// alone: of kBook4 two a byte, the high half first; of the others the codes of eight values beside each other.
#include "kernels/exact_math.h"
#include "kernels/weight_blocks.h"

namespace qzo::kernels {
namespace {

constexpr int kEntry = 8;  // values of an entry, but for kBook4

float EntryValue(const WeightMatrix& w, int64_t at) {
  switch (w.codebook_type) {
    case WeightType::kF16:
      return LoadHalf(w.codebook + 2 * at);
    case WeightType::kBF16:
      return FromBits(uint32_t{Load16(w.codebook + 2 * at)} << 16);
    default:
      return FromBits(Load32(w.codebook + 4 * at));
  }
}

}  // namespace

void DecodeEntries(const WeightMatrix& w, int64_t row, int64_t first_value, float* out) {
  const std::byte* codes = w.data + row * (w.cols / BlockValues(w.type) * BlockBytes(w.type));
  const float scale = w.scales[row * (w.cols / w.group) + first_value / w.group];
  for (int64_t k = first_value; k < first_value + 32; ++k) {
    float entry;
    if (w.type == WeightType::kBook4) {
      entry = EntryValue(w, Load8(codes + k / 2) >> (k % 2 == 0 ? 4 : 0) & 15);
    } else if (w.type == WeightType::kBook1x16) {
      entry = EntryValue(w, int64_t{Load16(codes + k / kEntry * 2)} * kEntry + k % kEntry);
    } else if (w.type == WeightType::kBook1x8) {
      entry = EntryValue(w, int64_t{Load8(codes + k / kEntry)} * kEntry + k % kEntry);
    } else {
      const std::byte* pair = codes + k / kEntry * 2;
      entry = EntryValue(w, int64_t{Load8(pair)} * kEntry + k % kEntry) +
              EntryValue(w, int64_t{256 + Load8(pair + 1)} * kEntry + k % kEntry);
    }
    out[k - first_value] = scale * entry;
  }
}

}  // namespace qzo::kernels
