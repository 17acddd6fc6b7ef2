// The device: its stream, memory and errors.
#include <algorithm>
#include <nvtx3/nvToolsExt.h>
#include <string>

#include "kernels/base/range.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/staging.h"
#include "kernels/cuda/stream.h"

namespace natrix::cuda {
namespace {

/// The largest row pitch that cudaMemcpy2D takes. Longer rows are copied one by one; then
/// there are few of them.
constexpr size_t kLargestPitch = (size_t{1} << 31) - 1;

/// The rows of a copy between a and b for cudaMemcpy2D. Where both are contiguous, they are a single row.
struct Extent {
  size_t width, height;
  Extent(View a, View b)
      : width(static_cast<size_t>(a.cols() * size_of(a.dtype))), height(static_cast<size_t>(a.rows())) {
    if (a.contiguous() && b.contiguous()) {
      width *= height;
      height = 1;
    }
  }
  size_t pitch(View v) const {
    return height == 1 ? width : static_cast<size_t>(v.row_stride * size_of(v.dtype));
  }
};

/// An attribute of the calling thread's device.
int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  check(cudaGetDevice(&device), "device attributes");
  check(cudaDeviceGetAttribute(&value, which, device), "device attributes");
  return value;
}

/// Whether the device has memory pools. Without them, every allocation and release goes to the driver.
bool has_pool() {
  return attribute(cudaDevAttrMemoryPoolsSupported) != 0;
}

cudaMemPool_t pool() {
  int device = 0;
  cudaMemPool_t pool = nullptr;
  check(cudaGetDevice(&device), "the device's memory pool");
  check(cudaDeviceGetDefaultMemPool(&pool, device), "the device's memory pool");
  return pool;
}

/// Keeps freed memory in the pool. By default a pool returns unused memory whenever the host waits.
void keep_freed_memory() {
  if (!has_pool()) return;
  uint64_t everything = UINT64_MAX;
  check(cudaMemPoolSetAttribute(pool(), cudaMemPoolAttrReleaseThreshold, &everything),
        "the device's memory pool");
}

/// The workspace size that cuBLAS recommends: 32 MiB from Hopper on, 4 MiB before.
size_t workspace_bytes() {
  return size_t{attribute(cudaDevAttrComputeCapabilityMajor) >= 9 ? 32u : 4u} << 20;
}

/// Whether the error may come from an earlier kernel: launches are asynchronous, so errors are reported late.
bool reported_late(cudaError_t error) {
  return error == cudaErrorIllegalAddress || error == cudaErrorLaunchFailure;
}

}  // namespace

class Device {
 public:
  Device() {
    keep_freed_memory();
    check(cudaStreamCreate(&stream), "a stream");  // keeps order with the default stream's copies
    check_blas(cublasCreate(&blas), "cuBLAS");
    check_blas(cublasSetStream(blas, stream), "cuBLAS");
    check(cudaMalloc(&workspace, workspace_bytes()), "cuBLAS's workspace");
    check_blas(cublasSetWorkspace(blas, workspace, workspace_bytes()), "cuBLAS");
    check_blas(cublasSetMathMode(blas, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION), "cuBLAS");
    multiprocessors = attribute(cudaDevAttrMultiProcessorCount);
  }
  ~Device() {
    cudaStreamSynchronize(stream);
    cublasDestroy(blas);
    cudaFree(workspace);
    cudaStreamDestroy(stream);
  }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  cudaStream_t stream = nullptr;
  cublasHandle_t blas = nullptr;
  void* workspace = nullptr;  // cuBLAS would allocate its own anew for every captured product
  int multiprocessors = 0;
  Staging staging;
};

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  const std::string text = cudaGetErrorString(error);
  cudaGetLastError();
  throw RunError(std::string(what) + ": CUDA: " + text +
                 (reported_late(error) ? "; a kernel before this one may have failed: CUDA_LAUNCH_BLOCKING=1 "
                                         "in the environment finds it"
                                       : ""));
}

