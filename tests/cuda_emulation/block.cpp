// One block of threads at a time: a fiber a thread. A fiber runs until it reaches a barrier or a warp
// operation; which of those that can go on runs next is drawn at random. Where code relies on an order that
// it did not ask for with a barrier, one of the draws shows it.
#include <boost/context/fiber.hpp>
#include <boost/context/preallocated.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#include "emulator.h"

thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_emulation {
namespace {

namespace context = boost::context;
#ifdef __SANITIZE_ADDRESS__
constexpr size_t kStackBytes = 512 << 10;  // its frames are larger
#else
constexpr size_t kStackBytes = 64 << 10;
#endif

enum class State { kReady, kAtBarrier, kInWarp, kDone };

/// One operation at a time is under way for a set of lanes. The last lane to come settles it for all.
struct Warp {
  struct Lane {
    uint64_t value = 0, result = 0;
    int from = 0;  // whose value it wants; kVotes: everybody's
  } lanes[32];
  unsigned came = 0;
};
constexpr int kVotes = -1;

/// A stack that code leaves and comes back to; AddressSanitizer has to be told on which one it is.
class Stack {
 public:
  void is(const context::stack_context& memory) {
    size_ = memory.size;
    bottom_ = static_cast<const char*>(memory.sp) - size_;
  }
  /// Right before code goes from here to `other`, and when it is back.
  void leave_for([[maybe_unused]] const Stack& other) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&frames_, other.bottom_, other.size_);
#endif
  }
  void leave_for_good([[maybe_unused]] const Stack& other) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(nullptr, other.bottom_, other.size_);
#endif
  }
  /// Once code is here, coming from `other`, whose bounds it learns.
  void arrive([[maybe_unused]] Stack& other) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(frames_, &other.bottom_, &other.size_);
#endif
  }

 private:
  const void* bottom_ = nullptr;
  size_t size_ = 0;
  void* frames_ = nullptr;  // the sanitizer's
};

/// Memory of stacks. What code left there is forgotten with it: the address may be anybody's afterwards.
class StackMemory {
 public:
  context::stack_context allocate() { return from_.allocate(); }
  void deallocate(context::stack_context& memory) {
#ifdef __SANITIZE_ADDRESS__
    ASAN_UNPOISON_MEMORY_REGION(static_cast<char*>(memory.sp) - memory.size, memory.size);
#endif
    from_.deallocate(memory);
  }

 private:
  context::protected_fixedsize_stack from_{kStackBytes};
};

struct Fiber {
  dim3 index;
  int lane = 0, warp = 0;
  State state = State::kDone;
  bool inside = false;  // of a kernel
  Stack stack;
  context::fiber code;  // where it goes on
};

/// Ends a thread that waits in vain.
struct Abandoned {};

class Multiprocessor {
 public:
  ~Multiprocessor();
  void run(const std::function<void()>& kernel, int threads, size_t shared_bytes, std::mt19937_64& random);

  void yield(State state) {
    Fiber& self = current();
    self.state = state;
    self.stack.leave_for(scheduler_);
    back_ = std::move(back_).resume();
    self.stack.arrive(scheduler_);
    if (order_ == Order::kAbandon) throw Abandoned();
  }
  Fiber& current() { return *fibers_[static_cast<size_t>(current_)]; }
  Warp& warp() { return warps_[static_cast<size_t>(current().warp)]; }
  void wake(int lane) {
    const int index = current().warp * 32 + lane;
    Fiber& f = *fibers_[static_cast<size_t>(index)];
    if (f.state != State::kInWarp) return;
    f.state = State::kReady;
    ready_.push_back(index);
  }
  void* shared() { return shared_.data(); }

 private:
  /// What a fiber does when it goes on.
  enum class Order { kWork, kAbandon, kEnd };

  void prepare(int threads, size_t shared_bytes);
  void start(Fiber& fiber);
  void work(Fiber& fiber);
  void step(int index);
  void order_all(Order order, bool only_inside);

  const std::function<void()>* kernel_ = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Warp> warps_;
  std::vector<int> ready_;
  std::vector<std::max_align_t> shared_;
  context::fiber back_;  // the scheduler, while a fiber runs
  Stack scheduler_;
  int current_ = 0;
  Order order_ = Order::kWork;
  std::string failure_;
};

thread_local Multiprocessor multiprocessor;

/// A fiber outlives a kernel: it waits for the next block.
void Multiprocessor::start(Fiber& fiber) {
  StackMemory allocator;
  const context::stack_context memory = allocator.allocate();
  fiber.stack.is(memory);
  fiber.code = context::fiber(std::allocator_arg, context::preallocated(memory.sp, memory.size, memory),
                              allocator, [this, &fiber](context::fiber&& scheduler) {
                                fiber.stack.arrive(scheduler_);
                                back_ = std::move(scheduler);
                                while (order_ != Order::kEnd) work(fiber);
                                fiber.stack.leave_for_good(scheduler_);
                                return std::move(back_);
                              });
}

void Multiprocessor::work(Fiber& fiber) {
  fiber.inside = true;
  try {
    (*kernel_)();
  } catch (const Failure& f) {
    failure_ = f.what();
  } catch (const Abandoned&) {
    order_ = Order::kWork;
  }
  fiber.inside = false;
  yield(State::kDone);
}

