#include "kernels/gated_norm.h"

#include "kernels/base/dispatch.h"

namespace natrix {
namespace {

/// What forward and backward share.
template <class Args>
void check_shared(const Args& a) {
  const Dtype dtype = a.x.dtype;
  const int64_t rows = a.x.rows(), cols = a.x.cols();
  require(dtype == Dtype::kF32 || dtype == Dtype::kF64, "gated_norm: x must be f32 or f64");
  require(a.groups > 0 && cols > 0 && cols % a.groups == 0,
          "gated_norm: the columns of x must be a multiple of the groups");
  check_matrix(a.z, dtype, rows, cols, "gated_norm: z");
  const bool norm = a.order != GatedNorm::kGateOnly;
  require(norm == static_cast<bool>(a.weight), "gated_norm: a weight comes with a norm, and only with one");
  if (norm) check_dense(a.weight, dtype, {cols}, "gated_norm: weight");
  require(norm || !a.inv_rms, "gated_norm: without a norm there is no inv_rms");
  if (a.inv_rms) {
    require(a.inv_rms.dtype == dtype && a.inv_rms.count() == rows * a.groups && a.inv_rms.contiguous(),
            "gated_norm: inv_rms must be dense, with one value for each row and group, in the dtype of x");
  }
}

void check(const GatedNormForward& a) {
  check_shared(a);
  check_matrix(a.y, a.x.dtype, a.x.rows(), a.x.cols(), "gated_norm_forward: y");
}

void check(const GatedNormBackward& a) {
  check_shared(a);
  require(a.order == GatedNorm::kGateOnly || a.inv_rms,
          "gated_norm_backward: inv_rms of the forward pass is missing");
  for (const View& v : {a.dy, a.dx, a.dz})
    check_matrix(v, a.x.dtype, a.x.rows(), a.x.cols(), "gated_norm_backward: dy, dx or dz");
  require(a.order != GatedNorm::kGateOnly || !a.dweight, "gated_norm_backward: dweight without a weight");
  if (a.dweight) check_dense(a.dweight, a.x.dtype, {a.x.cols()}, "gated_norm_backward: dweight");
}

}  // namespace

Cost cost(const GatedNormForward& a) {
  return {.exps = static_cast<double>(a.x.count()), .bytes = bytes_of({a.x, a.z, a.y, a.inv_rms})};
}

Cost cost(const GatedNormBackward& a) {
  return {.exps = static_cast<double>(a.x.count()),
          .bytes = bytes_of({a.x, a.z, a.dy, a.dx, a.dz, a.inv_rms})};
}

void gated_norm_forward(Context& ctx, const GatedNormForward& args) {
  check(args);
  dispatch<GatedNormForward>(ctx, "gated_norm_forward", args,
                             {.reference = reference::gated_norm_forward,
                              .cpu = cpu::gated_norm_forward,
                              .cuda = if_cuda<cuda::gated_norm_forward>()});
}

void gated_norm_backward(Context& ctx, const GatedNormBackward& args) {
  check(args);
  dispatch<GatedNormBackward>(ctx, "gated_norm_backward", args,
                              {.reference = reference::gated_norm_backward,
                               .cpu = cpu::gated_norm_backward,
                               .cuda = if_cuda<cuda::gated_norm_backward>()});
}

}  // namespace natrix
