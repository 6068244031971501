// Bytes of text per second of one core, on a text and on endless words, with the tokenizer of the
// GGUF file or directory that QZO_BENCH_TOKENIZER names. The text is the file that QZO_BENCH_TEXT names.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "base/fs.h"
#include "model/tokenizer/tokenizer.h"

namespace qzo::model {
namespace {

absl::StatusOr<std::unique_ptr<Tokenizer>> Open(const std::string& path) {
  if (std::filesystem::is_directory(path)) return MakeTokenizerFromDirectory(path);
  const auto file = GgufFile::Open(path);
  if (!file.ok()) return file.status();
  return MakeTokenizer(**file);
}

int Main(int argc, char** argv) {
  const char* tokenizer_path = std::getenv("QZO_BENCH_TOKENIZER");
  const char* text_path = std::getenv("QZO_BENCH_TEXT");
  if (tokenizer_path == nullptr || text_path == nullptr) {
    std::fprintf(stderr, "QZO_BENCH_TOKENIZER and QZO_BENCH_TEXT must name a tokenizer and a text\n");
    return 2;
  }
  const auto tokenizer = Open(tokenizer_path);
  const auto prose = base::RealFileSystem()->Read(text_path);
  if (!tokenizer.ok() || !prose.ok()) {
    std::fprintf(stderr, "%s %s\n", tokenizer.status().ToString().c_str(), prose.status().ToString().c_str());
    return 1;
  }
  const auto add = [&tokenizer](const char* name, const std::string& text) {
    benchmark::RegisterBenchmark(name, [&tokenizer, text](benchmark::State& state) {
      for (auto _ : state) benchmark::DoNotOptimize((*tokenizer)->Encode(text, /*parse_special=*/false));
      state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
    });
  };
  add("prose", *prose);
  add("one_letter", std::string(1 << 20, 'a'));
  add("blanks", std::string(1 << 20, ' '));
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace qzo::model

int main(int argc, char** argv) { return qzo::model::Main(argc, argv); }
