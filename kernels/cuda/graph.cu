// CUDA graphs: the stream captures work instead of running it.
#include "kernels/cuda/graph.h"
#include "kernels/cuda/launch.h"

namespace natrix::cuda {

class Graph {
 public:
  explicit Graph(cudaGraph_t described) {
    check(cudaGraphInstantiate(&ready_, described, 0), "a CUDA graph");
  }
  ~Graph() { cudaGraphExecDestroy(ready_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void run(cudaStream_t stream) const { check(cudaGraphLaunch(ready_, stream), "a CUDA graph"); }

 private:
  cudaGraphExec_t ready_ = nullptr;
};

namespace {

struct Destroy {
  void operator()(cudaGraph_t graph) const { cudaGraphDestroy(graph); }
};
using Description = std::unique_ptr<std::remove_pointer_t<cudaGraph_t>, Destroy>;

/// The work captured since cudaStreamBeginCapture. Null if something could not be captured.
Description end_capture(cudaStream_t stream, cudaError_t& error) {
  cudaGraph_t graph = nullptr;
  error = cudaStreamEndCapture(stream, &graph);
  return Description(graph);
}

}  // namespace

std::shared_ptr<Graph> record(Context& ctx, const std::function<void()>& work) {
  const cudaStream_t stream = stream_of(ctx);
  cudaError_t error = cudaSuccess;
  // Captures calls of this thread only: other threads may allocate memory and wait for their own streams.
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording");
  try {
    work();
  } catch (...) {
    end_capture(stream, error);
    cudaGetLastError();  // clears the last error; the exception already tells what went wrong
    throw;
  }
  const Description graph = end_capture(stream, error);
  check(error, "recording");
  return std::make_shared<Graph>(graph.get());
}

void run(Context& ctx, const Graph& graph) {
  graph.run(stream_of(ctx));
}

}  // namespace natrix::cuda
