// CUDA graphs, without CUDA's headers. Declared in every build, defined where CUDA is built.
#pragma once

#include <functional>
#include <memory>

namespace natrix {

class Context;

namespace cuda {

class Graph;

/// Captures what `work` queues on the context's stream, ready to run. See kernels/base/recording.h.
std::shared_ptr<Graph> record(Context& ctx, const std::function<void()>& work);
void run(Context& ctx, const Graph& graph);

}  // namespace cuda
}  // namespace natrix
