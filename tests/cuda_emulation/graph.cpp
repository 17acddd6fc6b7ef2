// Graphs: what a stream is asked for while it is recorded is kept as closures, and run in its order.
#include <atomic>
#include <vector>

#include "emulator.h"

using Nodes = std::vector<std::function<cudaError_t()>>;

struct CUgraph_st {
  Nodes nodes;
};
struct CUgraphExec_st {
  Nodes nodes;
};

namespace cuda_emulation {
namespace {

struct Capture {
  cudaStream_t stream = nullptr;  // null: nothing is recorded
  bool broken = false;
  Nodes nodes;
};
thread_local Capture capture;  // of this thread, as in cudaStreamCaptureModeThreadLocal

std::atomic<uint64_t>& launched() {
  static std::atomic<uint64_t> count = 0;
  return count;
}

}  // namespace

uint64_t graph_launches() {
  return launched();
}

bool keep_for_graph(cudaStream_t stream, std::function<cudaError_t()> work) {
  if (capture.stream == nullptr) return false;
  if (capture.stream == stream) {
    capture.nodes.push_back(std::move(work));
  } else {
    refuse_in_graph("work of another stream");
  }
  return true;
}

cudaError_t refuse_in_graph(const char* call) {
  if (capture.stream == nullptr) return cudaSuccess;
  capture.broken = true;
  return fail(cudaErrorStreamCaptureUnsupported,
              std::string(call) + ": not while a stream of this thread is recorded");
}

}  // namespace cuda_emulation

using namespace cuda_emulation;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream == nullptr || capture.stream != nullptr)
    return fail(cudaErrorStreamCaptureUnsupported, "a stream that cannot be recorded");
  capture = {.stream = stream, .broken = false, .nodes = {}};
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (stream != capture.stream) return fail(cudaErrorInvalidValue, "a stream that is not recorded");
  const Capture done = std::exchange(capture, Capture());
  if (done.broken)
    return fail(cudaErrorStreamCaptureInvalidated, "a recording that was ended by an error before");
  *graph = new CUgraph_st{done.nodes};
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* ready, cudaGraph_t graph, unsigned long long) {
  *ready = new CUgraphExec_st{graph->nodes};
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t ready, cudaStream_t) {
  if (const cudaError_t error = refuse_in_graph("cudaGraphLaunch"); error != cudaSuccess) return error;
  ++launched();
  for (const auto& work : ready->nodes) {
    if (const cudaError_t error = work(); error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t ready) {
  delete ready;
  return cudaSuccess;
}
