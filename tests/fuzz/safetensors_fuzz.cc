// Any bytes as a safetensors file: refused, or tensors whose bytes lie in it, one behind the other, and fill it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "model/formats/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace qzo::model;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto tensors = ParseSafetensors(bytes, "fuzz");
  if (!tensors.ok()) return 0;
  std::sort(tensors->begin(), tensors->end(),
            [](const SafetensorsTensor& a, const SafetensorsTensor& b) { return a.bytes.data() < b.bytes.data(); });
  size_t held = 0;
  for (const SafetensorsTensor& tensor : *tensors) {
    int64_t values = 1;
    for (const int64_t dim : tensor.dims) values *= dim;
    QZO_CHECK(static_cast<int64_t>(tensor.bytes.size()) == values * SafetensorsTypeBytes(tensor.type));
    QZO_CHECK(tensor.bytes.data() >= bytes.data() &&
              tensor.bytes.data() + tensor.bytes.size() <= bytes.data() + bytes.size());
    held += tensor.bytes.size();
  }
  QZO_CHECK(held <= size);
  return 0;
}
