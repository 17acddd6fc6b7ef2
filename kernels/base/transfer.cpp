#include "kernels/base/transfer.h"

namespace natrix {

OnHost::OnHost(View v) : view_(v) {
  if (!v || memory_of(v.data) == Memory::kHost) return;
  copy_ = Buffer(v.dtype, v.shape);
  copy(v, copy_.view());
  view_ = copy_.view();
}

View within_reach(Context& ctx, View v) {
  if (!v || memory_of(v.data) == ctx.memory()) return v;
  View there = ctx.arena().like(v);
  copy(v, there);
  return there;
}

}  // namespace natrix
