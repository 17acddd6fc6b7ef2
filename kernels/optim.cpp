#include "kernels/optim.h"

#include "kernels/base/dispatch.h"

namespace natrix {

Cost cost(const AdamW& a) {
  return {.bytes = bytes_of({a.w, a.g, a.m, a.v, a.w, a.m, a.v, a.rounded})};
}

Cost cost(const SquaredNorm& a) {
  return {.bytes = bytes_of({a.x})};
}

void adamw(Context& ctx, const AdamW& args) {
  check_dense(args.w, args.w.dtype, args.w.shape, "adamw: w");
  check_dense(args.g, args.w.dtype, args.w.shape, "adamw: g");
  check_dense(args.m, args.w.dtype, args.w.shape, "adamw: m");
  check_dense(args.v, args.w.dtype, args.w.shape, "adamw: v");
  check_optional(args.rounded, Dtype::kBF16, args.w.shape, "adamw: rounded");
  require(args.step >= 1, "adamw: steps are counted from 1");
  dispatch<AdamW>(ctx, "adamw", args,
                  {.reference = reference::adamw, .cpu = cpu::adamw, .cuda = if_cuda<cuda::adamw>()});
  if (args.rounded && ctx.backend() != Backend::kCuda) convert(args.w, args.rounded);
}

void squared_norm(Context& ctx, const SquaredNorm& args) {
  check_dense(args.x, args.x.dtype, args.x.shape, "squared_norm: x");
  check_dense(args.sum, Dtype::kF64, {1}, "squared_norm: sum");
  dispatch<SquaredNorm>(ctx, "squared_norm", args,
                        {.reference = reference::squared_norm,
                         .cpu = cpu::squared_norm,
                         .cuda = if_cuda<cuda::squared_norm>()});
}

}  // namespace natrix
