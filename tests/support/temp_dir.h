// A directory that lives as long as the object, and paths of files shipped with the tests.
#ifndef QZO_TESTS_SUPPORT_TEMP_DIR_H_
#define QZO_TESTS_SUPPORT_TEMP_DIR_H_

#include <cstdlib>
#include <filesystem>
#include <string>

namespace qzo::testing {

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "qzo-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data()) == nullptr ? std::string() : pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Path of a file in tests/, wherever the test runs.
inline std::string TestFile(const std::string& name) {
  const char* root = std::getenv("QZO_SOURCE_DIR");
  return std::string(root == nullptr ? "." : root) + "/tests/" + name;
}

}  // namespace qzo::testing

#endif  // QZO_TESTS_SUPPORT_TEMP_DIR_H_
