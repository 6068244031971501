// tokenize FILE.gguf|DIRECTORY: encodes lines of standard input, each a text in base64, with special tokens recognized.
// Prints a line of ids for each, a tab, and what they decode to, in base64. For tests/tokenizers/compare.py.
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "model/formats/gguf.h"
#include "model/tokenizer/tokenizer.h"

namespace {

using qzo::model::Tokenizer;

absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& path) {
  if (std::filesystem::is_directory(path)) return qzo::model::MakeTokenizerFromDirectory(path);
  QZO_ASSIGN_OR_RETURN(const auto file, qzo::model::GgufFile::Open(path));
  return qzo::model::MakeTokenizer(*file);
}

absl::Status Run(const std::string& path) {
  QZO_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Open(path));
  for (std::string line; std::getline(std::cin, line);) {
    std::string text;
    if (!absl::Base64Unescape(line, &text)) return absl::InvalidArgumentError("a line that is not base64");
    QZO_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, tokenizer->Encode(text, /*parse_special=*/true));
    QZO_ASSIGN_OR_RETURN(const std::string decoded, tokenizer->Decode(ids, /*show_special=*/true));
    std::cout << absl::StrJoin(ids, " ") << '\t' << absl::Base64Escape(decoded) << '\n';
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: tokenize FILE.gguf|DIRECTORY\n";
    return 2;
  }
  const absl::Status status = Run(argv[1]);
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
