// What kernels/cuda uses of CUDA, implemented for the host, so that the whole backend is executed where there
// is no GPU: README.md says what it shows and what it cannot show. Names and meanings are CUDA's
// (https://docs.nvidia.com/cuda/cuda-runtime-api).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <math.h>
#include <tuple>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __shared__ static thread_local  // a block stays on one OS thread
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorNoDevice = 100,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorStreamCaptureInvalidated = 901,
};
enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault
};
enum cudaMemoryType {
  cudaMemoryTypeUnregistered,
  cudaMemoryTypeHost,
  cudaMemoryTypeDevice,
  cudaMemoryTypeManaged
};
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrPageableMemoryAccess = 88,
  cudaDevAttrMemoryPoolsSupported = 115
};
enum { cudaStreamNonBlocking = 1 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal };
enum { cudaEventDisableTiming = 2 };
enum cudaMemPoolAttr {
  cudaMemPoolAttrReleaseThreshold = 4,
  cudaMemPoolAttrUsedMemCurrent = 7,
  cudaMemPoolAttrUsedMemHigh = 8
};

typedef struct CUstream_st* cudaStream_t;
typedef struct CUevent_st* cudaEvent_t;
typedef struct CUmemPoolHandle_st* cudaMemPool_t;
typedef struct CUgraph_st* cudaGraph_t;
typedef struct CUgraphExec_st* cudaGraphExec_t;
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
  void *devicePointer, *hostPointer;
};
struct cudaLaunchAttribute;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};

cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total);
cudaError_t cudaMalloc(void** p, size_t bytes);
cudaError_t cudaFree(void* p);
/// The pool is a count of bytes; memory comes from cudaMalloc and goes back at once.
cudaError_t cudaMallocAsync(void** p, size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void* p, cudaStream_t stream);
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value);
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value);
cudaError_t cudaMallocHost(void** p, size_t bytes);
cudaError_t cudaFreeHost(void* p);
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                         size_t height, cudaMemcpyKind kind);
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemset2D(void* p, size_t pitch, int value, size_t width, size_t height);
cudaError_t cudaMemset(void* p, int value, size_t bytes);
cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreate(cudaStream_t* stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
/// Not ready while a collective on it waits for other ranks (nccl.h).
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaEventCreate(cudaEvent_t* event);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaDeviceSynchronize();
/// Graphs are what one stream was asked for: kernels, copies, fills and cuBLAS's products, in their order.
/// What would wait, take memory or go to the default stream ends the recording, as there.
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* ready, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t ready, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t ready);
/// The first error since the last call, which stays until it is asked for.
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
/// Says more than CUDA does: what a kernel did wrong, where, and under which seed.
const char* cudaGetErrorString(cudaError_t error);

extern thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;  // of the thread that is running

namespace cuda_emulation {

cudaError_t launch(const cudaLaunchConfig_t& config, const std::function<void()>& kernel);
void synchronise_block();
void* dynamic_shared_memory();
int lane();  // of the thread that is running, within its warp of 32
/// Every lane of `mask` gives a value and gets that of lane `from`.
uint64_t exchange(unsigned mask, uint64_t value, int from);
/// A bit for every lane of `mask` whose predicate holds.
unsigned ballot(unsigned mask, bool predicate);

/// Orders of execution follow from it. NATRIX_CUDA_SEED sets it; otherwise it is fresh for every process.
void set_seed(uint64_t seed);
uint64_t seed();
/// How often the host has waited for the device so far, in this process: for a stream, or in a copy that is
/// synchronous with either side in memory of the host, or asynchronous in name and not from pinned memory.
uint64_t host_waits();
/// Graphs launched so far, in this process.
uint64_t graph_launches();
/// Whether kernels may touch host memory, as some GPUs can (cudaDevAttrPageableMemoryAccess). No, to begin
/// with.
void allow_host_memory(bool allowed);

template <class T>
uint64_t bits_of(T value) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  __builtin_memcpy(&bits, &value, sizeof value);
  return bits;
}
template <class T>
T shuffle(unsigned mask, T value, int from) {
  const uint64_t bits = exchange(mask, bits_of(value), from);
  T result;
  __builtin_memcpy(&result, &bits, sizeof result);
  return result;
}

}  // namespace cuda_emulation

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  std::tuple<Parameters...> by_value(static_cast<Arguments&&>(arguments)...);
  return cuda_emulation::launch(*config,
                                [kernel, by_value = std::move(by_value)] { std::apply(kernel, by_value); });
}

#define warpSize 32

inline void __syncthreads() {
  cuda_emulation::synchronise_block();
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  cuda_emulation::ballot(mask, false);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int from) {
  return cuda_emulation::shuffle(mask, value, from & 31);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return cuda_emulation::shuffle(mask, value, cuda_emulation::lane() ^ bits);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by) {
  const int from = cuda_emulation::lane() + static_cast<int>(by);
  return cuda_emulation::shuffle(mask, value, from < 32 ? from : cuda_emulation::lane());
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by) {
  const int from = cuda_emulation::lane() - static_cast<int>(by);
  return cuda_emulation::shuffle(mask, value, from >= 0 ? from : cuda_emulation::lane());
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return cuda_emulation::ballot(mask, predicate != 0);
}
inline int __any_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) != 0;
}
inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate == 0) == 0;
}

template <class T>
T atomicAdd(T* p, T value) {  // blocks run one after the other: nothing else is under way
  const T before = *p;
  *p = static_cast<T>(before + value);
  return before;
}
template <class T>
T atomicMax(T* p, T value) {
  const T before = *p;
  if (value > before) *p = value;
  return before;
}
template <class T>
T __ldg(const T* p) {
  return *p;
}
inline float rsqrtf(float x) {
  return 1.0f / sqrtf(x);
}
