#include "kernels/base/transfer.h"

#include "kernels/base/build.h"
#include "kernels/base/parallel.h"
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
  if (ctx.dry()) ctx.ledger().add({.bytes = bytes_of({from, to})});
  if constexpr (build::kCuda) {
    if (ctx.backend() == Backend::kCuda) return cuda::copy(ctx.device(), from, to);
  }
  copy(from, to);
}

void fill_zero(Context& ctx, View v) {
  constexpr int64_t kPiece = int64_t{4} << 20;  // elements
  require(v.contiguous(), "only what lies in one piece is cut into some");
  if (ctx.dry()) return ctx.ledger().add({.bytes = bytes_of({v})});
  if (ctx.memory() == Memory::kDevice) return fill_zero(v);
  parallel_for(ctx, v.count(), kPiece, [&](int64_t begin, int64_t end) {
    fill_zero(View(static_cast<char*>(v.data) + begin * size_of(v.dtype), v.dtype, {end - begin}));
  });
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
