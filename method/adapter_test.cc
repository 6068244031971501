#include "method/adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/support/status_matchers.h"

namespace qzo::method {
namespace {

using Json = ::nlohmann::json;
using ::qzo::testing::StatusIs;
using ::testing::HasSubstr;

Adapter JournalAdapter() {
  Adapter adapter;
  adapter.base_model_digest = std::string(64, 'a');
  adapter.spec.seed = 0xFFFFFFFFFFFFFFFF;
  adapter.spec.steps = 10;
  adapter.spec.probes = 2;
  adapter.spec.sampling = Sampling::kBalanced;
  adapter.spec.learning_rate = 1.0 / 3;
  adapter.spec.epsilon = 0.1f;
  adapter.tensors = {{"blk.0.attn_q.weight", 4, 64, 32}, {"blk.0.ffn_up.weight", 2, 96, 32}};
  adapter.step = 2;
  adapter.replica_digest = 0x8000000000000001;
  adapter.job = "projects/p/jobs/j";
  adapter.task_json = R"({"kind":"CLASSIFICATION"})";
  adapter.journal = {{0, {1, 2}, {0.5f, 0.25f}}, {1, {3, 4}, {-0.5f, -0.25f}}};
  adapter.state_after.mean_square = 2.5;
  return adapter;
}

Adapter MultiplierAdapter() {
  Adapter adapter = JournalAdapter();
  adapter.journal.clear();
  adapter.state_after = {};
  adapter.spec.granularity = Granularity::kGroup;
  for (int i = 0; i < 14; ++i) adapter.multipliers.push_back(1.0f + 0.125f * static_cast<float>(i));
  return adapter;
}

struct File {
  Json header;
  std::string data;
};

File Split(const std::string& bytes) {
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  return {Json::parse(bytes.substr(8, length)), bytes.substr(8 + length)};
}

std::string Join(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + header + data;
}
std::string Join(const File& file) { return Join(file.header.dump(), file.data); }

// Decodes `adapter` after `change` was made to its file.
absl::Status DecodeChanged(const Adapter& adapter, const std::function<void(File&)>& change) {
  File file = Split(EncodeAdapter(adapter));
  change(file);
  return DecodeAdapter(Join(file)).status();
}
absl::Status DecodeWithMetadata(const char* name, const Json& value) {
  return DecodeChanged(JournalAdapter(), [&](File& file) { file.header["__metadata__"][name] = value; });
}
// Decodes after a change to a metadata value that is itself JSON.
absl::Status DecodeWithNested(const char* name, const std::function<void(Json&)>& change) {
  return DecodeChanged(JournalAdapter(), [&](File& file) {
    Json nested = Json::parse(file.header["__metadata__"][name].get<std::string>());
    change(nested);
    file.header["__metadata__"][name] = nested.dump();
  });
}

void ExpectSameDescription(const Adapter& a, const Adapter& b) {
  EXPECT_EQ(a.base_model_digest, b.base_model_digest);
  EXPECT_EQ(a.tensors, b.tensors);
  EXPECT_EQ(a.step, b.step);
  EXPECT_EQ(a.replica_digest, b.replica_digest);
  EXPECT_EQ(a.job, b.job);
  EXPECT_EQ(a.task_json, b.task_json);
  EXPECT_EQ(a.spec.seed, b.spec.seed);
  EXPECT_EQ(a.spec.steps, b.spec.steps);
  EXPECT_EQ(a.spec.epsilon, b.spec.epsilon);
  EXPECT_EQ(a.spec.learning_rate, b.spec.learning_rate);
  EXPECT_EQ(a.spec.granularity, b.spec.granularity);
  EXPECT_EQ(a.spec.sampling, b.spec.sampling);
}

TEST(Adapter, JournalFormSurvivesTheRoundTrip) {
  const Adapter adapter = JournalAdapter();
  ASSERT_OK_AND_ASSIGN(const Adapter back, DecodeAdapter(EncodeAdapter(adapter)));
  ExpectSameDescription(adapter, back);
  EXPECT_FALSE(back.has_multipliers());
  ASSERT_EQ(back.journal.size(), 2u);
  EXPECT_EQ(back.journal[1].coefficients, adapter.journal[1].coefficients);
  EXPECT_EQ(back.state_after, adapter.state_after);
  EXPECT_EQ(EncodeAdapter(back), EncodeAdapter(adapter));
}

TEST(Adapter, MultiplierFormSurvivesTheRoundTrip) {
  const Adapter adapter = MultiplierAdapter();
  ASSERT_OK_AND_ASSIGN(const Adapter back, DecodeAdapter(EncodeAdapter(adapter)));
  ExpectSameDescription(adapter, back);
  EXPECT_EQ(back.multipliers, adapter.multipliers);
}

TEST(Adapter, AJobThatHasNotSteppedHasAnAdapterToo) {
  Adapter adapter = JournalAdapter();
  adapter.journal.clear();
  adapter.step = 0;
  ASSERT_OK_AND_ASSIGN(const Adapter back, DecodeAdapter(EncodeAdapter(adapter)));
  EXPECT_TRUE(back.journal.empty());
}

TEST(Adapter, IsAWellFormedSafetensorsFile) {
  for (const Adapter& adapter : {JournalAdapter(), MultiplierAdapter()}) {
    const std::string bytes = EncodeAdapter(adapter);
    uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    EXPECT_EQ((8 + length) % 8, 0u) << "the data is aligned";
    EXPECT_EQ(bytes[8], '{');
    const File file = Split(bytes);
    for (const auto& [name, value] : file.header["__metadata__"].items()) EXPECT_TRUE(value.is_string()) << name;
    EXPECT_EQ(file.header["__metadata__"]["replica_digest"], "9223372036854775809");
  }
  const File file = Split(EncodeAdapter(MultiplierAdapter()));
  const Json expected = {{"dtype", "F32"}, {"shape", {2, 3}}, {"data_offsets", {32, 56}}};
  EXPECT_EQ(file.header["blk.0.ffn_up.weight"], expected);
}

TEST(Adapter, UnknownKeysAreTolerated) {
  EXPECT_OK(DecodeChanged(JournalAdapter(), [](File& file) {
    file.header["__metadata__"]["note"] = "hello";
    file.header["qzo.journal"]["comment"] = 1;
    const size_t end = file.data.size();
    file.header["extra"] = {{"dtype", "F16"}, {"shape", {2}}, {"data_offsets", {end, end + 4}}};
    file.data += "1234";
  }));
}

Adapter DeltaAdapter(Adapter adapter) {
  adapter.spec.train_unquantized = true;
  adapter.spec.delta_unit = 0.1f;
  adapter.tensors.insert(adapter.tensors.begin() + 1, {"blk.0.attn_norm.weight", 1, 3, 3, true});
  if (adapter.has_multipliers()) adapter.multipliers.insert(adapter.multipliers.begin() + 8, {-0.5f, 0, 0.25f});
  return adapter;
}

TEST(Adapter, DeltasSurviveTheRoundTripInBothFormsUnderAVersionOfTheirOwn) {
  for (const Adapter& adapter : {DeltaAdapter(JournalAdapter()), DeltaAdapter(MultiplierAdapter())}) {
    const std::string bytes = EncodeAdapter(adapter);
    ASSERT_OK_AND_ASSIGN(const Adapter back, DecodeAdapter(bytes));
    ExpectSameDescription(adapter, back);
    EXPECT_TRUE(back.spec.train_unquantized);
    EXPECT_EQ(back.spec.delta_unit, 0.1f);
    EXPECT_EQ(back.multipliers, adapter.multipliers);
    EXPECT_EQ(EncodeAdapter(back), bytes);
    EXPECT_EQ(Split(bytes).header["__metadata__"]["qzo_adapter"], "2");
  }
  EXPECT_EQ(Split(EncodeAdapter(DeltaAdapter(MultiplierAdapter()))).header["blk.0.attn_norm.weight"]["shape"],
            (Json{1, 3}));
  EXPECT_EQ(Split(EncodeAdapter(JournalAdapter())).header["__metadata__"]["qzo_adapter"], "1");

  EXPECT_THAT(DecodeChanged(DeltaAdapter(JournalAdapter()),
                            [](File& file) { file.header["__metadata__"]["qzo_adapter"] = "1"; }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("partition[1]: deltas in version 1")));
  const auto tensor = [](const char* name, const Json& value) {
    return DecodeChanged(DeltaAdapter(JournalAdapter()), [&](File& file) {
      Json partition = Json::parse(file.header["__metadata__"]["partition"].get<std::string>());
      partition[1][name] = value;
      file.header["__metadata__"]["partition"] = partition.dump();
    });
  };
  EXPECT_THAT(tensor("group", 1), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("group 1 of deltas")));
  EXPECT_THAT(tensor("deltas", 1), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not true or false")));
  EXPECT_THAT(DecodeChanged(DeltaAdapter(JournalAdapter()),
                            [](File& file) {
                              Json method = Json::parse(file.header["__metadata__"]["method"].get<std::string>());
                              method["delta_unit"] = -1;
                              file.header["__metadata__"]["method"] = method.dump();
                            }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("method.delta_unit: -1")));
}

TEST(Adapter, AFileThatIsSomethingElseIsRefused) {
  EXPECT_THAT(DecodeAdapter(""), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0 bytes")));
  EXPECT_THAT(DecodeAdapter(std::string_view("GGUF\3\0\0\0 and so on", 18)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("header of")));
  EXPECT_THAT(DecodeAdapter(Join("not json", "")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("JSON object")));
  EXPECT_THAT(DecodeAdapter(Join("[]", "")), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("JSON object")));
  EXPECT_THAT(DecodeAdapter(Join(R"({"__metadata__":{"format":"pt"}})", "")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("qzo_adapter")));
  EXPECT_THAT(DecodeWithMetadata("qzo_adapter", "3"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("version 3, expected 1 or 2")));
}

TEST(Adapter, HeaderLengthBeyondTheFileIsRefused) {
  std::string bytes = EncodeAdapter(JournalAdapter());
  for (const uint64_t length : {uint64_t{bytes.size()} - 7, uint64_t{1} << 63, ~uint64_t{0}}) {
    std::memcpy(bytes.data(), &length, sizeof length);
    EXPECT_THAT(DecodeAdapter(bytes), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("header of")));
  }
}

TEST(Adapter, EveryTruncationIsRefused) {
  for (const Adapter& adapter : {JournalAdapter(), MultiplierAdapter()}) {
    const std::string bytes = EncodeAdapter(adapter);
    for (size_t size = 0; size < bytes.size(); ++size) {
      ASSERT_FALSE(DecodeAdapter(std::string_view(bytes).substr(0, size)).ok()) << size;
    }
  }
}

TEST(Adapter, OffsetsMustTileTheData) {
  const auto with_offsets = [](const Json& offsets) {
    return DecodeChanged(MultiplierAdapter(),
                         [&](File& file) { file.header["blk.0.ffn_up.weight"]["data_offsets"] = offsets; });
  };
  EXPECT_THAT(with_offsets({28, 52}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no overlap, no gap")));
  EXPECT_THAT(with_offsets({36, 56}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no overlap, no gap")));
  EXPECT_THAT(with_offsets({32, 60}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("outside the 56 bytes")));
  EXPECT_THAT(with_offsets({56, 32}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("outside")));
  EXPECT_THAT(with_offsets({32, 52}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4 bytes after the last")));
  EXPECT_THAT(with_offsets({32}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("data_offsets missing")));
  EXPECT_THAT(with_offsets({-1, 56}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("data_offsets missing")));
  EXPECT_THAT(with_offsets({32, 18446744073709551615u}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("outside")));
}

TEST(Adapter, TensorsMustBeThoseOfThePartition) {
  const auto changed = [](const char* key, const Json& value) {
    return DecodeChanged(MultiplierAdapter(), [&](File& file) { file.header["blk.0.attn_q.weight"][key] = value; });
  };
  EXPECT_THAT(changed("dtype", "F16"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected F32")));
  EXPECT_THAT(changed("shape", {2, 4}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the partition's shape")));
  EXPECT_THAT(DecodeChanged(MultiplierAdapter(),
                            [](File& file) {
                              file.header["other"] = file.header["blk.0.attn_q.weight"];
                              file.header.erase("blk.0.attn_q.weight");
                            }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no tensor 'blk.0.attn_q.weight'")));
  Adapter infinite = MultiplierAdapter();
  infinite.multipliers[3] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(DecodeAdapter(EncodeAdapter(infinite)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not finite")));
}

TEST(Adapter, EveryMetadataValueIsChecked) {
  for (const char* name : {"qzo_adapter", "content", "base_model_digest", "method", "partition", "step",
                           "replica_digest", "job", "task"}) {
    EXPECT_THAT(DecodeWithMetadata(name, 7), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(name)));
  }
  EXPECT_THAT(DecodeWithMetadata("step", "11"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("step 11 of a run of 10")));
  EXPECT_THAT(DecodeWithMetadata("step", "-1"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("step")));
  EXPECT_THAT(DecodeWithMetadata("step", "1"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 steps, expected 1")));
  EXPECT_THAT(DecodeWithMetadata("content", "both"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("content: 'both'")));
  EXPECT_THAT(DecodeWithMetadata("base_model_digest", "abc"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("SHA-256")));
  EXPECT_THAT(DecodeWithMetadata("method", "{"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("method: not JSON")));
  EXPECT_THAT(DecodeWithMetadata("method", "[]"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("method")));
  EXPECT_THAT(DecodeWithMetadata("partition", "{}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("partition")));
}

TEST(Adapter, MethodAndPartitionAreChecked) {
  const auto method = [](const char* name, const Json& value) {
    return DecodeWithNested("method", [&](Json& json) { json[name] = value; });
  };
  EXPECT_THAT(method("seed", 7), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("seed")));
  EXPECT_THAT(method("probes", 3), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 probes, expected 3")));
  EXPECT_THAT(method("probes", 65), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("method.probes: 65")));
  EXPECT_THAT(method("noise", 3), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("method.noise")));
  EXPECT_THAT(method("rule", 0), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("method.rule")));
  EXPECT_THAT(method("epsilon", "1"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("method.epsilon")));
  EXPECT_THAT(method("steps", 4294967296), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("method.steps")));

  const auto tensor = [](const char* name, const Json& value) {
    return DecodeWithNested("partition", [&](Json& json) { json[1][name] = value; });
  };
  EXPECT_THAT(tensor("rows", 0), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("partition[1].rows")));
  EXPECT_THAT(tensor("cols", -32), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("partition[1].cols")));
  EXPECT_THAT(tensor("cols", 1.5), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("partition[1].cols")));
  EXPECT_THAT(tensor("group", uint64_t{1} << 40),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("partition[1].group")));
  EXPECT_THAT(tensor("group", 36), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("does not divide")));
  EXPECT_THAT(tensor("name", "blk.0.attn_q.weight"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("used twice")));
  EXPECT_THAT(tensor("name", "__metadata__"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("reserved")));
  EXPECT_THAT(DecodeWithNested(
                  "partition",
                  [](Json& json) {
                    for (int i = 0; i < 600; ++i) {
                      json.push_back({{"name", std::to_string(i)}, {"rows", 2147483647}, {"cols", 1}, {"group", 1}});
                    }
                  }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("multipliers and deltas so far")));
}

TEST(Adapter, ADamagedJournalIsDataLoss) {
  EXPECT_THAT(DecodeChanged(JournalAdapter(), [](File& file) { file.data[40] = static_cast<char>(file.data[40] ^ 1); }),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("checksum")));
}

}  // namespace
}  // namespace qzo::method
