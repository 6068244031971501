#include "kernels/parallel.h"

#include <sched.h>

#include <atomic>
#include <set>
#include <thread>

#include "kernels/processors.h"
#include "kernels/test_data.h"

namespace qzo::kernels {
namespace {

TEST(ThreadPool, CoversTheRangeOnceInWholeGrains) {
  for (int threads = 1; threads <= 5; ++threads) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const int64_t n : {0, 1, 7, 32, 100, 1000}) {
      for (const int64_t grain : {1, 8, 33, 5000}) {
        std::vector<std::atomic<int>> visits(static_cast<size_t>(n));
        std::atomic<int> calls = 0;
        pool.ParallelFor(n, grain, [&](int64_t begin, int64_t end) {
          ++calls;
          EXPECT_LT(begin, end);
          EXPECT_EQ(begin % grain, 0);
          EXPECT_TRUE(end == n || end % grain == 0);
          for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
        });
        for (const std::atomic<int>& count : visits) ASSERT_EQ(count, 1);
        EXPECT_LE(calls, threads == 1 ? 1 : 4 * threads);
      }
    }
  }
}

TEST(ThreadPool, UsesAllItsThreads) {
  ThreadPool pool(4);
  std::atomic<int> inside = 0;
  // Each part waits for the three others: this ends only if all four run at once.
  pool.ParallelFor(4, 1, [&](int64_t, int64_t) {
    ++inside;
    while (inside < 4) std::this_thread::yield();
  });
  EXPECT_EQ(inside, 4);
}

TEST(ThreadPool, WorksAfterItsThreadsFellAsleep) {
  ThreadPool pool(3);
  std::atomic<int64_t> sum = 0;
  for (int call = 0; call < 2000; ++call) {
    pool.ParallelFor(3, 1, [&](int64_t begin, int64_t end) { sum += end - begin; });
    if (call % 100 == 0) std::this_thread::yield();
  }
  EXPECT_EQ(sum, 6000);
}

TEST(ThreadPool, TakesAsManyThreadsAsTheProcessMayUse) {
  EXPECT_GE(AvailableProcessors(), 1);
  EXPECT_EQ(ThreadPool().threads(), AvailableProcessors());
}

TEST(Processors, FollowTheCpuQuota) {
  EXPECT_EQ(WholeProcessors(8, std::nullopt), 8);
  EXPECT_EQ(WholeProcessors(8, 2.0), 2);
  EXPECT_EQ(WholeProcessors(8, 3.5), 3);
  EXPECT_EQ(WholeProcessors(8, 0.5), 1);
  EXPECT_EQ(WholeProcessors(8, 99.0), 8);
  EXPECT_EQ(WholeProcessors(8, 1e300), 8);
}

TEST(Processors, FollowTheAffinityMask) {
  int processors = 0;
  // A thread's mask is its own.
  std::thread([&processors] {
    cpu_set_t all, one;
    ASSERT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
    int first = 0;
    while (!CPU_ISSET(first, &all)) ++first;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    processors = AvailableProcessors();
  }).join();
  EXPECT_EQ(processors, 1);
}

// Results may not depend on the number of threads; shapes are chosen so that there is enough work to be split.
class ParallelTest : public EveryVariant {
 protected:
  // What `run` wrote with one thread, after checking that two and three threads and a whole call to the kernel write
  // the same.
  template <typename Run>
  void ExpectSameOnAnyThreads(const std::vector<float>& expected, Run&& run) {
    for (int threads = 1; threads <= 3; ++threads) {
      ThreadPool pool(threads);
      EXPECT_EQ(FirstDifference(run(pool), expected), -1) << threads << " threads";
    }
  }
};

TEST_P(ParallelTest, MatMulBySplittingColumnsOrRows) {
  const struct { int64_t m, n; } shapes[] = {{2, 1000}, {40, 200}, {300, 40}, {300, 32}, {1, 1}};
  for (const auto& shape : shapes) {
    for (const Granularity granularity : {Granularity::kChannel, Granularity::kGroup}) {
      std::vector<int64_t> ends = {shape.m};
      if (shape.m > 2) ends = {shape.m / 3, shape.m / 2, shape.m};
      const MatMulCase problem(random_, WeightType::kQ4_1, shape.m, shape.n, 160, granularity, ends, true, true);
      ExpectSameOnAnyThreads(problem.Run(kernels()), [&](ThreadPool& pool) {
        std::vector<float> y = problem.y;
        MatMulArgs args = problem.args;
        args.y = y.data();
        MatMul(kernels(), pool, args);
        return y;
      });
    }
  }
}

