#include "kernels/cuda/host/fiber.h"

#include <cstdint>

#include "base/log.h"

#if defined(__SANITIZE_ADDRESS__)  // g++
#define QZO_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)  // clang
#define QZO_ADDRESS_SANITIZER
#endif
#endif

#if defined(QZO_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Saves the callee-saved registers and the stack pointer in *save, goes on where `load` was saved.
extern "C" void qzo_fiber_switch(void** save, void* load);
asm(R"(
.text
.globl qzo_fiber_switch
.type qzo_fiber_switch,@function
qzo_fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size qzo_fiber_switch, .-qzo_fiber_switch
)");

namespace qzo::kernels::cuda::emulator {
namespace {

constexpr size_t kStackBytes = size_t{128} << 10;
constexpr int kSavedRegisters = 6;

thread_local Fiber* running = nullptr;

}  // namespace

Fiber::Fiber() : stack_(new std::byte[kStackBytes]) {}
Fiber::~Fiber() = default;

void Fiber::Reset(void (*entry)()) {
  entry_ = entry;
#if defined(QZO_ADDRESS_SANITIZER)
  __asan_unpoison_memory_region(stack_.get(), kStackBytes);  // frames that were never left
#endif
  const uintptr_t top = reinterpret_cast<uintptr_t>(stack_.get() + kStackBytes) & ~uintptr_t{63};
  void** sp = reinterpret_cast<void**>(top);
  *--sp = nullptr;  // where Start would return to: keeps its stack aligned as after a call
  *--sp = reinterpret_cast<void*>(&Fiber::Start);
  for (int i = 0; i < kSavedRegisters; ++i) *--sp = nullptr;
  stack_pointer_ = sp;
}

void Fiber::Start() {
#if defined(QZO_ADDRESS_SANITIZER)
  __sanitizer_finish_switch_fiber(nullptr, &running->caller_bottom_, &running->caller_size_);
#endif
  running->entry_();
  QZO_CHECK(false);
}

void Fiber::Resume() {
  running = this;
#if defined(QZO_ADDRESS_SANITIZER)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, stack_.get(), kStackBytes);
#endif
  qzo_fiber_switch(&caller_stack_pointer_, stack_pointer_);
#if defined(QZO_ADDRESS_SANITIZER)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

void Fiber::Suspend([[maybe_unused]] bool for_good) {
#if defined(QZO_ADDRESS_SANITIZER)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack_, caller_bottom_, caller_size_);
#endif
  qzo_fiber_switch(&stack_pointer_, caller_stack_pointer_);
#if defined(QZO_ADDRESS_SANITIZER)
  __sanitizer_finish_switch_fiber(fake_stack_, &caller_bottom_, &caller_size_);
#endif
}

}  // namespace qzo::kernels::cuda::emulator
