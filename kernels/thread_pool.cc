#include "kernels/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace qzo::kernels {
namespace {

// A forward pass makes hundreds of short calls, so a thread looks for the next one a while (about 20 µs) before it
// sleeps.
constexpr int kSpins = 400;

template <typename T>
void WaitWhileEqual(const std::atomic<T>& value, T old) {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
#if defined(__x86_64__)
    __builtin_ia32_pause();
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

  alignas(64) std::atomic<uint32_t> generation{0};
  alignas(64) std::atomic<int> pending{0};
  std::vector<std::thread> threads;

  // Part `index` of threads + 1: whole grains, as even as possible.
  void RunPart(int64_t index) const {
    const int64_t parts = static_cast<int64_t>(threads.size()) + 1;
    const int64_t grains = (n + grain - 1) / grain;
    const int64_t begin = grains * index / parts * grain;
    const int64_t end = std::min(n, grains * (index + 1) / parts * grain);
    if (begin < end) thunk(context, begin, end);
  }

  void Work(int64_t index) {
    for (uint32_t seen = 0;;) {
      WaitWhileEqual(generation, seen);
      ++seen;  // never more than one ahead: the caller waits for all before it raises it again
      if (stop) return;
      RunPart(index);
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
  for (int i = 1; i < count; ++i) state_->threads.emplace_back([state = state_.get(), i] { state->Work(i); });
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
  state.pending.store(static_cast<int>(state.threads.size()), std::memory_order_relaxed);
  state.Start();
  state.RunPart(0);
  for (int left; (left = state.pending.load(std::memory_order_acquire)) != 0;) WaitWhileEqual(state.pending, left);
}

}  // namespace qzo::kernels
