#include "kernels/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "kernels/scratch.h"

namespace qzo::kernels {
namespace {

// Pieces per thread: a thread that another program holds up leaves the rest of its share to the others.
constexpr int64_t kPieces = 4;

// A forward pass makes hundreds of short calls, so a thread looks for the next one a while (about 20 µs) before it
// sleeps.
constexpr int kSpins = 4000;

template <typename T>
void WaitWhileEqual(const std::atomic<T>& value, T old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb");  // `yield` does nothing where a core has one thread
#endif
  }
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

struct ThreadPool::State {
  // Written by the caller before it raises `generation`, read by the threads after they see that.
  int64_t n = 0;
  int64_t grain = 1;
  Thunk thunk = nullptr;
  void* context = nullptr;
  bool stop = false;

  alignas(64) std::atomic<int64_t> next{0};  // piece
  alignas(64) std::atomic<uint32_t> generation{0};
  alignas(64) std::atomic<int> pending{0};
  std::vector<std::thread> threads;

  // Takes pieces, whole grains and as even as possible, until none is left.
  void RunPieces() {
    GrowThreadScratch();
    const int64_t grains = (n + grain - 1) / grain;
    const int64_t pieces = std::min(grains, kPieces * (static_cast<int64_t>(threads.size()) + 1));
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < pieces;) {
      thunk(context, grains * i / pieces * grain, std::min(n, grains * (i + 1) / pieces * grain));
    }
  }

  void Work() {
    for (uint32_t seen = 0;;) {
      WaitWhileEqual(generation, seen);
      ++seen;  // never more than one ahead: the caller waits for all before it raises it again
      if (stop) return;
      RunPieces();
      if (pending.fetch_sub(1, std::memory_order_acq_rel) == 1) pending.notify_one();
    }
  }

  void Start() {
    generation.fetch_add(1, std::memory_order_release);
    generation.notify_all();
  }
};

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  const int count = threads > 0 ? threads : AvailableProcessors();
  // All start only after the vector has its final size, which they read: the first generation comes later.
  for (int i = 1; i < count; ++i) state_->threads.emplace_back([state = state_.get()] { state->Work(); });
}

ThreadPool::~ThreadPool() {
  state_->stop = true;
  state_->Start();
  for (std::thread& thread : state_->threads) thread.join();
}

int ThreadPool::threads() const { return static_cast<int>(state_->threads.size()) + 1; }

void ThreadPool::Run(int64_t n, int64_t grain, Thunk thunk, void* context) {
  if (n <= 0) return;
  State& state = *state_;
  if (state.threads.empty() || n <= grain) return thunk(context, 0, n);
  state.n = n;
  state.grain = grain;
  state.thunk = thunk;
  state.context = context;
  state.next.store(0, std::memory_order_relaxed);
  state.pending.store(static_cast<int>(state.threads.size()), std::memory_order_relaxed);
  state.Start();
  state.RunPieces();
  for (int left; (left = state.pending.load(std::memory_order_acquire)) != 0;) WaitWhileEqual(state.pending, left);
}

}  // namespace qzo::kernels
