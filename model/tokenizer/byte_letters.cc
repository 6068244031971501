#include "model/tokenizer/byte_letters.h"

#include <array>
#include <cstdint>

#include "model/tokenizer/utf8.h"

namespace qzo::model {
namespace {

constexpr uint32_t kFirstShifted = 0x100;
constexpr uint32_t kShiftedCount = 68;

struct Tables {
  std::array<std::string, 256> letters;
  // By code point below kFirstShifted + kShiftedCount; -1 where it spells none.
  std::array<int16_t, kFirstShifted + kShiftedCount> bytes;
};

// Bytes that are visible in Latin-1 are spelled as themselves, the others, in order, as U+0100 and up.
const Tables& ByteTables() {
  static const Tables* const kTables = [] {
    auto* tables = new Tables;
    tables->bytes.fill(-1);
    uint32_t next = kFirstShifted;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const bool visible = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      const uint32_t code = visible ? byte : next++;
      tables->bytes[code] = static_cast<int16_t>(byte);
      if (code < 0x80) {
        tables->letters[byte] = std::string(1, static_cast<char>(code));
      } else {
        tables->letters[byte] = {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
      }
    }
    return tables;
  }();
  return *kTables;
}

}  // namespace

void AppendByteLetters(std::string_view bytes, std::string* spelling) {
  const Tables& tables = ByteTables();
  for (const char byte : bytes) *spelling += tables.letters[static_cast<unsigned char>(byte)];
}

std::string BytesOfLetters(std::string_view spelling) {
  const Tables& tables = ByteTables();
  std::string bytes;
  while (!spelling.empty()) {
    const std::string_view letter = spelling.substr(0, CharacterSize(spelling));
    const uint32_t code = IsInvalidByte(letter) ? kFirstShifted + kShiftedCount : CodePoint(letter);
    if (code < tables.bytes.size() && tables.bytes[code] >= 0) {
      bytes += static_cast<char>(tables.bytes[code]);
    } else {
      bytes += letter;
    }
    spelling.remove_prefix(letter.size());
  }
  return bytes;
}

}  // namespace qzo::model
