#include "kernels/cuda/host/emulator.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "kernels/cuda/gpu.h"
#include "kernels/cuda/host/fiber.h"

namespace qzo::kernels::cuda::emulator {
namespace {

constexpr int kWarp = 32;
constexpr size_t kGuardBytes = 256;
constexpr std::byte kNaN{0xff};  // every word of it, as float, half or bfloat16
constexpr std::byte kGuard{0xa5};

enum class State : uint8_t { kReady, kAtBarrier, kAtWarpOp, kDone };

struct PendingCopy {
  void* to;
  const void* from;
  size_t bytes;
  int group;
};

struct Thread {
  Fiber fiber;
  State state = State::kReady;
  std::vector<PendingCopy> copies;
  int groups = 0;  // committed so far
};

// What the lanes brought to the warp operation at hand, and what each gets: computed by the last to arrive.
struct Warp {
  WarpOp op;
  int arrived = 0;
  uint32_t in[kWarp][10];
  uint32_t out[kWarp][4];
};

class Machine {
 public:
  absl::Status Launch(Order order, Grid grid, int threads, size_t shared_bytes, const std::function<void()>& kernel);

  Thread& current() { return *threads_[static_cast<size_t>(thread_)]; }
  void Block(State state) {
    current().state = state;
    current().fiber.Suspend(false);
  }
  void Wake(int first, int count) {
    for (int i = first; i < first + count; ++i) threads_[static_cast<size_t>(i)]->state = State::kReady;
  }
  [[noreturn]] void Fail(std::string_view what) {
    if (error_.empty()) {
      error_ = absl::StrCat("block (", block_.x, ", ", block_.y, ") thread ", thread_, ": ", std::string(what));
    }
    current().fiber.Suspend(true);
    QZO_CHECK(false);
  }

  Grid grid_, block_;
  int thread_ = 0;
  std::byte* shared_ = nullptr;
  size_t shared_bytes_ = 0;
  std::vector<Warp> warps_;
  const std::function<void()>* kernel_ = nullptr;

