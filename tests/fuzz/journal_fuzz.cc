// Any bytes as a journal or an adapter file: refused, or decoded to something that encodes and decodes to itself. The
// first byte chooses: 0 a journal; 1 a journal chunk whose checksum is made right; 2 an adapter file; 3 one whose
// header length is made right, the header being what comes before the first NUL.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/digest.h"
#include "base/log.h"
#include "method/adapter.h"
#include "method/journal.h"

namespace qzo::method {
namespace {

constexpr size_t kChunkHeaderBytes = 32;

void TryJournal(std::string_view bytes) {
  const absl::StatusOr<JournalChunk> journal = DecodeJournal(bytes);
  if (!journal.ok() || journal->records.empty()) return;
  const std::string encoded = EncodeChunk(*journal);
  const absl::StatusOr<JournalChunk> again = DecodeJournal(encoded);
  QZO_CHECK(again.ok() && EncodeChunk(*again) == encoded);
}

// docs/formats.md, "Journal": the header's last eight bytes check what comes before and after them.
std::string WithChecksum(std::string_view bytes) {
  std::string chunk(bytes);
  if (chunk.size() < kChunkHeaderBytes) return chunk;
  const std::string_view head = std::string_view(chunk).substr(0, kChunkHeaderBytes - 8);
  const uint64_t checksum = base::Xxh3(head) + 3 * base::Xxh3(std::string_view(chunk).substr(kChunkHeaderBytes));
  std::memcpy(chunk.data() + kChunkHeaderBytes - 8, &checksum, sizeof checksum);
  return chunk;
}

void TryAdapter(std::string_view bytes) {
  const absl::StatusOr<Adapter> adapter = DecodeAdapter(bytes);
  if (!adapter.ok()) return;
  const std::string encoded = EncodeAdapter(*adapter);
  const absl::StatusOr<Adapter> again = DecodeAdapter(encoded);
  QZO_CHECK(again.ok() && EncodeAdapter(*again) == encoded);
}

std::string WithHeaderLength(std::string_view bytes) {
  const size_t end = bytes.find('\0');
  const uint64_t length = end == std::string_view::npos ? bytes.size() : end;
  std::string file(reinterpret_cast<const char*>(&length), sizeof length);
  file += bytes.substr(0, length);
  if (end != std::string_view::npos) file += bytes.substr(end + 1);
  return file;
}

void Run(uint8_t choice, std::string_view bytes) {
  switch (choice % 4) {
    case 0:
      return TryJournal(bytes);
    case 1:
      return TryJournal(WithChecksum(bytes));
    case 2:
      return TryAdapter(bytes);
    default:
      return TryAdapter(WithHeaderLength(bytes));
  }
}

}  // namespace
}  // namespace qzo::method

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0) qzo::method::Run(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
