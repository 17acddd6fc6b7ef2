#include "kernels/base/transfer.h"

#include "kernels/base/build.h"
#include "kernels/cuda/device.h"

namespace natrix {

void upload(Context& ctx, View from, View to) {
  if constexpr (build::kCuda) {
    if (ctx.backend() == Backend::kCuda) return cuda::upload(ctx.device(), from, to);
  }
  copy(from, to);
}

void download(Context& ctx, View from, View to) {
  if constexpr (build::kCuda) {
    if (ctx.backend() == Backend::kCuda) return cuda::download(ctx.device(), from, to);
  }
  copy(from, to);
}

void copy(Context& ctx, View from, View to) {
  if constexpr (build::kCuda) {
    if (ctx.backend() == Backend::kCuda) return cuda::copy(ctx.device(), from, to);
  }
  copy(from, to);
}

OnHost::OnHost(Context& ctx, View v) : view_(v) {
  if (!v || memory_of(v.data) == Memory::kHost) return;
  copy_ = Buffer(v.dtype, v.shape);
  download(ctx, v, copy_.view());
  view_ = copy_.view();
}

OnHost::OnHost(View v) : view_(v) {
  if (!v || memory_of(v.data) == Memory::kHost) return;
  copy_ = Buffer(v.dtype, v.shape);
  copy(v, copy_.view());
  view_ = copy_.view();
}

View within_reach(Context& ctx, View v) {
  if (!v || memory_of(v.data) == ctx.memory()) return v;
  View there = ctx.arena().like(v);
  upload(ctx, v, there);
  return there;
}

}  // namespace natrix
