#include "kernels/integer.h"

#include "base/log.h"
#include "kernels/kernels.h"

namespace qzo::kernels {
namespace {

constexpr std::string_view kNames[] = {"fp32", "int16", "int8"};  // in the order of Arithmetic

int64_t Aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

std::string_view ArithmeticName(Arithmetic arithmetic) { return kNames[static_cast<size_t>(arithmetic)]; }

std::optional<Arithmetic> ParseArithmetic(std::string_view name) {
  for (const Arithmetic arithmetic : {Arithmetic::kFp32, Arithmetic::kInt16, Arithmetic::kInt8}) {
    if (name == ArithmeticName(arithmetic)) return arithmetic;
  }
  return std::nullopt;
}

bool SupportsRounded(WeightType type, int64_t cols) { return BlockValues(type) > 1 && cols % kRoundedBlock == 0; }

RoundedRows RoundedRows::Slice(int64_t begin, int64_t end) const {
  RoundedRows slice = *this;
  slice.rows = end - begin;
  slice.codes += begin * row_bytes();
  slice.scales += begin * blocks();
  slice.sums += begin * blocks();
  if (starts != nullptr) slice.starts += begin * blocks();
  return slice;
}

int64_t RoundedBytes(Arithmetic arithmetic, int64_t rows, int64_t cols) {
  const bool bytes = arithmetic == Arithmetic::kInt8;
  return Aligned(rows * cols * (bytes ? 1 : 2)) + (bytes ? 3 : 2) * Aligned(rows * cols / kRoundedBlock * 4);
}

RoundedRows MakeRoundedRows(Arithmetic arithmetic, std::byte* storage, int64_t rows, int64_t cols) {
  QZO_CHECK(arithmetic != Arithmetic::kFp32 && cols % kRoundedBlock == 0);
  RoundedRows result{.arithmetic = arithmetic, .rows = rows, .cols = cols, .codes = storage};
  std::byte* scales = storage + Aligned(rows * result.row_bytes());
  const int64_t bytes = Aligned(rows * result.blocks() * 4);
  result.scales = reinterpret_cast<float*>(scales);
  result.sums = reinterpret_cast<float*>(scales + bytes);
  if (arithmetic == Arithmetic::kInt8) result.starts = reinterpret_cast<int32_t*>(scales + 2 * bytes);
  return result;
}

}  // namespace qzo::kernels