 private:
  static void RunThread();
  void RunBlock(int threads);
  bool RunWarp(size_t warp);  // whether any of its threads could run
  void CheckGuard();

  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<std::byte> memory_;
  std::string error_;
  Order order_ = Order::kForward;
  std::vector<size_t> warp_order_;
  std::vector<int> lane_order_;
  std::mt19937 random_;
};

thread_local Machine machine;

void Machine::RunThread() {
  Machine& m = machine;
  (*m.kernel_)();
  if (!m.current().copies.empty()) m.Fail("an asynchronous copy that nobody waited for");
  m.current().state = State::kDone;
  m.current().fiber.Suspend(true);
}

bool Machine::RunWarp(size_t warp) {
  bool ran = false;
  if (order_ == Order::kShuffled) std::shuffle(lane_order_.begin(), lane_order_.end(), random_);
  for (const int lane : lane_order_) {
    thread_ = static_cast<int>(warp) * kWarp + lane;
    if (current().state != State::kReady) continue;
    ran = true;
    current().fiber.Resume();
    if (!error_.empty()) return ran;
  }
  return ran;
}

void Machine::RunBlock(int threads) {
  std::fill(memory_.begin(), memory_.end(), kNaN);
  std::fill_n(shared_ + shared_bytes_, kGuardBytes, kGuard);
  for (int i = 0; i < threads; ++i) {
    Thread& thread = *threads_[static_cast<size_t>(i)];
    thread.state = State::kReady;
    thread.copies.clear();
    thread.groups = 0;
    thread.fiber.Reset(RunThread);
  }
  for (Warp& warp : warps_) warp.arrived = 0;
  while (error_.empty()) {
    if (order_ == Order::kShuffled) std::shuffle(warp_order_.begin(), warp_order_.end(), random_);
    // A warp runs for as long as it can, except in the shuffled order: the extremes of what a GPU may do.
    bool ran = false;
    for (const size_t warp : warp_order_) {
      while (error_.empty() && RunWarp(warp)) {
        ran = true;
        if (order_ == Order::kShuffled) break;
      }
    }
    if (ran || !error_.empty()) continue;
    const auto count = [&](State state) {
      return std::count_if(threads_.begin(), threads_.begin() + threads,
                           [state](const auto& thread) { return thread->state == state; });
    };
    if (count(State::kDone) == threads) break;
    if (count(State::kAtBarrier) != threads) {
      error_ = absl::StrCat("block (", block_.x, ", ", block_.y, "): ", count(State::kAtBarrier), " of ", threads,
                            " threads wait at a barrier, ", count(State::kAtWarpOp), " at a warp operation, and ",
                            count(State::kDone), " have left");
      break;
    }
    Wake(0, threads);
  }
  CheckGuard();
}

void Machine::CheckGuard() {
  const std::byte* guard = shared_ + shared_bytes_;
  const std::byte* found = std::find_if(guard, guard + kGuardBytes, [](std::byte b) { return b != kGuard; });
  if (found == guard + kGuardBytes || !error_.empty()) return;
  error_ = absl::StrCat("block (", block_.x, ", ", block_.y, "): a write ", found - guard,
                        " bytes past the end of shared memory");
}

absl::Status Machine::Launch(Order order, Grid grid, int threads, size_t shared_bytes,
                             const std::function<void()>& kernel) {
  if (grid.x < 1 || grid.y < 1 || grid.y > kMostGridY || threads < 1 || threads % kWarp != 0 || threads > 1024 ||
      shared_bytes > size_t{kMostShared}) {
    return absl::InternalError(absl::StrCat("no device launches a grid of ", grid.x, " by ", grid.y, " blocks of ",
                                            threads, " threads with ", shared_bytes, " bytes of shared memory"));
  }
  while (threads_.size() < static_cast<size_t>(threads)) threads_.push_back(std::make_unique<Thread>());
  warps_.resize(static_cast<size_t>(threads / kWarp));
  memory_.resize(shared_bytes + kGuardBytes + 128);
  shared_ = reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(memory_.data()) + 127) & ~uintptr_t{127});
  shared_bytes_ = shared_bytes;
  grid_ = grid;
  kernel_ = &kernel;
  order_ = order;
  error_.clear();
  random_.seed(1);
  warp_order_.resize(warps_.size());
  lane_order_.resize(kWarp);
  for (size_t i = 0; i < warp_order_.size(); ++i) warp_order_[i] = i;
  for (int i = 0; i < kWarp; ++i) lane_order_[static_cast<size_t>(i)] = i;
  if (order == Order::kReverse) {
    std::reverse(warp_order_.begin(), warp_order_.end());
    std::reverse(lane_order_.begin(), lane_order_.end());
  }
  for (int y = 0; y < grid.y && error_.empty(); ++y) {
    for (int x = 0; x < grid.x && error_.empty(); ++x) {
      block_ = {order == Order::kReverse ? grid.x - 1 - x : x, order == Order::kReverse ? grid.y - 1 - y : y};
      RunBlock(threads);
    }
  }
  return error_.empty() ? absl::OkStatus() : absl::InternalError(error_);
}

float BfToFloat(uint32_t bits) { return std::bit_cast<float>(bits << 16); }

// Fragment layout: device.h. The products are exact in double; their sum is rounded once.
void MultiplyFragments(Warp& warp) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < kWarp; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int half = 0; half < 2; ++half) {
      const auto value = [&](int word) { return BfToFloat(warp.in[lane][word] >> 16 * half & 0xffff); };
      for (int i = 0; i < 4; ++i) a[g + 8 * (i % 2)][2 * t + half + 8 * (i / 2)] = value(i);
      for (int i = 0; i < 2; ++i) b[2 * t + half + 8 * i][g] = value(4 + i);
    }
  }
  for (int row = 0; row < 16; ++row) {
    double sums[8];
    for (int column = 0; column < 8; ++column) {
      const int lane = row % 8 * 4 + column / 2;
      sums[column] = double{std::bit_cast<float>(warp.in[lane][6 + row / 8 * 2 + column % 2])};
    }
    for (int k = 0; k < 16; ++k) {
      for (int column = 0; column < 8; ++column) sums[column] += double{a[row][k]} * double{b[k][column]};
    }
    for (int column = 0; column < 8; ++column) {
      const int lane = row % 8 * 4 + column / 2;
      warp.out[lane][row / 8 * 2 + column % 2] = std::bit_cast<uint32_t>(static_cast<float>(sums[column]));
    }
  }
}

