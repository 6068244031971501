// Content digests. Pure and thread-safe except Sha256Stream, which is thread-compatible.
#ifndef QZO_BASE_DIGEST_H_
#define QZO_BASE_DIGEST_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace qzo::base {

// SHA-256 as 64 lower-case hexadecimal digits: how models, datasets and snapshots are known.
std::string Sha256Hex(std::string_view bytes);
bool IsSha256Hex(std::string_view text);

class Sha256Stream {
 public:
  Sha256Stream();
  ~Sha256Stream();
  void Update(std::string_view bytes);
  // The digest of everything so far; call once.
  std::string FinishHex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// XXH3 64 bit of `id` (little-endian, 4 bytes) followed by `bytes`: one tensor's share of a replica digest.
uint64_t Xxh3WithId(uint32_t id, std::string_view bytes);
uint64_t Xxh3(std::string_view bytes);

}  // namespace qzo::base

#endif  // QZO_BASE_DIGEST_H_
