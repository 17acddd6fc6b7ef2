// Device memory: pages of its own that only kernels and copies can touch. Each allocation ends at a page that
// nothing can touch; what lies between its last byte and that page is checked after every kernel. Freed
// memory stays untouchable for good.
//
// Memory is opened and closed twice a kernel. Where the processor has protection keys that is a register of
// the thread; else a system call an allocation, and most of the time of a small model.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>

#include "emulator.h"

namespace cuda_emulation {
namespace {

constexpr size_t kAlignment = 256;  // cudaMalloc's
constexpr size_t kPage = 4096;
constexpr size_t kLargestPitch = (size_t{1} << 31) - 1;

constexpr size_t round_up(size_t n, size_t to) {
  return (n + to - 1) / to * to;
}

struct Allocation {
  char* pages;
  size_t mapped;  // bytes, without the guard page
  size_t bytes;   // that were asked for
};

struct Device {
  std::mutex mutex;
  std::map<const char*, size_t> pinned;                // bytes of each
  uint64_t used = 0, most_used = 0;                    // of the pool
  std::map<char*, Allocation> live;                    // by the pointer that the caller has
  char *lowest = nullptr, *highest = nullptr;          // of all that was ever allocated
  const int key = pkey_alloc(0, PKEY_DISABLE_ACCESS);  // −1: without keys
  int access = 0;                                      // without keys: of all threads
};
thread_local int access_of_thread = 0;

Device& device() {
  static Device d;
  return d;
}

struct sigaction previous_handler;

/// Says what a fault within device memory means; other faults keep their meaning.
void explain(int signal, siginfo_t* info, void* machine) {
  const char* p = static_cast<const char*>(info->si_addr);
  Device& d = device();
  if (d.lowest <= p && p < d.highest) {
    char text[256];
    const int n = snprintf(
        text, sizeof text,
        access_of_thread > 0 ? "cuda emulation: block %u of a kernel reached out of bounds of device memory, "
                               "or into freed memory, at %p (seed %llu)\n"
                             : "cuda emulation: host code touched device memory (block %u, %p, seed %llu)\n",
        blockIdx.x, info->si_addr, static_cast<unsigned long long>(seed()));
    if (write(STDERR_FILENO, text, static_cast<size_t>(n)) < 0) _exit(3);
  }
  sigaction(SIGSEGV, &previous_handler, nullptr);
  if ((previous_handler.sa_flags & SA_SIGINFO) != 0) previous_handler.sa_sigaction(signal, info, machine);
}

cudaError_t fail_pitch() {
  return fail(cudaErrorInvalidValue, "rows that are further apart than any GPU takes");
}

void protect(const Allocation& a, int protection) {
  mprotect(a.pages, a.mapped, protection);
}

}  // namespace

DeviceAccess::DeviceAccess() {
  Device& d = device();
  if (++access_of_thread > 1) return;
  if (d.key >= 0) {
    pkey_set(d.key, 0);
    return;
  }
  const std::lock_guard lock(d.mutex);
  if (d.access++ > 0) return;
  for (const auto& [p, a] : d.live) protect(a, PROT_READ | PROT_WRITE);
}

DeviceAccess::~DeviceAccess() {
  Device& d = device();
  if (--access_of_thread > 0) return;
  if (d.key >= 0) {
    pkey_set(d.key, PKEY_DISABLE_ACCESS);
    return;
  }
  const std::lock_guard lock(d.mutex);
  if (--d.access > 0) return;
  for (const auto& [p, a] : d.live) protect(a, PROT_NONE);
}

bool is_device_memory(const void* p) {
  Device& d = device();
  const std::lock_guard lock(d.mutex);
  auto next = d.live.upper_bound(static_cast<char*>(const_cast<void*>(p)));
  if (next == d.live.begin()) return false;
  const Allocation& a = std::prev(next)->second;
  return static_cast<const char*>(p) < a.pages + a.mapped;
}

bool is_pinned_memory(const void* p) {
  Device& d = device();
  const std::lock_guard lock(d.mutex);
  const auto* byte = static_cast<const char*>(p);
  auto next = d.pinned.upper_bound(byte);
  return next != d.pinned.begin() && byte < std::prev(next)->first + std::prev(next)->second;
}

std::string overrun() {
  Device& d = device();
  const std::lock_guard lock(d.mutex);
  for (const auto& [p, a] : d.live) {
    for (const char* byte = p + a.bytes; byte < a.pages + a.mapped; ++byte) {
      if (static_cast<unsigned char>(*byte) == kPoison) continue;
      return "wrote byte " + std::to_string(byte - p) + " of an allocation of " + std::to_string(a.bytes) +
             " bytes";
    }
  }
  return "";
}

}  // namespace cuda_emulation

