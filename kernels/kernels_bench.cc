// Speed of every supported variant on one thread: matrix products of SmolLM2-135M's shapes (2·M·N·K operations each,
// in fp32 and in integers), rounding (values), noise and update (multipliers), attention (key·head pairs).
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/philox.h"
#include "kernels/kernels.h"

namespace qzo::kernels {
namespace {

std::vector<float> RandomFloats(size_t count, uint64_t seed) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    values[i] =
        static_cast<float>(base::Philox4x32(seed, {{static_cast<uint32_t>(i), 0, 0, 0}}).w[0]) * 0x1p-32f - 0.5f;
  }
  return values;
}

// Random quants under scales of 1/64.
std::vector<std::byte> RandomWeights(WeightType type, int64_t rows, int64_t cols) {
  const int64_t block = BlockBytes(type);
  std::vector<std::byte> bytes(static_cast<size_t>(rows * cols / BlockValues(type) * block));
  const uint16_t scale = 0x2400;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 2654435761u >> 13);
  for (size_t i = 0; i + 2 <= bytes.size() && BlockValues(type) > 1; i += static_cast<size_t>(block)) {
    std::memcpy(&bytes[i], &scale, 2);
    if (type == WeightType::kQ4_1) std::memcpy(&bytes[i + 2], &scale, 2);
  }
  if (BlockValues(type) == 1) std::fill(bytes.begin(), bytes.end(), std::byte{0x3c});
  return bytes;
}

// The two lanes of one probe.
std::vector<LaneRows> TwoLanes(int64_t m, const std::vector<float>& multipliers) {
  return {{0, m / 2, multipliers.data()}, {m / 2, m, multipliers.data()}};
}

void CountOperations(benchmark::State& state, int64_t m, int64_t n, int64_t k, size_t weight_bytes) {
  const double runs = static_cast<double>(state.iterations());
  state.counters["flop/s"] = benchmark::Counter(static_cast<double>(2 * m * n * k) * runs, benchmark::Counter::kIsRate);
  state.counters["weights B/s"] =
      benchmark::Counter(static_cast<double>(weight_bytes) * runs, benchmark::Counter::kIsRate);
}

void BenchMatMul(benchmark::State& state, const Kernels& kernels, WeightType type, Granularity granularity) {
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  const std::vector<float> x = RandomFloats(static_cast<size_t>(m * k), 1);
  const std::vector<std::byte> w = RandomWeights(type, n, k);
  const std::vector<float> multipliers(static_cast<size_t>(n * k / BlockValues(type)), 1.0f);
  std::vector<float> y(static_cast<size_t>(m * n));
  const std::vector<LaneRows> lanes = TwoLanes(m, multipliers);
  const MatMulArgs args{.x = x.data(),
                        .ldx = k,
                        .w = {type, w.data(), n, k},
                        .granularity = granularity,
                        .lanes = lanes,
                        .y = y.data(),
                        .ldy = n};
  for (auto _ : state) {
    kernels.matmul(args, 0, n);
    benchmark::ClobberMemory();
  }
  CountOperations(state, m, n, k, w.size());
}

void BenchMatMulRounded(benchmark::State& state, const Kernels& kernels, Arithmetic arithmetic, WeightType type,
                        Granularity granularity) {
  const int64_t m = state.range(0), n = state.range(1), k = state.range(2);
  const std::vector<float> x = RandomFloats(static_cast<size_t>(m * k), 1);
  std::vector<std::byte> storage(static_cast<size_t>(RoundedBytes(arithmetic, m, k)));
  RoundedRows rounded = MakeRoundedRows(arithmetic, storage.data(), m, k);
  kernels.round_rows(x.data(), k, 0, m, &rounded);
  const std::vector<std::byte> w = RandomWeights(type, n, k);
  const std::vector<float> multipliers(static_cast<size_t>(n * k / BlockValues(type)), 1.0f);
  const std::vector<LaneRows> lanes = TwoLanes(m, multipliers);
  std::vector<float> y(static_cast<size_t>(m * n));
  const RoundedMatMulArgs args{
      .x = rounded, .w = {type, w.data(), n, k}, .granularity = granularity, .lanes = lanes, .y = y.data(), .ldy = n};
  for (auto _ : state) {
    kernels.matmul_rounded(args, 0, n);
    benchmark::ClobberMemory();
  }
  CountOperations(state, m, n, k, w.size());
}

