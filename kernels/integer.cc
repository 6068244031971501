#include "kernels/integer.h"

#include "base/log.h"
#include "kernels/kernels.h"

namespace qzo::kernels {
namespace {

constexpr std::string_view kNames[] = {"fp32", "int16", "int8"};  // in the order of Arithmetic

}  // namespace

std::string_view ArithmeticName(Arithmetic arithmetic) { return kNames[static_cast<size_t>(arithmetic)]; }

std::optional<Arithmetic> ParseArithmetic(std::string_view name) {
  for (const Arithmetic arithmetic : {Arithmetic::kFp32, Arithmetic::kInt16, Arithmetic::kInt8}) {
    if (name == ArithmeticName(arithmetic)) return arithmetic;
  }
  return std::nullopt;
}

bool SupportsRounded(WeightType type, int64_t cols) {
  // Packed bytes have a minimum beside codes below 0, which no instruction for 8 bits has.
  const bool bytes = type == WeightType::kU8x32 || type == WeightType::kU8x128;
  return BlockValues(type) > 1 && !bytes && !HasCodebook(type) && cols % kRoundedBlock == 0;
}

RoundedRows RoundedRows::Slice(int64_t begin, int64_t end) const {
  return {.arithmetic = arithmetic, .rows = end - begin, .cols = cols, .data = data + begin * row_bytes()};
}

int64_t RoundedBytes(Arithmetic arithmetic, int64_t rows, int64_t cols) {
  return rows * RoundedRows{.arithmetic = arithmetic, .cols = cols}.row_bytes();
}

RoundedRows MakeRoundedRows(Arithmetic arithmetic, std::byte* storage, int64_t rows, int64_t cols) {
  QZO_CHECK(arithmetic != Arithmetic::kFp32 && cols % kRoundedBlock == 0);
  return {.arithmetic = arithmetic, .rows = rows, .cols = cols, .data = storage};
}

}  // namespace qzo::kernels