using namespace cuda_emulation;

cudaError_t cudaMalloc(void** p, size_t bytes) {
  if (const cudaError_t error = refuse_in_graph("cudaMalloc"); error != cudaSuccess) return error;
  const size_t padded = round_up(bytes + 1, kAlignment), mapped = round_up(padded, kPage);
  void* pages = mmap(nullptr, mapped + kPage, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) return fail(cudaErrorMemoryAllocation, "cudaMalloc: out of memory");
  char* begin = static_cast<char*>(pages);
  std::memset(begin, kPoison, mapped);
  Device& d = device();
  const std::lock_guard lock(d.mutex);
  if (d.lowest == nullptr) {
    struct sigaction handler = {};
    handler.sa_sigaction = explain;
    handler.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &handler, &previous_handler);
    d.lowest = begin;
  }
  d.lowest = std::min(d.lowest, begin);
  d.highest = std::max(d.highest, begin + mapped + kPage);
  mprotect(begin + mapped, kPage, PROT_NONE);
  const Allocation a{begin, mapped, bytes};
  if (d.key >= 0) {
    pkey_mprotect(a.pages, a.mapped, PROT_READ | PROT_WRITE, d.key);
  } else if (d.access == 0) {
    protect(a, PROT_NONE);
  }
  char* user = begin + (mapped - padded);
  d.live[user] = a;
  *p = user;
  return cudaSuccess;
}

cudaError_t cudaFree(void* p) {
  if (p == nullptr) return cudaSuccess;
  Device& d = device();
  const std::lock_guard lock(d.mutex);
  const auto found = d.live.find(static_cast<char*>(p));
  if (found == d.live.end())
    return fail(cudaErrorInvalidValue, "cudaFree: a pointer that cudaMalloc did not give");
  const Allocation a = found->second;
  d.live.erase(found);
  // The address range stays taken, its pages go back.
  mmap(a.pages, a.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  return cudaSuccess;
}

cudaError_t cudaMallocAsync(void** p, size_t bytes, cudaStream_t) {
  const cudaError_t error = cudaMalloc(p, bytes);
  if (error != cudaSuccess) return error;
  Device& d = device();
  const std::lock_guard lock(d.mutex);
  d.used += bytes;
  d.most_used = std::max(d.most_used, d.used);
  return cudaSuccess;
}
cudaError_t cudaFreeAsync(void* p, cudaStream_t) {
  if (p != nullptr) {
    Device& d = device();
    const std::lock_guard lock(d.mutex);
    const auto found = d.live.find(static_cast<char*>(p));
    if (found != d.live.end()) d.used -= found->second.bytes;
  }
  return cudaFree(p);
}
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  *pool = nullptr;
  return cudaSuccess;
}
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) {
  return cudaSuccess;
}
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr attribute, void* value) {
  Device& d = device();
  const std::lock_guard lock(d.mutex);
  *static_cast<uint64_t*>(value) = attribute == cudaMemPoolAttrUsedMemHigh ? d.most_used : d.used;
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** p, size_t bytes) {
  if (const cudaError_t error = refuse_in_graph("cudaMallocHost"); error != cudaSuccess) return error;
  *p = std::malloc(bytes);
  if (*p == nullptr) return fail(cudaErrorMemoryAllocation, "cudaMallocHost: out of memory");
  std::memset(*p, kPoison, bytes);
  Device& d = device();
  const std::lock_guard lock(d.mutex);
  d.pinned[static_cast<char*>(*p)] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* p) {
  Device& d = device();
  const std::lock_guard lock(d.mutex);
  if (d.pinned.erase(static_cast<char*>(p)) == 0)
    return fail(cudaErrorInvalidValue, "cudaFreeHost: a pointer that cudaMallocHost did not give");
  std::free(p);
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p) {
  *attributes = {};
  attributes->type = is_device_memory(p) ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered;
  return cudaSuccess;
}

