#include "kernels/norm.h"

#include "kernels/base/dispatch.h"

namespace natrix {
namespace {

/// What forward and backward share: R rows of D columns, one inv_rms a row, one weight a column.
struct NormShapes {
  Dtype dtype;
  int64_t rows, cols;

  NormShapes(View x, View weight, View weight_gradient, View inv_rms)
      : dtype(x.dtype), rows(x.rows()), cols(x.cols()) {
    like(x, "rms_norm: x (or sum)");
    require(cols > 0, "rms_norm: no columns to take the mean of");
    if (weight) check_dense(weight, dtype, {cols}, "rms_norm: weight");
    if (weight_gradient) check_dense(weight_gradient, dtype, {cols}, "rms_norm: dweight");
    if (inv_rms) {
      require(inv_rms.dtype == dtype && inv_rms.count() == rows && inv_rms.contiguous(),
              "rms_norm: inv_rms must be dense, with one value a row, in the dtype of x");
    }
  }
  void like(View v, std::string_view what) const { check_matrix(v, dtype, rows, cols, what); }
  void stored(View v, std::string_view what) const { check_matrix(v, at_most(dtype, v), rows, cols, what); }
  void optional(View v, std::string_view what) const {
    if (v) like(v, what);
  }
};

void check(const RmsNormForward& a) {
  const NormShapes s(a.x, a.weight, {}, a.inv_rms);
  if (a.residual) s.stored(a.residual, "rms_norm_forward: residual");
  s.optional(a.sum, "rms_norm_forward: sum");
  s.stored(a.y, "rms_norm_forward: y");
  require(a.sum || !a.residual, "rms_norm_forward: a residual needs somewhere to put the sum");
}

void check(const RmsNormBackward& a) {
  const NormShapes s(a.sum, a.weight, a.dweight, a.inv_rms);
  require(static_cast<bool>(a.inv_rms), "rms_norm_backward: inv_rms of the forward pass is missing");
  s.stored(a.dy, "rms_norm_backward: dy");
  s.optional(a.dsum, "rms_norm_backward: dsum");
  s.stored(a.dx, "rms_norm_backward: dx");
  if (a.rounded) {
    require(a.dx.dtype == Dtype::kF32, "rms_norm_backward: only a f32 dx has something to round");
    check_matrix(a.rounded, Dtype::kBF16, s.rows, s.cols, "rms_norm_backward: rounded");
  }
}

}  // namespace

Cost cost(const RmsNormForward& a) {
  return {.bytes = bytes_of({a.x, a.residual, a.sum, a.y, a.inv_rms})};
}

Cost cost(const RmsNormBackward& a) {
  return {.bytes = bytes_of({a.sum, a.dy, a.dsum, a.dx, a.rounded, a.inv_rms})};
}

void rms_norm_forward(Context& ctx, const RmsNormForward& args) {
  check(args);
  dispatch<RmsNormForward>(ctx, "rms_norm_forward", args,
                           {.reference = reference::rms_norm_forward,
                            .cpu = cpu::rms_norm_forward,
                            .cuda = if_cuda<cuda::rms_norm_forward>()});
}

void rms_norm_backward(Context& ctx, const RmsNormBackward& args) {
  check(args);
  require(!args.rounded || ctx.dry() || ctx.backend() == Backend::kCuda,
          "rms_norm_backward: bf16 on another backend");
  dispatch<RmsNormBackward>(ctx, "rms_norm_backward", args,
                            {.reference = reference::rms_norm_backward,
                             .cpu = cpu::rms_norm_backward,
                             .cuda = if_cuda<cuda::rms_norm_backward>()});
}

}  // namespace natrix
