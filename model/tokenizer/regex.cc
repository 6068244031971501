#include "model/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/text.h"

namespace qzo::model {
namespace {

std::string Pcre2Message(int error) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(error, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

absl::Status PatternError(std::string_view pattern, std::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("the regular expression '",
                                                 absl::CHexEscape(base::ToAbsl(pattern.substr(0, 200))),
                                                 "': ", base::ToAbsl(problem)));
}

// PCRE2's \s has U+180E besides, and its \w lacks marks.
absl::StatusOr<std::string> WithUnicodeClasses(std::string_view pattern) {
  constexpr std::string_view kWord = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
  std::string result;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const std::string_view rest = pattern.substr(i);
    if (rest[0] == '\\' && rest.size() > 1) {
      ++i;
      switch (rest[1]) {
        case 's':
          result += "\\p{White_Space}";
          continue;
        case 'S':
          result += "\\P{White_Space}";
          continue;
        case 'w':
          absl::StrAppend(&result, in_class ? "" : "[", base::ToAbsl(kWord), in_class ? "" : "]");
          continue;
        case 'W':
          if (in_class) return PatternError(pattern, "\\W in a class is not supported");
          absl::StrAppend(&result, "[^", base::ToAbsl(kWord), "]");
          continue;
        case 'h':
        case 'H':
        case 'R':
        case 'K':
        case 'G':
        case 'C':
          return PatternError(pattern, absl::StrCat("\\", std::string(1, rest[1]), " is not supported").c_str());
        default:
          result += rest.substr(0, 2);
          continue;
      }
    }
    if (in_class && rest.starts_with("&&")) return PatternError(pattern, "an intersection of classes is not supported");
    if (in_class && rest[0] == '[' && !rest.starts_with("[:"))
      return PatternError(pattern, "a class within a class is not supported; write \\[ for the character");
    if (rest.starts_with("[:") && in_class) {  // [:alpha:]
      const size_t end = rest.find(":]");
      if (end == std::string_view::npos) return PatternError(pattern, "[: without :]");
      result += rest.substr(0, end + 2);
      i += end + 1;
      continue;
    }
    if (rest[0] == '[' && !in_class) {
      in_class = true;
      // A bracket right at the beginning is a character.
      const size_t skip = rest.starts_with("[^]") ? 3 : rest.starts_with("[]") ? 2 : 1;
      result += rest.substr(0, skip);
      i += skip - 1;
      continue;
    }
    if (rest[0] == ']') in_class = false;
    result += rest[0];
  }
  return result;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Regex>> Regex::CompileWith(std::string_view pattern, uint32_t options) {
  int error = 0;
  PCRE2_SIZE at = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | options,
                                   &error, &at, nullptr);
  if (code == nullptr) return PatternError(pattern, absl::StrCat("at ", at, ": ", Pcre2Message(error)).c_str());
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where it is not available, matching is only slower
  return std::unique_ptr<Regex>(new Regex(code));
}

absl::StatusOr<std::unique_ptr<Regex>> Regex::Compile(std::string_view pattern) {
  const absl::StatusOr<std::string> unicode = WithUnicodeClasses(pattern);
  if (!unicode.ok()) return unicode.status();
  return CompileWith(*unicode, PCRE2_UCP | PCRE2_MULTILINE);
}

absl::StatusOr<std::unique_ptr<Regex>> Regex::CompileLiteral(std::string_view text) {
  return CompileWith(text, PCRE2_LITERAL);
}

Regex::~Regex() { pcre2_code_free(code_); }

absl::Status Regex::FindAll(std::string_view text, std::vector<std::pair<size_t, size_t>>* matches) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create_from_pattern(code_, nullptr), &pcre2_match_data_free);
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  for (size_t at = 0; at < text.size();) {
    constexpr uint32_t kOptions = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    int result = pcre2_match(code_, subject, text.size(), at, kOptions, match.get(), nullptr);
    // Compiled code has a small stack; the interpreter takes memory from the heap.
    if (result == PCRE2_ERROR_JIT_STACKLIMIT)
      result = pcre2_match(code_, subject, text.size(), at, kOptions | PCRE2_NO_JIT, match.get(), nullptr);
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) return absl::ResourceExhaustedError(absl::StrCat("splitting a text: ", Pcre2Message(result)));
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match.get());
    matches->emplace_back(range[0], range[1] - range[0]);
    at = range[1];
  }
  return absl::OkStatus();
}

}  // namespace qzo::model
