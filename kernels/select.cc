// kernel_variants.inc is written by CMakeLists.txt, which knows what the target architecture can compile.
#include "base/log.h"
#include "kernels/kernels.h"

namespace qzo::kernels {

#define QZO_KERNELS_VARIANT(name) extern const Kernels k##name##Kernels;
#include "kernel_variants.inc"
#undef QZO_KERNELS_VARIANT

namespace {

#define QZO_KERNELS_VARIANT(name) &k##name##Kernels,
constexpr const Kernels* kAll[] = {
#include "kernel_variants.inc"
};
#undef QZO_KERNELS_VARIANT

}  // namespace

std::span<const Kernels* const> AllKernels() { return kAll; }

const Kernels& BestKernels() {
  const Kernels* best = nullptr;
  for (const Kernels* kernels : kAll) {
    if (kernels->supported()) best = kernels;
  }
  QZO_CHECK(best != nullptr);
  return *best;
}

const Kernels* FindKernels(std::string_view name) {
  for (const Kernels* kernels : kAll) {
    if (kernels->name == name && kernels->supported()) return kernels;
  }
  return nullptr;
}

}  // namespace qzo::kernels
