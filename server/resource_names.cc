#include "server/resource_names.h"

#include <algorithm>
#include <random>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "server/errors.h"

namespace qzo::server {
namespace {

using ::qzo::base::ToAbsl;
using ::qzo::base::ToStd;

constexpr size_t kMaxIdBytes = 63;
constexpr char kIdRule[] =
    "lower-case letters, digits and '-', beginning with a letter, ending with a letter or digit, at most 63";

bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool IsId(std::string_view id) {
  return !id.empty() && id.size() <= kMaxIdBytes && IsLower(id.front()) && id.back() != '-' &&
         std::all_of(id.begin(), id.end(), [](char c) { return IsLower(c) || IsDigit(c) || c == '-'; });
}

// What a user sent, fit to be shown: short, and without control characters.
std::string Quoted(std::string_view text) {
  std::string shown(text.substr(0, 80));
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); }, '?');
  return absl::StrCat("'", shown, text.size() > 80 ? "…'" : "'");
}

}  // namespace

absl::Status CheckId(std::string_view field, std::string_view id) {
  if (IsId(id)) return absl::OkStatus();
  return InvalidField(field, absl::StrCat(Quoted(id), ", expected ", kIdRule));
}

absl::StatusOr<ResourceKey> ParseName(std::string_view kind, std::string_view field, std::string_view name) {
  const std::vector<absl::string_view> parts = absl::StrSplit(ToAbsl(name), '/');
  if (parts.size() != 4 || parts[0] != "projects" || parts[2] != absl::StrCat(ToAbsl(kind), "s") ||
      !(IsId(ToStd(parts[1])) || (kind == kTokenKind && parts[1] == "-")) || !IsId(ToStd(parts[3]))) {
    return InvalidField(field, absl::StrCat(Quoted(name), ", expected projects/{project}/", ToAbsl(kind), "s/{",
                                            ToAbsl(kind), "} with ids of ", kIdRule));
  }
  return ResourceKey{std::string(kind), std::string(parts[1]), std::string(parts[3])};
}

std::string NameOf(const ResourceKey& key) {
  return absl::StrCat("projects/", key.project, "/", key.kind, "s/", key.id);
}

absl::StatusOr<std::string> ParseParent(std::string_view parent) {
  constexpr std::string_view kPrefix = "projects/";
  if (parent.starts_with(kPrefix) && IsId(parent.substr(kPrefix.size())))
    return std::string(parent.substr(kPrefix.size()));
  return InvalidField("parent", absl::StrCat(Quoted(parent), ", expected projects/{project} with an id of ", kIdRule));
}

absl::StatusOr<std::string> ParseListParent(std::string_view parent) {
  if (parent == "projects/-") return std::string();
  return ParseParent(parent);
}

absl::StatusOr<std::string> ParseWorker(std::string_view name) {
  constexpr std::string_view kPrefix = "workers/";
  if (name.starts_with(kPrefix) && name.size() > kPrefix.size()) return std::string(name.substr(kPrefix.size()));
  return InvalidField("name", absl::StrCat(Quoted(name), ", expected workers/{worker}"));
}

std::string RandomId(std::string_view prefix) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::random_device device;
  std::uniform_int_distribution<size_t> pick(0, kLetters.size() - 1);
  std::string id(prefix);
  for (int i = 0; i < 10; ++i) id += kLetters[pick(device)];
  return id;
}

std::string IdFrom(std::string_view text, std::string_view prefix) {
  std::string id;
  for (const char c : absl::AsciiStrToLower(ToAbsl(text))) {
    const bool fits = IsLower(c) || IsDigit(c);
    if (fits) id += c;
    if (!fits && !id.empty() && id.back() != '-') id += '-';
  }
  if (id.empty() || !IsLower(id.front())) id = absl::StrCat(ToAbsl(prefix), id);
  id = id.substr(0, kMaxIdBytes);
  while (id.back() == '-') id.pop_back();
  return id;
}

}  // namespace qzo::server