void BenchRoundRows(benchmark::State& state, const Kernels& kernels, Arithmetic arithmetic) {
  const int64_t m = 256, k = 576;
  const std::vector<float> x = RandomFloats(static_cast<size_t>(m * k), 1);
  std::vector<std::byte> storage(static_cast<size_t>(RoundedBytes(arithmetic, m, k)));
  RoundedRows rounded = MakeRoundedRows(arithmetic, storage.data(), m, k);
  for (auto _ : state) {
    kernels.round_rows(x.data(), k, 0, m, &rounded);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * m * k);
}

void BenchNoise(benchmark::State& state, const Kernels& kernels, NoiseKind kind) {
  std::vector<float> z(1 << 16);
  for (auto _ : state) {
    kernels.noise({.kind = kind, .seed = 1}, 0, static_cast<int64_t>(z.size()), z.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(z.size()));
}

void BenchUpdate(benchmark::State& state, const Kernels& kernels, NoiseKind kind) {
  std::vector<float> k(1 << 16, 1.0f);
  std::vector<NoiseKey> keys(8);
  for (uint32_t probe = 0; probe < 8; ++probe) keys[probe] = {.kind = kind, .seed = 1, .probe = probe};
  const std::vector<float> coefficients(8, 1e-4f);
  for (auto _ : state) {
    kernels.update(keys, coefficients, 0, static_cast<int64_t>(k.size()), nullptr, k.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(k.size() * keys.size()));
}

void BenchAttention(benchmark::State& state, const Kernels& kernels) {
  const int64_t rows = state.range(0);
  constexpr int kHeads = 9, kKvHeads = 3, kDim = 64;
  const std::vector<float> q = RandomFloats(static_cast<size_t>(rows * kHeads * kDim), 1);
  const std::vector<float> kv = RandomFloats(static_cast<size_t>(rows * kKvHeads * kDim), 2);
  std::vector<float> out(q.size());
  std::vector<KeySpan> spans;
  for (int32_t row = 0; row < rows; ++row) spans.push_back({.own_begin = 0, .own_end = row + 1});
  const AttentionArgs args{.q = q.data(),
                           .ldq = kHeads * kDim,
                           .k = kv.data(),
                           .v = kv.data(),
                           .ldkv = kKvHeads * kDim,
                           .spans = spans,
                           .heads = kHeads,
                           .kv_heads = kKvHeads,
                           .head_dim = kDim,
                           .scale = 0.125f,
                           .out = out.data(),
                           .ldo = kHeads * kDim};
  for (auto _ : state) {
    kernels.attention(args, 0, rows);
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * rows * (rows + 1) / 2 * kHeads);
}

void BenchSiluGate(benchmark::State& state, const Kernels& kernels) {
  const std::vector<float> gate = RandomFloats(1 << 14, 1);
  std::vector<float> out(gate.size());
  for (auto _ : state) {
    kernels.silu_gate(gate.data(), gate.data(), static_cast<int64_t>(gate.size()), out.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(gate.size()));
}

void BenchGeluGate(benchmark::State& state, const Kernels& kernels) {
  const std::vector<float> gate = RandomFloats(1 << 14, 1);
  std::vector<float> out(gate.size());
  for (auto _ : state) {
    kernels.gelu_gate(gate.data(), gate.data(), static_cast<int64_t>(gate.size()), out.data());
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(gate.size()));
}

void Register(const Kernels& kernels) {
  const auto name = [&](std::string_view op) { return std::string(kernels.name) + "/" + std::string(op); };
  const auto add_shapes = [](benchmark::internal::Benchmark* matmul) {
    matmul->ArgNames({"M", "N", "K"})->Unit(benchmark::kMicrosecond);
    for (const int64_t m : {1, 4, 64, 1024}) {
      matmul->Args({m, 576, 576})->Args({m, 1536, 576})->Args({m, 576, 1536});
    }
    matmul->Args({1, 49152, 576})->Args({16, 49152, 576});
  };
  for (const WeightType type : {WeightType::kQ4_0, WeightType::kQ4_1, WeightType::kQ8_0, WeightType::kF16}) {
    for (const Granularity granularity : {Granularity::kChannel, Granularity::kGroup}) {
      if (granularity == Granularity::kGroup && BlockValues(type) == 1) continue;
      const std::string op = "matmul/" + std::string(WeightTypeName(type)) +
                             (granularity == Granularity::kChannel ? "/channel" : "/group");
      add_shapes(benchmark::RegisterBenchmark(
          name(op + "/fp32").c_str(),
          [&kernels, type, granularity](benchmark::State& state) { BenchMatMul(state, kernels, type, granularity); }));
      for (const Arithmetic arithmetic : {Arithmetic::kInt16, Arithmetic::kInt8}) {
        if (BlockValues(type) == 1) continue;
        add_shapes(benchmark::RegisterBenchmark(name(op + "/" + std::string(ArithmeticName(arithmetic))).c_str(),
                                                [&kernels, arithmetic, type, granularity](benchmark::State& state) {
                                                  BenchMatMulRounded(state, kernels, arithmetic, type, granularity);
                                                }));
      }
    }
  }
  for (const WeightType type : {WeightType::kQ4_1, WeightType::kQ4_K, WeightType::kQ6_K, WeightType::kQ5_0,
                                WeightType::kIQ4_XS, WeightType::kU4x128, WeightType::kU3x128}) {
    for (const Arithmetic arithmetic : {Arithmetic::kInt16, Arithmetic::kInt8}) {
      const std::string op =
          "decoded_matmul/" + std::string(WeightTypeName(type)) + "/" + std::string(ArithmeticName(arithmetic));
      benchmark::RegisterBenchmark(name(op).c_str(),
                                   [&kernels, arithmetic, type](benchmark::State& state) {
                                     BenchMatMulRounded(state, kernels, arithmetic, type, Granularity::kChannel);
                                   })
          ->ArgNames({"M", "N", "K"})
          ->Args({1, 4096, 4096})
          ->Args({512, 4096, 4096})
          ->Unit(benchmark::kMicrosecond);
    }
  }
  for (const Arithmetic arithmetic : {Arithmetic::kInt16, Arithmetic::kInt8}) {
    benchmark::RegisterBenchmark(
        name("round_rows/" + std::string(ArithmeticName(arithmetic))).c_str(),
        [&kernels, arithmetic](benchmark::State& state) { BenchRoundRows(state, kernels, arithmetic); });
  }
  for (const NoiseKind kind : {NoiseKind::kRademacher, NoiseKind::kGaussian}) {
    const std::string suffix = kind == NoiseKind::kRademacher ? "/rademacher" : "/gaussian";
    benchmark::RegisterBenchmark(name("noise" + suffix).c_str(),
                                 [&kernels, kind](benchmark::State& state) { BenchNoise(state, kernels, kind); });
    benchmark::RegisterBenchmark(name("update" + suffix).c_str(),
                                 [&kernels, kind](benchmark::State& state) { BenchUpdate(state, kernels, kind); });
  }
  benchmark::RegisterBenchmark(name("attention").c_str(),
                               [&kernels](benchmark::State& state) { BenchAttention(state, kernels); })
      ->Arg(32)
      ->Arg(256);
  benchmark::RegisterBenchmark(name("silu_gate").c_str(),
                               [&kernels](benchmark::State& state) { BenchSiluGate(state, kernels); });
  benchmark::RegisterBenchmark(name("gelu_gate").c_str(),
                               [&kernels](benchmark::State& state) { BenchGeluGate(state, kernels); });
}

// Registered before main, which the library brings.
const bool kRegistered = [] {
  for (const Kernels* kernels : AllKernels()) {
    if (kernels->supported()) Register(*kernels);
  }
  return true;
}();

}  // namespace
}  // namespace qzo::kernels