std::shared_ptr<Device> open_device(int place) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    throw InputError(std::string("--backend cuda: no device answers on this machine (") +
                     (error != cudaSuccess ? cudaGetErrorString(error) : "none found") +
                     "); use --backend cpu (or device.backend: cpu)");
  }
  check(cudaSetDevice(place % count), "the device");
  return std::make_shared<Device>();
}

cudaStream_t stream_of(Context& ctx) {
  return ctx.device().stream;
}
int multiprocessors(Context& ctx) {
  return ctx.device().multiprocessors;
}

cublasHandle_t blas_of(Context& ctx) {
  return ctx.device().blas;
}

void* allocate(int64_t bytes) {
  void* p = nullptr;
  const auto size = static_cast<size_t>(bytes);
  // The default stream keeps order with the streams of all contexts.
  if ((has_pool() ? cudaMallocAsync(&p, size, nullptr) : cudaMalloc(&p, size)) == cudaSuccess) return p;
  cudaGetLastError();
  return nullptr;
}

void release(void* p) noexcept {
  if (cudaFreeAsync(p, nullptr) == cudaSuccess) return;
  cudaGetLastError();
  cudaFree(p);  // a device without pools
}

int64_t peak_bytes() {
  uint64_t bytes = 0;
  if (has_pool()) check(cudaMemPoolGetAttribute(pool(), cudaMemPoolAttrUsedMemHigh, &bytes), "device memory");
  return static_cast<int64_t>(bytes);
}

void upload(Device& device, View from, View to) {
  device.staging.upload(device.stream, from, to);
}
void download(Device& device, View from, View to) {
  device.staging.download(device.stream, from, to);
}

CUstream_st* stream_handle(const Context& ctx) {
  return ctx.device().stream;
}

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

void begin_range(const char* name) {
  nvtxRangePushA(name);
}
void end_range() {
  nvtxRangePop();
}

bool is_device_memory(const void* p) {
  cudaPointerAttributes attributes = {};
  if (cudaPointerGetAttributes(&attributes, p) != cudaSuccess) {
    cudaGetLastError();  // no driver, so no device memory
    return false;
  }
  return attributes.type == cudaMemoryTypeDevice;
}

void check_reachable([[maybe_unused]] const void* p) {
#ifdef NATRIX_CUDA_EMULATED  // a real GPU reports this itself, but late
  int host_too = 0;
  cudaDeviceGetAttribute(&host_too, cudaDevAttrPageableMemoryAccess, 0);
  require(p == nullptr || host_too != 0 || is_device_memory(p), "a kernel was given memory of the host");
#endif
}

void copy(View from, View to) {
  const Extent e(from, to);
  if (e.width == 0 || e.height == 0) return;
  if (e.height == 1) return check(cudaMemcpy(to.data, from.data, e.width, cudaMemcpyDefault), "copy");
  if (std::max(e.pitch(from), e.pitch(to)) > kLargestPitch) {
    for (int64_t r = 0; r < from.rows(); ++r) cuda::copy(from.row_range(r, 1), to.row_range(r, 1));
    return;
  }
  check(cudaMemcpy2D(to.data, e.pitch(to), from.data, e.pitch(from), e.width, e.height, cudaMemcpyDefault),
        "copy");
}

void copy(Device& device, View from, View to) {
  require(from.contiguous() && to.contiguous() && from.bytes() == to.bytes(), "a copy between unlike views");
  check(cudaMemcpyAsync(to.data, from.data, static_cast<size_t>(from.bytes()), cudaMemcpyDeviceToDevice,
                        device.stream),
        "copy");
}

void fill_zero(View v) {
  const Extent e(v, v);
  if (e.width == 0 || e.height == 0) return;
  if (e.height == 1) return check(cudaMemset(v.data, 0, e.width), "fill");
  if (e.pitch(v) > kLargestPitch) {
    for (int64_t r = 0; r < v.rows(); ++r) cuda::fill_zero(v.row_range(r, 1));
    return;
  }
  check(cudaMemset2D(v.data, e.pitch(v), 0, e.width, e.height), "fill");
}

}  // namespace natrix::cuda
