// Picks the implementation of a kernel by the context's backend, and checks the shapes of its arguments.
#pragma once

#include <string>
#include <string_view>

#include "kernels/base/build.h"
#include "kernels/base/context.h"

namespace natrix {

template <class Args>
struct Implementations {
  void (*reference)(Context&, const Args&) = nullptr;
  void (*cpu)(Context&, const Args&) = nullptr;
  void (*cuda)(Context&, const Args&) = nullptr;  // stays null in a build without CUDA
};

/// `cuda::f`, or null in a build without CUDA, which then does not mention it.
template <auto f>
constexpr decltype(f) if_cuda() {
  if constexpr (build::kCuda) {
    return f;
  } else {
    return nullptr;
  }
}

template <class Args>
void dispatch(Context& ctx, std::string_view name, const Args& args, const Implementations<Args>& table) {
  const auto run = ctx.backend() == Backend::kReference ? table.reference
                   : ctx.backend() == Backend::kCpu     ? table.cpu
                                                        : table.cuda;
  if (run == nullptr) fail_unavailable(ctx, name);
  if constexpr (build::kCuda) {
    try {
      return run(ctx, args);
    } catch (const RunError& e) {  // CUDA does not say whose call failed
      throw RunError(std::string(name) + ": " + e.what());
    }
  }
  run(ctx, args);
}

/// What check_… expects of an operand that may be stored narrower than `dtype`, f32 as bf16.
inline Dtype at_most(Dtype dtype, View v) {
  return wide(v.dtype) == dtype ? v.dtype : dtype;
}

/// ContractError naming `what` unless v has this dtype and shape.
void check_view(View v, Dtype dtype, const Shape& shape, std::string_view what);
/// As check_view; an empty view passes.
void check_optional(View v, Dtype dtype, const Shape& shape, std::string_view what);
/// As check_view for an operand of rows: its leading dimensions, whatever they are, make up `rows` of `cols`
/// elements.
void check_matrix(View v, Dtype dtype, int64_t rows, int64_t cols, std::string_view what);
/// As check_view, and contiguous.
void check_dense(View v, Dtype dtype, const Shape& shape, std::string_view what);

}  // namespace natrix