TEST_P(ParallelTest, AllOtherOps) {
  const int64_t rows = 70, dim = 640;
  const std::vector<float> x = RandomFloats(random_, static_cast<size_t>(rows * dim));
  const std::vector<float> weight = RandomFloats(random_, static_cast<size_t>(dim));
  std::vector<float> expected(x.size());

  kernels().rms_norm(x.data(), dim, weight.data(), 1e-5f, rows, dim, expected.data(), dim);
  ExpectSameOnAnyThreads(expected, [&](ThreadPool& pool) {
    std::vector<float> y(x.size());
    Norm(kernels(), pool, x.data(), dim, weight.data(), nullptr, 1e-5f, rows, dim, y.data(), dim);
    return y;
  });
  kernels().layer_norm(x.data(), dim, weight.data(), x.data(), 1e-5f, rows, dim, expected.data(), dim);
  ExpectSameOnAnyThreads(expected, [&](ThreadPool& pool) {
    std::vector<float> y(x.size());
    Norm(kernels(), pool, x.data(), dim, weight.data(), x.data(), 1e-5f, rows, dim, y.data(), dim);
    return y;
  });

  const std::vector<float> angles = RandomFloats(random_, static_cast<size_t>(rows * 32));
  std::vector<int32_t> positions;
  std::vector<KeySpan> spans;
  for (int32_t row = 0; row < rows; ++row) {
    positions.push_back(row);
    spans.push_back({0, row / 2, row / 2, row + 1});
  }
  const auto rope_args = [&](std::vector<float>& y) {
    return RopeArgs{.x = y.data(),
                    .ldx = dim,
                    .positions = positions,
                    .heads = 10,
                    .head_dim = 64,
                    .rotary_dim = 64,
                    .layout = RopeLayout::kHalves,
                    .cos = angles.data(),
                    .sin = angles.data()};
  };
  expected = x;
  kernels().rope(rope_args(expected), 0, rows);
  ExpectSameOnAnyThreads(expected, [&](ThreadPool& pool) {
    std::vector<float> y = x;
    Rope(kernels(), pool, rope_args(y));
    return y;
  });

  const auto attention_args = [&](std::vector<float>& y) {
    return AttentionArgs{.q = x.data(),
                         .ldq = dim,
                         .k = x.data(),
                         .v = x.data(),
                         .ldkv = dim,
                         .spans = spans,
                         .heads = 10,
                         .kv_heads = 5,
                         .head_dim = 64,
                         .scale = 0.125f,
                         .out = y.data(),
                         .ldo = dim};
  };
  kernels().attention(attention_args(expected), 0, rows);
  ExpectSameOnAnyThreads(expected, [&](ThreadPool& pool) {
    std::vector<float> y(x.size());
    Attention(kernels(), pool, attention_args(y));
    return y;
  });

  std::vector<float> alone(dim);  // a row with many keys: its heads are divided
  const auto alone_args = [&](std::vector<float>& y) {
    AttentionArgs args = attention_args(y);
    args.spans = args.spans.last(1);
    return args;
  };
  kernels().attention(alone_args(alone), 0, 1);
  ExpectSameOnAnyThreads(alone, [&](ThreadPool& pool) {
    std::vector<float> y(dim);
    Attention(kernels(), pool, alone_args(y));
    return y;
  });

  kernels().silu_gate(x.data(), x.data(), rows * dim, expected.data());
  ExpectSameOnAnyThreads(expected, [&](ThreadPool& pool) {
    std::vector<float> y = x;
    Activate(kernels(), pool, Activation::kSilu, y.data(), x.data(), rows, dim);
    return y;
  });
  for (const float* up : {x.data(), static_cast<const float*>(nullptr)}) {
    kernels().gelu_gate(x.data(), up, rows * dim, expected.data());
    ExpectSameOnAnyThreads(expected, [&](ThreadPool& pool) {
      std::vector<float> y = x;
      Activate(kernels(), pool, Activation::kGeluTanh, y.data(), up, rows, dim);
      return y;
    });
  }
  expected = x;
  kernels().relu(expected.data(), rows * dim);
  kernels().softcap(expected.data(), rows * dim, 0.5f);
  for (int64_t row = 0; row < rows; ++row) kernels().add(weight.data(), dim, expected.data() + row * dim);
  kernels().add(x.data(), rows * dim, expected.data());
  ExpectSameOnAnyThreads(expected, [&](ThreadPool& pool) {
    std::vector<float> y = x;
    Activate(kernels(), pool, Activation::kRelu, y.data(), nullptr, rows, dim);
    SoftCap(kernels(), pool, 0.5f, rows, dim, y.data());
    AddRow(kernels(), pool, weight.data(), rows, dim, y.data());
    Add(kernels(), pool, x.data(), rows, dim, y.data());
    return y;
  });

  for (int threads = 1; threads <= 3; ++threads) {
    ThreadPool pool(threads);
    std::vector<double> sums(static_cast<size_t>(rows));
    LogSumExp(kernels(), pool, x.data(), dim, rows, dim, sums.data());
    for (int64_t row = 0; row < rows; ++row) {
      EXPECT_EQ(sums[static_cast<size_t>(row)], kernels().log_sum_exp(x.data() + row * dim, dim));
    }
  }
}

TEST_P(ParallelTest, NoiseAndUpdate) {
  const int64_t begin = 256, count = 70'001;
  const std::vector<float> k = RandomFloats(random_, static_cast<size_t>(count));
  const std::vector<float> unit = RandomFloats(random_, static_cast<size_t>(count));
  for (const NoiseKind kind : {NoiseKind::kRademacher, NoiseKind::kGaussian}) {
    const std::vector<NoiseKey> keys = {{.kind = kind, .seed = 1, .step = 2, .probe = 0, .tensor = 4},
                                        {.kind = kind, .seed = 1, .step = 2, .probe = 1, .tensor = 4}};
    const std::vector<float> coefficients = {1e-3f, -2e-3f};
    std::vector<float> expected(k.size());
    kernels().noise(keys[0], begin, count, expected.data());
    ExpectSameOnAnyThreads(expected, [&](ThreadPool& pool) {
      std::vector<float> z(k.size());
      Noise(kernels(), pool, keys[0], begin, count, z.data());
      return z;
    });
    for (const float* maybe_unit : {unit.data(), static_cast<const float*>(nullptr)}) {
      expected = k;
      kernels().update(keys, coefficients, begin, count, maybe_unit, expected.data());
      ExpectSameOnAnyThreads(expected, [&](ThreadPool& pool) {
        std::vector<float> updated = k;
        Update(kernels(), pool, keys, coefficients, begin, count, maybe_unit, updated.data());
        return updated;
      });
    }
  }
}

QZO_INSTANTIATE_EVERY_VARIANT(ParallelTest);

}  // namespace
}  // namespace qzo::kernels
