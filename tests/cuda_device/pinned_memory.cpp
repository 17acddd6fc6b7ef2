// Linked into the tests of kernels where they run on a GPU. Tests hand kernels operands that lie with the
// host; pinned memory is what every GPU reads and writes where it lies, so tensors of the host are made of
// it.
//
// Buffer takes memory by aligned_alloc and gives it back by free: the linker leads both here (--wrap).
#include <cstdlib>
#include <cuda_runtime_api.h>
#include <mutex>
#include <unordered_set>

namespace {

struct Pinned {
  std::mutex mutex;
  std::unordered_set<void*> live;
};
Pinned& pinned() {
  static auto* const p = new Pinned;  // outlives every tensor
  return *p;
}

}  // namespace

extern "C" {

void* __real_aligned_alloc(size_t alignment, size_t bytes);
void __real_free(void* p);

void* __wrap_aligned_alloc(size_t alignment, size_t bytes) {
  void* p = nullptr;
  if (cudaMallocHost(&p, bytes) != cudaSuccess) {  // no device: nothing here will be for one
    cudaGetLastError();
    return __real_aligned_alloc(alignment, bytes);
  }
  const std::lock_guard lock(pinned().mutex);
  pinned().live.insert(p);
  return p;
}

void __wrap_free(void* p) {
  {
    const std::lock_guard lock(pinned().mutex);
    if (pinned().live.erase(p) == 0) return __real_free(p);
  }
  cudaFreeHost(p);
}

}  // extern "C"
