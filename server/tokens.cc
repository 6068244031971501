#include "server/tokens.h"

#include <openssl/rand.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/private_file.h"
#include "base/status_macros.h"
#include "base/text.h"
#include "qzo/v1/stored.pb.h"
#include "server/resource_names.h"
#include "server/resources.h"

namespace qzo::server {
namespace {

constexpr char kPrefix[] = "qzo_";
constexpr size_t kSecretBytes = 32;
constexpr int kPageSize = 1000;

bool IsSecret(std::string_view text) { return text.starts_with(kPrefix) && base::IsSha256Hex(text.substr(4)); }

}  // namespace

Identity IdentityOf(const v1::Token& token, std::string_view project) {
  Identity identity{token.name(), token.role(), std::string(project)};
  if (token.has_expire_time()) identity.expires = absl::FromUnixSeconds(token.expire_time().seconds());
  return identity;
}

std::string NewSecret() {
  std::array<unsigned char, kSecretBytes> bytes{};
  QZO_CHECK(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1);
  return absl::StrCat(kPrefix, absl::BytesToHexString({reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
}

absl::StatusOr<std::string> ReadOrMakeSecret(const std::string& path) {
  const absl::StatusOr<std::string> text = base::RealFileSystem()->Read(path);
  if (absl::IsNotFound(text.status())) {
    std::string secret = NewSecret();
    QZO_RETURN_IF_ERROR(base::WritePrivately(path, secret + "\n"));
    spdlog::info("{}: made, with the secret of a new administrator's token", path);
    return secret;
  }
  QZO_RETURN_IF_ERROR(text.status());
  std::string secret(absl::StripAsciiWhitespace(*text));
  if (!IsSecret(secret)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected ", kPrefix, " and 64 hexadecimal digits"));
  }
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && (info.st_mode & S_IROTH) != 0) {
    spdlog::warn("{}: everyone on this machine can read the administrator's token; chmod 600 it", path);
  }
  return secret;
}

absl::StatusOr<std::unique_ptr<Tokens>> Tokens::Load(Store* store) {
  std::unique_ptr<Tokens> tokens(new Tokens());
  ListQuery query;
  query.kind = kTokenKind;
  query.limit = kPageSize;
  for (;;) {
    QZO_ASSIGN_OR_RETURN(const std::vector<StoredResource> page, store->List(query));
    for (const StoredResource& resource : page) {
      QZO_ASSIGN_OR_RETURN(const auto stored, ParseBody<v1::StoredToken>(resource));
      tokens->Add(stored.sha256(), IdentityOf(stored.token(), resource.key.project));
    }
    if (page.size() < kPageSize) return tokens;
    query.before_time = page.back().create_time;
    query.before_uid = page.back().uid;
  }
}

std::optional<Identity> Tokens::Find(std::string_view secret) const { return FindByHash(base::Sha256Hex(secret)); }

std::optional<Identity> Tokens::FindByHash(std::string_view secret_sha256) const {
  base::MutexLock lock(&mu_);
  const auto found = by_hash_.find(base::ToAbsl(secret_sha256));
  return found == by_hash_.end() ? std::nullopt : std::optional(found->second);
}

void Tokens::Add(std::string_view secret_sha256, Identity identity) {
  identity.secret_sha256 = secret_sha256;
  base::MutexLock lock(&mu_);
  by_hash_[std::string(secret_sha256)] = std::move(identity);
}

void Tokens::Remove(std::string_view name) {
  base::MutexLock lock(&mu_);
  absl::erase_if(by_hash_, [name](const auto& entry) { return entry.second.name == name; });
}

}  // namespace qzo::server
