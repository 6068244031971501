#include "model/tasks/template.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace qzo::model {
namespace {

// Appends `text`, with every "<|name|>" in it as a piece of its own. A name is printable ASCII without blanks.
void AppendText(std::string_view text, std::vector<Template::Piece>* pieces) {
  using Kind = Template::Piece::Kind;
  const auto is_name = [](char c) { return c > ' ' && c < 0x7F && c != '<' && c != '>' && c != '|'; };
  size_t begin = 0;
  for (size_t open = text.find("<|"); open != std::string_view::npos; open = text.find("<|", open + 1)) {
    size_t end = open + 2;
    while (end < text.size() && is_name(text[end])) ++end;
    if (end == open + 2 || text.substr(end, 2) != "|>") continue;
    if (open > begin) pieces->push_back({Kind::kText, std::string(text.substr(begin, open - begin))});
    begin = end + 2;
    pieces->push_back({Kind::kMark, std::string(text.substr(open, begin - open))});
  }
  if (begin < text.size()) pieces->push_back({Kind::kText, std::string(text.substr(begin))});
}

absl::Status ErrorAt(size_t offset, std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("byte ", offset + 1, ": ", absl::string_view(what.data(), what.size())));
}

}  // namespace

absl::StatusOr<Template> Template::Parse(std::string_view text) {
  Template result;
  std::string literal;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c != '{' && c != '}') {
      literal += c;
      continue;
    }
    if (text.substr(i + 1, 1) == text.substr(i, 1)) {
      literal += c;
      ++i;
      continue;
    }
    if (c == '}') return ErrorAt(i, "'}' closes nothing; write '}}' for a brace");
    const size_t end = text.find_first_of("{}\n", i + 1);
    if (end == std::string_view::npos || text[end] != '}') {
      return ErrorAt(i, "'{' is not closed by '}' on its line; write '{{' for a brace");
    }
    if (end == i + 1) return ErrorAt(i, "'{}' names no field; write '{{}}' for braces");
    AppendText(literal, &result.pieces_);
    literal.clear();
    Piece field{Piece::Kind::kField, ""};
    for (size_t begin = i + 1; begin <= end;) {
      const size_t stop = std::min(text.find('|', begin), end);
      const std::string_view part = text.substr(begin, stop - begin);
      if (begin == i + 1) {
        if (part.empty()) return ErrorAt(i, "'{' names no field before its filters");
        field.text = std::string(part);
      } else {
        absl::StatusOr<Filter> filter = Filter::Parse(part);
        if (!filter.ok()) return ErrorAt(begin, std::string(filter.status().message()));
        field.filters.push_back(*std::move(filter));
      }
      begin = stop + 1;
    }
    result.pieces_.push_back(std::move(field));
    i = end;
  }
  AppendText(literal, &result.pieces_);
  return result;
}

bool Template::HasField() const {
  return std::any_of(pieces_.begin(), pieces_.end(), [](const Piece& p) { return p.kind == Piece::Kind::kField; });
}

bool Template::HasField(std::string_view name) const {
  return std::any_of(pieces_.begin(), pieces_.end(),
                     [&](const Piece& p) { return p.kind == Piece::Kind::kField && p.text == name; });
}

}  // namespace qzo::model
