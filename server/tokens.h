// The tokens that open this server, by the SHA-256 of their secrets: in memory, so that no call waits for the store.
// Thread-safe.
#ifndef QZO_SERVER_TOKENS_H_
#define QZO_SERVER_TOKENS_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "qzo/v1/token.pb.h"
#include "server/store.h"

namespace qzo::server {

inline constexpr char kEveryProject[] = "-";

// Who calls.
struct Identity {
  std::string name;  // "projects/p/tokens/ci", "spiffe://…", "anonymous"
  v1::Token::Role role = v1::Token::ROLE_UNSPECIFIED;
  std::string project;  // or kEveryProject
  absl::Time expires = absl::InfiniteFuture();
  std::string secret_sha256 = {};  // of the token that it came with; "" = none did
};

Identity IdentityOf(const v1::Token& token, std::string_view project);

// 256 random bits as text: "qzo_" and 64 hexadecimal digits, so that scanners know one that leaked.
std::string NewSecret();

// The secret in a file, for the one who runs the server; made (mode 0600) when there is none. INVALID_ARGUMENT for a
// file that holds no secret; those of the file system.
absl::StatusOr<std::string> ReadOrMakeSecret(const std::string& path);

class Tokens {
 public:
  // Those of `store`.
  static absl::StatusOr<std::unique_ptr<Tokens>> Load(Store* store);

  // nullopt for an unknown one. An expired one is found: whoever asks looks at Identity::expires. Equal hashes are
  // found by a hash table, so that the time that takes tells nothing about a secret.
  std::optional<Identity> Find(std::string_view secret) const;
  std::optional<Identity> FindByHash(std::string_view secret_sha256) const;

  void Add(std::string_view secret_sha256, Identity identity);
  void Remove(std::string_view name);

 private:
  Tokens() = default;

  mutable base::Mutex mu_;
  absl::flat_hash_map<std::string, Identity> by_hash_ ABSL_GUARDED_BY(mu_);
};

}  // namespace qzo::server

#endif  // QZO_SERVER_TOKENS_H_
