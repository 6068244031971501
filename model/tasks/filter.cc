#include "model/tasks/filter.h"

#include <algorithm>
#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/text.h"
#include "model/tasks/row.h"

namespace qzo::model {
namespace {

constexpr const char* kNames[] = {"strip", "lower", "capital", "uncapital", "cut", "end", "map"};

}  // namespace

absl::StatusOr<Filter> Filter::Parse(std::string_view text) {
  const size_t blank = text.find(' ');
  const std::string name(text.substr(0, blank));
  const std::string_view argument = blank == std::string_view::npos ? "" : text.substr(blank + 1);
  const auto known = std::find(std::begin(kNames), std::end(kNames), name);
  if (known == std::end(kNames)) {
    return absl::InvalidArgumentError(absl::StrCat("filter '", Excerpt(name, 60), "' is unknown, expected one of ",
                                                   absl::StrJoin(kNames, ", "),
                                                   base::DidYouMean(name, {std::begin(kNames), std::end(kNames)})));
  }
  Filter filter;
  filter.kind_ = static_cast<Kind>(known - std::begin(kNames));
  filter.argument_ = std::string(argument);
  if (argument.empty() != (filter.kind_ < Kind::kCut)) {
    return absl::InvalidArgumentError(
        absl::StrCat("filter '", name, "' takes ", argument.empty() ? "" : "no ", "text after its name"));
  }
  if (filter.kind_ != Kind::kMap) return filter;
  const std::vector<std::string> pairs = absl::StrSplit(filter.argument_, ' ', absl::SkipEmpty());
  for (const std::string& pair : pairs) {
    const size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("filter 'map': found '", Excerpt(pair, 60), "', expected text=text"));
    }
    filter.map_.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
  }
  return filter;
}

absl::StatusOr<std::string> Filter::Apply(std::string text) const {
  switch (kind_) {
    case Kind::kStrip:
      absl::StripAsciiWhitespace(&text);
      return text;
    case Kind::kLower:
      absl::AsciiStrToLower(&text);
      return text;
    case Kind::kCapital:
      if (!text.empty()) text[0] = absl::ascii_toupper(static_cast<unsigned char>(text[0]));
      return text;
    case Kind::kUncapital: {
      const size_t end = std::min(text.find(' '), text.size());
      if (text.substr(0, end) == "I") return text;
      return absl::StrCat(absl::AsciiStrToLower(text.substr(0, end)), text.substr(end));
    }
    case Kind::kCut:
      absl::StripTrailingAsciiWhitespace(&text);
      if (absl::EndsWith(text, argument_)) text.resize(text.size() - argument_.size());
      return text;
    case Kind::kEnd:
      return absl::EndsWith(text, argument_) ? text : absl::StrCat(text, argument_);
    case Kind::kMap:
      break;
  }
  const auto found = std::find_if(map_.begin(), map_.end(), [&](const auto& pair) { return pair.first == text; });
  if (found != map_.end()) return found->second;
  const auto name = [](std::string* out, const auto& pair) { out->append(pair.first); };
  return absl::InvalidArgumentError(
      absl::StrCat("found '", Excerpt(text, 60), "', expected ", absl::StrJoin(map_, " or ", name)));
}

}  // namespace qzo::model
