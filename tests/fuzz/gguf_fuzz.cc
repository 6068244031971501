// Any bytes as a model file: the reader refuses them or gives tensors inside them, every getter answers for every key,
// and the tokenizer tables that come with them make a tokenizer or an error.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "model/formats/gguf.h"
#include "model/tokenizer/tokenizer.h"

namespace qzo::model {
namespace {

void ReadEverything(const GgufFile& file) {
  for (const std::string& key : file.Keys()) {
    const int readable = file.GetUint(key).ok() + file.GetFloat(key).ok() + file.GetBool(key).ok() +
                         file.GetString(key).ok() + file.GetStrings(key).ok() + file.GetFloats(key).ok() +
                         file.GetInts(key).ok();
    QZO_CHECK(file.HasKey(key) && readable <= 1);
    file.Describe(key);
  }
  for (const GgufTensor& tensor : file.tensors()) {
    QZO_CHECK(file.FindTensor(tensor.name) == &tensor);
    QZO_CHECK(tensor.file_offset <= file.bytes().size() &&
              tensor.bytes.size() <= file.bytes().size() - tensor.file_offset);
    QZO_CHECK(tensor.bytes == file.bytes().substr(tensor.file_offset, tensor.bytes.size()));
  }
}

void UseTokenizer(const Tokenizer& tokenizer) {
  for (const bool parse_special : {false, true}) {
    const auto ids = tokenizer.Encode("I've 12  words <s>\n\xff \xE2\x96\x81", parse_special);
    QZO_CHECK(ids.ok() && tokenizer.Decode(*ids, true).ok());
  }
  std::vector<int32_t> all;
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) all.push_back(id);
  QZO_CHECK(tokenizer.Decode(all, false).ok());
}

}  // namespace
}  // namespace qzo::model

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = qzo::model::GgufFile::ParseBytes({reinterpret_cast<const char*>(data), size}, "fuzz.gguf");
  if (!file.ok()) return 0;
  qzo::model::ReadEverything(**file);
  const auto tokenizer = qzo::model::MakeTokenizer(**file);
  if (tokenizer.ok()) qzo::model::UseTokenizer(**tokenizer);
  return 0;
}
