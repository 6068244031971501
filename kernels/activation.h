// The activations of MLPs, by the functions of exact_math.h; relu(x) = Max(0, x).
#ifndef QZO_KERNELS_ACTIVATION_H_
#define QZO_KERNELS_ACTIVATION_H_

#include <cstdint>

namespace qzo::kernels {

enum class Activation : uint8_t { kSilu, kGeluTanh, kRelu };

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_ACTIVATION_H_