namespace {

cudaError_t copy_rows(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                      size_t height, cudaMemcpyKind kind) {
  if (to_pitch > kLargestPitch || from_pitch > kLargestPitch) return fail_pitch();
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  if (width == 0 || height == 0) return cudaSuccess;
  if (kind != cudaMemcpyDefault &&
      (is_device_memory(to) != to_device || is_device_memory(from) != from_device)) {
    return fail(cudaErrorInvalidValue, "a copy whose direction does not agree with its pointers");
  }
  const DeviceAccess access;
  for (size_t r = 0; r < height; ++r) {
    std::memcpy(static_cast<char*>(to) + r * to_pitch, static_cast<const char*>(from) + r * from_pitch,
                width);
  }
  return cudaSuccess;
}

cudaError_t copy_bytes(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  constexpr size_t kPiece = size_t{1} << 30;
  for (size_t at = 0; at < bytes; at += kPiece) {
    const size_t n = std::min(kPiece, bytes - at);
    const cudaError_t error =
        copy_rows(static_cast<char*>(to) + at, n, static_cast<const char*>(from) + at, n, n, 1, kind);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

/// A copy waits where one side lies with the host; an asynchronous one, where it is not pinned.
void note_copy(const void* to, const void* from, bool asynchronous) {
  const auto waits = [&](const void* p) {
    return !is_device_memory(p) && !(asynchronous && is_pinned_memory(p));
  };
  if (waits(to) || waits(from)) note_wait();
}

}  // namespace

cudaError_t cudaMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                         size_t height, cudaMemcpyKind kind) {
  if (const cudaError_t error = refuse_in_graph("cudaMemcpy2D"); error != cudaSuccess) return error;
  note_copy(to, from, false);
  return copy_rows(to, to_pitch, from, from_pitch, width, height, kind);
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  note_copy(to, from, true);
  const auto run = [=] { return copy_rows(to, to_pitch, from, from_pitch, width, height, kind); };
  return keep_for_graph(stream, run) ? cudaSuccess : run();
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (const cudaError_t error = refuse_in_graph("cudaMemcpy"); error != cudaSuccess) return error;
  note_copy(to, from, false);
  return copy_bytes(to, from, bytes, kind);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  note_copy(to, from, true);
  const auto run = [=] { return copy_bytes(to, from, bytes, kind); };
  return keep_for_graph(stream, run) ? cudaSuccess : run();
}

cudaError_t cudaMemset2D(void* p, size_t pitch, int value, size_t width, size_t height) {
  if (const cudaError_t error = refuse_in_graph("cudaMemset2D"); error != cudaSuccess) return error;
  if (pitch > kLargestPitch) return fail_pitch();
  const DeviceAccess access;
  for (size_t r = 0; r < height; ++r) std::memset(static_cast<char*>(p) + r * pitch, value, width);
  return cudaSuccess;
}
cudaError_t cudaMemset(void* p, int value, size_t bytes) {
  if (const cudaError_t error = refuse_in_graph("cudaMemset"); error != cudaSuccess) return error;
  const DeviceAccess access;
  std::memset(p, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream) {
  const auto run = [=] { return cudaMemset(p, value, bytes); };
  return keep_for_graph(stream, run) ? cudaSuccess : run();
}
