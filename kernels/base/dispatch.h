// Calls a kernel's implementation for the context's backend, and checks the shapes of its arguments.
#pragma once

#include <string>
#include <string_view>

#include "kernels/base/build.h"
#include "kernels/base/range.h"

namespace natrix {

template <class Args>
struct Implementations {
  void (*reference)(Context&, const Args&) = nullptr;
  void (*cpu)(Context&, const Args&) = nullptr;
  void (*cuda)(Context&, const Args&) = nullptr;  // stays null in a build without CUDA
};

/// `cuda::f`, or null in a build without CUDA; such a build does not refer to the symbol.
template <auto f>
constexpr decltype(f) if_cuda() {
  if constexpr (build::kCuda) {
    return f;
  } else {
    return nullptr;
  }
}

/// The operand that an error message shows: the first of these members that the arguments have.
template <class Args>
View main_operand(const Args& a) {
  if constexpr (requires { a.x; })
    return a.x;
  else if constexpr (requires { a.logits; })
    return a.logits;
  else if constexpr (requires { a.a; })
    return a.a;
  else if constexpr (requires { a.tokens; })
    return a.tokens;
  else if constexpr (requires { a.dy; })
    return a.dy;
  else if constexpr (requires { a.rows; })
    return a.rows;
  else if constexpr (requires { a.drows; })
    return a.drows;
  else if constexpr (requires { a.sum; })
    return a.sum;
  else if constexpr (requires { a.y; })
    return a.y;
  else if constexpr (requires { a.expert; })
    return a.expert;
  else if constexpr (requires { a.from; })
    return a.from;
  else if constexpr (requires { a.w; })
    return a.w;
  else if constexpr (requires { a.q; })
    return a.q;
  else if constexpr (requires { a.k; })
    return a.k;
  else
    return a.tail;
}

/// What a kernel is to a dry run: its cost, and the scratch that it would take, where it has a function that
/// says so: cost(args), or cost(backend, args) where that depends on the backend, and scratch(backend, args),
/// bytes.
template <class Args>
void count(Context& ctx, const Args& args) {
  if constexpr (requires { scratch(ctx.like(), args); }) {
    Arena::Frame frame(ctx.arena());
    if (const int64_t bytes = scratch(ctx.like(), args); bytes > 0) ctx.arena().take(Dtype::kU8, {bytes});
  }
  if constexpr (requires { cost(ctx.like(), args); }) {
    ctx.ledger().add(cost(ctx.like(), args));
  } else {
    ctx.ledger().add(cost(args));
  }
}

template <class Args>
void dispatch(Context& ctx, std::string_view name, const Args& args, const Implementations<Args>& table) {
  if (ctx.dry()) return count(ctx, args);
  const auto run = ctx.backend() == Backend::kReference ? table.reference
                   : ctx.backend() == Backend::kCpu     ? table.cpu
                                                        : table.cuda;
  if (run == nullptr) fail_unavailable(ctx, name);
  if constexpr (build::kCuda) {
    const Range range(ctx, name.data());  // names are literals
    try {
      return run(ctx, args);
    } catch (const RunError& e) {  // CUDA does not say whose call failed
      throw RunError(std::string(name) + " of " + main_operand(args).to_string() + ": " + e.what());
    }
  }
  run(ctx, args);
}

/// The dtype that check_… expects of an operand that may be stored as bf16 where `dtype` is f32.
inline Dtype at_most(Dtype dtype, View v) {
  return wide(v.dtype) == dtype ? v.dtype : dtype;
}

/// Throws ContractError naming `what` unless v has this dtype and shape.
void check_view(View v, Dtype dtype, const Shape& shape, std::string_view what);
/// Like check_view, but accepts an empty view.
void check_optional(View v, Dtype dtype, const Shape& shape, std::string_view what);
/// Like check_view, but for any leading dimensions that make up `rows` rows of `cols` elements.
void check_matrix(View v, Dtype dtype, int64_t rows, int64_t cols, std::string_view what);
/// Like check_view, and v must be contiguous.
void check_dense(View v, Dtype dtype, const Shape& shape, std::string_view what);

}  // namespace natrix
