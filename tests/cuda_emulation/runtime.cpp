// Launches, streams, events, errors. A stream's work is done when the call returns, but for collectives:
// those are done when somebody waits for them, or asks and all ranks have come.
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <mutex>

#include "emulator.h"

using Work = std::deque<std::shared_ptr<cuda_emulation::Deferred>>;

struct CUstream_st {
  Work left;
};
struct CUevent_st {
  std::chrono::steady_clock::time_point recorded;
  Work before;  // what was left of its stream when it was recorded
};

namespace cuda_emulation {
namespace {

constexpr size_t kMostShared = 48 << 10;  // what a kernel gets without asking for more
constexpr int kMostThreads = 1024;

struct Errors {
  std::mutex mutex;
  cudaError_t last = cudaSuccess;
  std::string text;
};
Errors& errors() {
  static Errors e;
  return e;
}

uint64_t first_seed() {
  const char* given = std::getenv("NATRIX_CUDA_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
}

struct Settings {
  std::atomic<uint64_t> waits = 0;
  uint64_t seed = first_seed();
  std::atomic<uint64_t> launches = 0;
  bool host_memory = false;
};
Settings& settings() {
  static Settings s;
  return s;
}

bool finish(Work& work, bool wait) {
  while (!work.empty() && work.front()->done(wait)) work.pop_front();
  return work.empty();
}

/// Hardware would wait forever.
cudaError_t wait_for(Work& work) {
  return finish(work, true) ? cudaPeekAtLastError()
                            : fail(cudaErrorLaunchFailure, "a collective whose ranks do not come");
}

std::string place(const dim3& block) {
  return "block (" + std::to_string(block.x) + ", " + std::to_string(block.y) + ", " +
         std::to_string(block.z) + "), NATRIX_CUDA_SEED=" + std::to_string(seed());
}

}  // namespace

void set_seed(uint64_t seed) {
  settings().seed = seed;
  settings().launches = 0;
}
uint64_t seed() {
  return settings().seed;
}
uint64_t host_waits() {
  return settings().waits;
}
void note_wait() {
  ++settings().waits;
}
void allow_host_memory(bool allowed) {
  settings().host_memory = allowed;
}

void defer(cudaStream_t stream, std::shared_ptr<Deferred> work) {
  stream->left.push_back(std::move(work));
}

cudaError_t fail(cudaError_t error, const std::string& what) {
  Errors& e = errors();
  const std::lock_guard lock(e.mutex);
  if (e.last == cudaSuccess) {
    e.last = error;
    e.text = what;
  }
  return error;
}

namespace {

cudaError_t run_grid(const dim3& g, const dim3& b, size_t shared_bytes, const std::function<void()>& kernel) {
  const auto threads = static_cast<int>(b.x * b.y * b.z);
  if (g.x == 0 || g.y == 0 || g.z == 0 || g.y > 65535 || g.z > 65535 || threads == 0 ||
      threads > kMostThreads || shared_bytes > kMostShared) {
    return fail(cudaErrorInvalidConfiguration, "a grid, a block or shared memory of a size that no GPU has");
  }
  const DeviceAccess access;
  blockDim = b;
  gridDim = g;
  std::mt19937_64 random(seed() + 0x9e3779b97f4a7c15u * ++settings().launches);
  const uint64_t blocks = uint64_t{g.x} * g.y * g.z, first = random() % blocks;
  for (uint64_t i = 0; i < blocks; ++i) {
    const uint64_t n = (first + i) % blocks;  // no kernel may count on block 0 being the first
    blockIdx = dim3(static_cast<unsigned>(n % g.x), static_cast<unsigned>(n / g.x % g.y),
                    static_cast<unsigned>(n / g.x / g.y));
    try {
      run_block(kernel, threads, shared_bytes, random);
    } catch (const Failure& failure) {
      return fail(cudaErrorLaunchFailure, failure.what() + (": " + place(blockIdx)));
    }
  }
  if (const std::string what = overrun(); !what.empty()) {
    return fail(cudaErrorIllegalAddress, "a kernel " + what + ": " + place(blockIdx));
  }
  return cudaSuccess;
}

}  // namespace

cudaError_t launch(const cudaLaunchConfig_t& config, const std::function<void()>& kernel) {
  const auto run = [grid = config.gridDim, block = config.blockDim, shared = config.dynamicSmemBytes,
                    kernel] { return run_grid(grid, block, shared, kernel); };
  return keep_for_graph(config.stream, run) ? cudaSuccess : run();
}

}  // namespace cuda_emulation

using namespace cuda_emulation;

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return device == 0 ? cudaSuccess : fail(cudaErrorInvalidValue, "there is one device");
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  // One multiprocessor: small tests then reach the paths that fill a GPU.
  *value = attribute != cudaDevAttrPageableMemoryAccess || settings().host_memory ? 1 : 0;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total) {
  *free_bytes = *total = size_t{8} << 30;
  return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  *stream = new CUstream_st;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  return cudaStreamCreate(stream);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return stream == nullptr || finish(stream->left, false) ? cudaPeekAtLastError() : cudaErrorNotReady;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const cudaError_t error = refuse_in_graph("cudaStreamSynchronize"); error != cudaSuccess) return error;
  note_wait();
  return stream == nullptr ? cudaPeekAtLastError() : wait_for(stream->left);
}
cudaError_t cudaDeviceSynchronize() {
  if (const cudaError_t error = refuse_in_graph("cudaDeviceSynchronize"); error != cudaSuccess) return error;
  note_wait();
  return cudaPeekAtLastError();
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (!finish(event->before, true)) {  // then the stream waits forever, too
    stream->left.insert(stream->left.end(), event->before.begin(), event->before.end());
  }
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  return cudaEventCreate(event);
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return finish(event->before, false) ? cudaPeekAtLastError() : cudaErrorNotReady;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (const cudaError_t error = refuse_in_graph("cudaEventRecord"); error != cudaSuccess) return error;
  event->before = stream == nullptr ? Work() : stream->left;
  event->recorded = std::chrono::steady_clock::now();
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return wait_for(event->before);
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->recorded - begin->recorded).count();
  return cudaSuccess;
}
cudaError_t cudaGetLastError() {
  Errors& e = errors();
  const std::lock_guard lock(e.mutex);
  const cudaError_t last = e.last;
  e.last = cudaSuccess;
  return last;
}
cudaError_t cudaPeekAtLastError() {
  Errors& e = errors();
  const std::lock_guard lock(e.mutex);
  return e.last;
}
const char* cudaGetErrorString(cudaError_t) {
  return errors().text.c_str();
}
