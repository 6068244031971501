#include "model/tokenizer/pretokenize.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "base/text.h"

namespace qzo::model {
namespace {

// The expressions are those of each family's tokenizer.json; where that names other splitters (digits, punctuation),
// they are written as expressions, in the same order.
constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kEachDigit = R"(\p{N})";
constexpr std::string_view kThreeDigits = "[0-9][0-9][0-9]";
constexpr std::string_view kLlama3 = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
                                     R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kTekken = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                                     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
                                     R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

const std::vector<PretokenizerFamily>& Families() {
  static const auto* const kFamilies = new std::vector<PretokenizerFamily>{
      {.name = "default", .patterns = {R"([\p{P}$+<=>^~|]+)", kGpt2, R"(\p{N}+)", kThreeDigits}},
      {.name = "gpt-2", .patterns = {kGpt2}},
      {.name = "phi-2", .patterns = {kGpt2}},
      {.name = "mpt", .patterns = {kGpt2}},
      {.name = "olmo", .patterns = {kGpt2}},
      {.name = "smollm", .patterns = {kEachDigit, kGpt2}},
      {.name = "starcoder", .patterns = {kEachDigit, kGpt2}},
      {.name = "refact", .patterns = {kEachDigit, kGpt2}},
      {.name = "command-r", .patterns = {kEachDigit, kGpt2}},
      {.name = "falcon", .patterns = {R"([\p{P}$+<=>^~|`]+)", kGpt2, kThreeDigits}},
      {.name = "llama-bpe", .patterns = {kLlama3}, .whole_words = true, .add_bos = true},
      {.name = "qwen2", .patterns = {kQwen2}},
      {.name = "stablelm2", .patterns = {kQwen2}},
      {.name = "tekken", .patterns = {kTekken}, .whole_words = true, .add_bos = true},
  };
  return *kFamilies;
}

std::string Pcre2Message(int error) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(error, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

const PretokenizerFamily* FindPretokenizerFamily(std::string_view name) {
  for (const PretokenizerFamily& family : Families()) {
    if (family.name == name) return &family;
  }
  return nullptr;
}

std::vector<std::string> SupportedPretokenizers() {
  std::vector<std::string> names;
  for (const PretokenizerFamily& family : Families()) names.emplace_back(family.name);
  return names;
}

class Pretokenizer::Regex {
 public:
  static absl::StatusOr<std::unique_ptr<Regex>> Compile(std::string_view pattern) {
    // PCRE2's \s also has U+180E, which is no white space to Unicode nor to the tokenizers that are followed here.
    const std::string unicode =
        absl::StrReplaceAll(base::ToAbsl(pattern), {{"\\s", "\\p{White_Space}"}, {"\\S", "\\P{White_Space}"}});
    int error = 0;
    PCRE2_SIZE at = 0;
    pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(unicode.data()), unicode.size(),
                                     PCRE2_UTF | PCRE2_UCP, &error, &at, nullptr);
    if (code == nullptr)
      return absl::InternalError(absl::StrCat("pcre2_compile at ", at, " of ", unicode, ": ", Pcre2Message(error)));
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where it is not available, matching is only slower
    return std::unique_ptr<Regex>(new Regex(code));
  }
  ~Regex() { pcre2_code_free(code_); }
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  // Appends what matches in `text`, which is valid UTF-8, and what lies between.
  absl::Status Split(std::string_view text, std::vector<std::string_view>* words) const {
    const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
        pcre2_match_data_create_from_pattern(code_, nullptr), &pcre2_match_data_free);
    for (size_t at = 0; at < text.size();) {
      const int result = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                     PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match.get(), nullptr);
      if (result == PCRE2_ERROR_NOMATCH) {
        words->push_back(text.substr(at));
        break;
      }
      if (result < 0) return absl::InternalError(absl::StrCat("pcre2_match: ", Pcre2Message(result)));
      const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match.get());
      if (range[0] > at) words->push_back(text.substr(at, range[0] - at));
      words->push_back(text.substr(range[0], range[1] - range[0]));
      at = range[1];
    }
    return absl::OkStatus();
  }

 private:
  explicit Regex(pcre2_code* code) : code_(code) {}
  pcre2_code* const code_;
};

Pretokenizer::Pretokenizer() = default;
Pretokenizer::~Pretokenizer() = default;

absl::StatusOr<std::unique_ptr<Pretokenizer>> Pretokenizer::Make(const PretokenizerFamily& family) {
  std::unique_ptr<Pretokenizer> pretokenizer(new Pretokenizer);
  for (const std::string_view pattern : family.patterns) {
    QZO_ASSIGN_OR_RETURN(std::unique_ptr<Regex> regex, Regex::Compile(pattern));
    pretokenizer->regexes_.push_back(std::move(regex));
  }
  return pretokenizer;
}

absl::StatusOr<std::vector<std::string_view>> Pretokenizer::Split(std::string_view text) const {
  std::vector<std::string_view> result;
  while (!text.empty()) {
    const size_t valid_size = std::min(base::FindInvalidUtf8(text), text.size());
    std::vector<std::string_view> words = {text.substr(0, valid_size)};
    for (const auto& regex : regexes_) {
      std::vector<std::string_view> parts;
      for (const std::string_view word : words) QZO_RETURN_IF_ERROR(regex->Split(word, &parts));
      words = std::move(parts);
    }
    result.insert(result.end(), words.begin(), words.end());
    if (valid_size < text.size()) result.push_back(text.substr(valid_size, 1));
    text.remove_prefix(std::min(valid_size + 1, text.size()));
  }
  return result;
}

}  // namespace qzo::model
