// Products in integers: activations are rounded once to 16 or 8 bits, with a scale per block of 32 values, and
// multiplied by the stored codes of quantized weights as they are. Normative, like kernels.h: the reference and every
// variant give the same bits. Two to four times the rate of fp32 where the machine has integer dot products.
//
// Rounding a block of 32 activations x, limit = 32767 (int16) or 127 (int8):
//   largest = max |x_i|;  r = limit / largest;  s = largest / limit;  q_i = round(r · x_i), ties to even, of the exact
//   product, so |q_i| <= limit;  sum = s · float(Σ q_i), one product.
//   Where r is not finite (a block of zeros, or below about 1e-34) s = 0 and q = 0. Where any x is NaN or infinite s
//   and sum are NaN and q = 0: every output of that row becomes NaN.
//
// An output element, blocks b ascending from acc = +0, codes c of at most 8 bits signed, scale d and minimum m as
// stored:
//   P = Σ q_i · c_i, exact in 32 bits
//   acc = fma(float(P), s_b · d_b, acc), the inner product rounded
//   acc = fma(sum_b, m_b, acc) for types with a minimum, whose codes are never negative
// kChannel: result = multiplier · acc. kGroup: d_b and m_b are first multiplied by the group's multiplier, each
// rounded. Where a scale covers 16 values, each half of a block counts as a block, with the s of the whole.
#ifndef QZO_KERNELS_INTEGER_H_
#define QZO_KERNELS_INTEGER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace qzo::kernels {

// How the matrix products of a forward pass are computed.
enum class Arithmetic : uint8_t { kFp32, kInt16, kInt8 };

std::string_view ArithmeticName(Arithmetic arithmetic);  // "fp32", "int16", "int8"
std::optional<Arithmetic> ParseArithmetic(std::string_view name);

inline constexpr int64_t kRoundedBlock = 32;

// Rounded rows [rows, cols], cols a multiple of 32, in storage of the caller. Rows are independent: they may be written
// and read in any order, disjoint ones at once.
struct RoundedRows {
  Arithmetic arithmetic = Arithmetic::kInt16;
  int64_t rows = 0;
  int64_t cols = 0;
  std::byte* data = nullptr;  // [rows, cols / 32] blocks (rounding.h)

  int64_t code_bytes() const { return arithmetic == Arithmetic::kInt16 ? 64 : 32; }
  int64_t block_bytes() const { return code_bytes() + (arithmetic == Arithmetic::kInt16 ? 16 : 32); }
  int64_t row_bytes() const { return cols / kRoundedBlock * block_bytes(); }
  std::byte* block(int64_t row, int64_t b) const { return data + row * row_bytes() + b * block_bytes(); }
  RoundedRows Slice(int64_t begin, int64_t end) const;  // rows [begin, end), the same storage
};

int64_t RoundedBytes(Arithmetic arithmetic, int64_t rows, int64_t cols);
// `storage`: RoundedBytes of them, any alignment.
RoundedRows MakeRoundedRows(Arithmetic arithmetic, std::byte* storage, int64_t rows, int64_t cols);

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_INTEGER_H_