void LoadFragments(Warp& warp, bool transposed) {
  for (int lane = 0; lane < kWarp; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int matrix = 0; matrix < 4; ++matrix) {
      uint16_t pair[2];
      for (int i = 0; i < 2; ++i) {
        const int row = transposed ? 2 * t + i : g, column = transposed ? g : 2 * t + i;
        const uint32_t* words = warp.in[8 * matrix + row];
        const uint64_t address = words[0] | uint64_t{words[1]} << 32;
        std::memcpy(&pair[i], reinterpret_cast<const std::byte*>(address) + 2 * column, sizeof(uint16_t));
      }
      warp.out[lane][matrix] = pair[0] | uint32_t{pair[1]} << 16;
    }
  }
}

void Perform(Warp& warp) {
  switch (warp.op) {
    case WarpOp::kShuffleXor:
      for (uint32_t lane = 0; lane < kWarp; ++lane) warp.out[lane][0] = warp.in[lane ^ warp.in[lane][1]][0];
      return;
    case WarpOp::kMma:
      MultiplyFragments(warp);
      return;
    default:
      LoadFragments(warp, warp.op == WarpOp::kLoadMatricesTransposed);
  }
}

bool InShared(const void* p, size_t bytes) {
  const std::byte* at = static_cast<const std::byte*>(p);
  return at >= machine.shared_ && at + bytes <= machine.shared_ + machine.shared_bytes_;
}

}  // namespace

absl::Status Launch(Order order, Grid grid, int threads, size_t shared_bytes, const std::function<void()>& kernel) {
  return machine.Launch(order, grid, threads, shared_bytes, kernel);
}

int CurrentThread() { return machine.thread_; }
Grid CurrentBlock() { return machine.block_; }
Grid CurrentGrid() { return machine.grid_; }
std::byte* Shared() { return machine.shared_; }
void Barrier() { machine.Block(State::kAtBarrier); }

const uint32_t* Exchange(WarpOp op, const uint32_t* words, int count) {
  const int lane = machine.thread_ % kWarp, first = machine.thread_ - lane;
  Warp& warp = machine.warps_[static_cast<size_t>(first / kWarp)];
  if (warp.arrived > 0 && warp.op != op) machine.Fail("lanes of a warp are at different operations");
  warp.op = op;
  std::copy_n(words, count, warp.in[lane]);
  if (++warp.arrived < kWarp) {
    machine.Block(State::kAtWarpOp);
  } else {
    warp.arrived = 0;
    Perform(warp);
    machine.Wake(first, kWarp);
  }
  return warp.out[lane];
}

void LoadMatrices(uint32_t (&r)[4], const void* row, bool transposed) {
  if (!InShared(row, 16) || reinterpret_cast<uintptr_t>(row) % 16 != 0) {
    machine.Fail("a matrix row that is not 16 aligned bytes of shared memory");
  }
  const uint64_t address = reinterpret_cast<uint64_t>(row);
  const uint32_t words[2] = {static_cast<uint32_t>(address), static_cast<uint32_t>(address >> 32)};
  std::copy_n(Exchange(transposed ? WarpOp::kLoadMatricesTransposed : WarpOp::kLoadMatrices, words, 2), 4, r);
}

void CopyAsync(void* shared, const void* global, size_t bytes) {
  if (!InShared(shared, bytes)) machine.Fail("an asynchronous copy to outside of shared memory");
  if ((reinterpret_cast<uintptr_t>(shared) | reinterpret_cast<uintptr_t>(global)) % bytes != 0) {
    machine.Fail("a misaligned asynchronous copy");
  }
  std::memset(shared, static_cast<int>(kNaN), bytes);
  Thread& thread = machine.current();
  thread.copies.push_back({shared, global, bytes, thread.groups});
}

void CopyCommit() { ++machine.current().groups; }

void CopyWait(int pending) {
  Thread& thread = machine.current();
  size_t arrived = 0;
  for (; arrived < thread.copies.size() && thread.copies[arrived].group < thread.groups - pending; ++arrived) {
    const PendingCopy& copy = thread.copies[arrived];
    std::memcpy(copy.to, copy.from, copy.bytes);
  }
  thread.copies.erase(thread.copies.begin(), thread.copies.begin() + static_cast<std::ptrdiff_t>(arrived));
}

}  // namespace qzo::kernels::cuda::emulator
