// Any bytes as a dataset: an accepted one keeps Example's promises, a refused one says why in valid UTF-8.
// The first byte picks the task, the second the sequence length.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/log.h"
#include "base/text.h"
#include "model/tasks/task.h"
#include "tests/support/byte_tokenizer.h"

namespace {

using ::qzo::model::ChatFormat;
using ::qzo::model::DatasetReport;
using ::qzo::model::Example;
using ::qzo::model::TaskDataset;
using ::qzo::model::TaskKind;
using ::qzo::model::TaskSpec;

TaskSpec SpecOf(uint8_t choice, uint8_t length) {
  TaskSpec spec;
  spec.sequence_len = 8 + length;
  switch (choice % 4) {
    case 0:
      spec.prompt = "<|im_start|>{text|strip|cut .}<|im_end|>";
      spec.options = {" no", length % 2 == 0 ? " yes" : " {text|uncapital}"};
      spec.label_names = {"no", "yes"};
      break;
    case 1:
      spec.kind = TaskKind::kCompletion;
      spec.prompt = "{text}";
      spec.answer = "{label}";
      break;
    default:
      spec.kind = TaskKind::kChat;
      spec.chat_format = choice % 4 == 2 ? ChatFormat::kChatMl : ChatFormat::kPlain;
  }
  return spec;
}

void CheckExample(const TaskSpec& spec, const Example& example) {
  QZO_CHECK(example.prompt.size() >= 2);  // BOS and one more
  QZO_CHECK(!example.branches.empty());
  for (const auto& branch : example.branches) {
    QZO_CHECK(!branch.empty());
    QZO_CHECK(example.prompt.size() + branch.size() <= static_cast<size_t>(spec.sequence_len));
  }
  const bool classification = spec.kind == TaskKind::kClassification;
  QZO_CHECK(example.branches.size() == (classification ? spec.options.size() : 1));
  QZO_CHECK(classification ? example.label == 0 || example.label == 1 : example.label == -1);
  if (spec.kind != TaskKind::kChat) {
    QZO_CHECK(example.scored.empty());
    return;
  }
  QZO_CHECK(example.scored.size() == example.branches[0].size());
  QZO_CHECK(example.scored.back() == 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const TaskSpec spec = SpecOf(data[0], data[1]);
  const std::string_view jsonl(reinterpret_cast<const char*>(data) + 2, size - 2);
  DatasetReport report;
  const qzo::testing::ByteTokenizer tokenizer({.add_bos = true});
  const auto dataset = TaskDataset::Load(spec, tokenizer, jsonl, "fuzz", &report);
  if (dataset.ok()) {
    QZO_CHECK(dataset->size() == report.rows && report.errors_total == 0);
    for (int64_t row = 0; row < dataset->size(); ++row) CheckExample(spec, dataset->example(row));
    return 0;
  }
  QZO_CHECK(report.errors_total > 0 || report.rows == 0);
  QZO_CHECK(static_cast<int64_t>(report.errors.size()) == std::min<int64_t>(20, report.errors_total));
  for (const auto& error : report.errors) {
    QZO_CHECK(error.line >= 1 && error.line <= report.rows + 1);  // a table's names stand above its rows
    QZO_CHECK(error.column >= 0 && error.column <= static_cast<int64_t>(jsonl.size()) + 1);
    QZO_CHECK(!error.reason.empty() && error.reason.size() < 1000);
    QZO_CHECK(qzo::base::FindInvalidUtf8(error.reason) == std::string_view::npos);
  }
  return 0;
}
