// A small fixed pool : the caller is one of the threads, nothing is allocated per call.
#ifndef QZO_KERNELS_THREAD_POOL_H_
#define QZO_KERNELS_THREAD_POOL_H_

#include <cstdint>
#include <memory>
#include <type_traits>

namespace qzo::kernels {

// Thread-compatible: one ParallelFor at a time.
class ThreadPool {
 public:
  // `threads` in all, the caller included; 0 = as many as this process may use (affinity and cgroup quota).
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  // Calls body(begin, end) on disjoint ranges that together are [0, n), each a multiple of `grain` long but the last,
  // and returns when all have ended. Results must not depend on the partition.
  template <typename Body>
  void ParallelFor(int64_t n, int64_t grain, Body&& body) {
    Run(
        n, grain,
        [](void* context, int64_t begin, int64_t end) {
          (*static_cast<std::remove_reference_t<Body>*>(context))(begin, end);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  using Thunk = void (*)(void* context, int64_t begin, int64_t end);
  void Run(int64_t n, int64_t grain, Thunk thunk, void* context);
  struct State;
  const std::unique_ptr<State> state_;
};

// Processors this process may use: affinity mask and cgroup CPU quota, at least 1.
int AvailableProcessors();

}  // namespace qzo::kernels

#endif  // QZO_KERNELS_THREAD_POOL_H_
