#include "model/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "model/tokenizer/utf8.h"

namespace qzo::model {
namespace {

bool IsAscii(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char byte) { return (byte & 0x80) != 0; });
}

// The functions for one part get valid UTF-8.
absl::StatusOr<std::string> ApplyToPart(Normalizer::Form form, std::string_view text) {
  if (IsAscii(text)) return std::string(text);
  int options = UTF8PROC_STABLE;
  if (form == Normalizer::Form::kNfc || form == Normalizer::Form::kNfkc) options |= UTF8PROC_COMPOSE;
  if (form == Normalizer::Form::kNfd || form == Normalizer::Form::kNfkd) options |= UTF8PROC_DECOMPOSE;
  if (form == Normalizer::Form::kNfkc || form == Normalizer::Form::kNfkd) options |= UTF8PROC_COMPAT;
  utf8proc_uint8_t* normalized = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &normalized, static_cast<utf8proc_option_t>(options));
  if (size < 0) return absl::ResourceExhaustedError(absl::StrCat("utf8proc_map: ", utf8proc_errmsg(size)));
  std::string result(reinterpret_cast<const char*>(normalized), static_cast<size_t>(size));
  std::free(normalized);
  return result;
}

absl::StatusOr<std::string> ApplyToPart(Normalizer::Lowercase, std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const size_t size = CharacterSize(text);
    const uint32_t code = CodePoint(text.substr(0, size));
    text.remove_prefix(size);
    if (code == 0x130) {  // the one character whose lower case is two
      result += "i\u0307";
      continue;
    }
    std::array<utf8proc_uint8_t, 4> bytes{};
    const utf8proc_ssize_t count =
        utf8proc_encode_char(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)), bytes.data());
    result.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(count));
  }
  return result;
}

absl::StatusOr<std::string> ApplyToPart(const Normalizer::Replace& replace, std::string_view text) {
  std::vector<std::pair<size_t, size_t>> matches;
  QZO_RETURN_IF_ERROR(replace.pattern->FindAll(text, &matches));
  std::string result;
  size_t at = 0;
  for (const auto& [begin, size] : matches) {
    absl::StrAppend(&result, base::ToAbsl(text.substr(at, begin - at)), replace.replacement);
    at = begin + size;
  }
  absl::StrAppend(&result, base::ToAbsl(text.substr(at)));
  return result;
}

absl::StatusOr<std::string> ApplyToPart(const std::shared_ptr<const Charsmap>& map, std::string_view text) {
  return map->Normalize(text);
}

template <typename Step>
absl::StatusOr<std::string> ApplyStep(const Step& step, std::string_view text) {
  std::string result;
  absl::Status status;
  ForEachValidPart(text, [&](std::string_view part) {
    if (!status.ok()) return;
    if (IsInvalidByte(part)) {
      result += part;
      return;
    }
    absl::StatusOr<std::string> normalized = ApplyToPart(step, part);
    status = normalized.status();
    if (normalized.ok()) result += *normalized;
  });
  if (!status.ok()) return status;
  return result;
}

absl::StatusOr<std::string> ApplyStep(const Normalizer::Prepend& prepend, std::string_view text) {
  return text.empty() ? std::string() : absl::StrCat(prepend.text, base::ToAbsl(text));
}

absl::StatusOr<std::string> ApplyStep(const Normalizer::Strip& strip, std::string_view text) {
  if (strip.left) text.remove_prefix(LeadingWhiteSpace(text));
  if (strip.right) text.remove_suffix(TrailingWhiteSpace(text));
  return std::string(text);
}

absl::StatusOr<std::string> ApplyStep(Normalizer::CollapseBlanks, std::string_view text) {
  std::string result;
  for (const char byte : text) {
    if (byte != ' ' || (!result.empty() && result.back() != ' ')) result += byte;
  }
  if (!result.empty() && result.back() == ' ') result.pop_back();
  return result;
}

}  // namespace

absl::StatusOr<std::string> Normalizer::Apply(std::string_view text) const {
  std::string result(text);
  for (const Step& step : steps_) {
    QZO_ASSIGN_OR_RETURN(result, std::visit([&result](const auto& s) { return ApplyStep(s, result); }, step));
  }
  return result;
}

}  // namespace qzo::model
