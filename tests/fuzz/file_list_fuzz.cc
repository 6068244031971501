// Any bytes as the list of a model's files: refused, or exactly what is written for the files it names.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/log.h"
#include "base/sha256sums.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto files = qzo::base::ParseSha256Sums(bytes);
  if (!files.ok()) return 0;
  QZO_CHECK(qzo::base::IsSha256Sums(bytes) && qzo::base::WriteSha256Sums(*files) == bytes);
  for (const qzo::base::FileDigest& file : *files) {
    QZO_CHECK(file.name.find('/') == std::string::npos && file.name[0] != '.');
  }
  return 0;
}