void Multiprocessor::order_all(Order order, bool only_inside) {
  for (int i = 0; i < static_cast<int>(fibers_.size()); ++i) {
    if (only_inside && !fibers_[static_cast<size_t>(i)]->inside) continue;
    order_ = order;
    step(i);
  }
  order_ = Order::kWork;
}

Multiprocessor::~Multiprocessor() {
  order_all(Order::kEnd, false);
}

void Multiprocessor::prepare(int threads, size_t shared_bytes) {
  while (static_cast<int>(fibers_.size()) < threads) {
    fibers_.push_back(std::make_unique<Fiber>());
    start(*fibers_.back());
  }
  warps_.assign(static_cast<size_t>((threads + 31) / 32), {});
  shared_.resize(shared_bytes / sizeof(std::max_align_t) + 1);
  std::memset(shared_.data(), kPoison, shared_.size() * sizeof(std::max_align_t));
  ready_.clear();
  for (int i = 0; i < threads; ++i) {
    Fiber& f = *fibers_[static_cast<size_t>(i)];
    const auto u = static_cast<unsigned>(i);
    f.index = dim3(u % blockDim.x, u / blockDim.x % blockDim.y, u / blockDim.x / blockDim.y);
    f.lane = i % 32;
    f.warp = i / 32;
    f.state = State::kReady;
    ready_.push_back(i);
  }
}

void Multiprocessor::step(int index) {
  current_ = index;
  Fiber& f = current();
  threadIdx = f.index;
  scheduler_.leave_for(f.stack);
  f.code = std::move(f.code).resume();
  scheduler_.arrive(f.stack);
}

void Multiprocessor::run(const std::function<void()>& kernel, int threads, size_t shared_bytes,
                         std::mt19937_64& random) {
  kernel_ = &kernel;
  prepare(threads, shared_bytes);
  int done = 0;
  std::vector<int> at_barrier;
  failure_.clear();
  while (done < threads && failure_.empty()) {
    while (!ready_.empty()) {
      std::swap(ready_[random() % ready_.size()], ready_.back());
      const int index = ready_.back();
      ready_.pop_back();
      step(index);
      const State state = current().state;
      if (state == State::kDone) ++done;
      if (state == State::kAtBarrier) at_barrier.push_back(index);
    }
    if (!failure_.empty()) break;
    if (done + static_cast<int>(at_barrier.size()) < threads) {
      failure_ = "threads wait for others of their warp that never come";
    } else if (done > 0 && done < threads) {
      failure_ = std::to_string(done) + " of " + std::to_string(threads) +
                 " threads of the block ended while the others wait at __syncthreads()";
    }
    for (const int i : at_barrier) fibers_[static_cast<size_t>(i)]->state = State::kReady;
    std::swap(ready_, at_barrier);
  }
  const std::string failure = failure_;
  if (!failure.empty()) order_all(Order::kAbandon, true);  // those that hang
  kernel_ = nullptr;
  if (!failure.empty()) throw Failure(failure);
}

}  // namespace

void run_block(const std::function<void()>& kernel, int threads, size_t shared_bytes,
               std::mt19937_64& random) {
  multiprocessor.run(kernel, threads, shared_bytes, random);
}

void synchronise_block() {
  multiprocessor.yield(State::kAtBarrier);
}

void* dynamic_shared_memory() {
  return multiprocessor.shared();
}

int lane() {
  return multiprocessor.current().lane;
}

namespace {

unsigned votes_of(const Warp& warp, unsigned mask) {
  unsigned votes = 0;
  for (unsigned i = 0; i < 32; ++i) {
    if ((mask >> i & 1u) != 0 && warp.lanes[i].value != 0) votes |= 1u << i;
  }
  return votes;
}

/// Gives a value and returns, once all lanes of the mask have come, what was asked for.
uint64_t meet(unsigned mask, uint64_t value, int from) {
  Warp& warp = multiprocessor.warp();
  const int lane = multiprocessor.current().lane;
  if ((mask >> lane & 1u) == 0)
    throw Failure("a lane takes part in a warp operation whose mask leaves it out");
  warp.lanes[lane].value = value;
  warp.lanes[lane].from = from;
  warp.came |= 1u << lane;
  if ((warp.came & mask) != mask) {
    multiprocessor.yield(State::kInWarp);
    return warp.lanes[lane].result;
  }
  warp.came &= ~mask;
  for (int i = 0; i < 32; ++i) {
    if ((mask >> i & 1u) == 0) continue;
    Warp::Lane& l = warp.lanes[i];
    l.result = l.from == kVotes ? votes_of(warp, mask) : warp.lanes[l.from].value;
    if (i != lane) multiprocessor.wake(i);
  }
  return warp.lanes[lane].result;
}

}  // namespace

uint64_t exchange(unsigned mask, uint64_t value, int from) {
  return meet(mask, value, from);
}

unsigned ballot(unsigned mask, bool predicate) {
  return static_cast<unsigned>(meet(mask, predicate ? 1 : 0, kVotes));
}

}  // namespace cuda_emulation
