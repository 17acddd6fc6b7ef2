// Ways between the memory of the host and that of the backend. On the CPU they are the same, and nothing is
// copied.
#pragma once

#include "kernels/base/context.h"

namespace natrix {

/// To memory of the host from where `ctx` computes, or the other way round; on the CPU, a copy like any
/// other. Uploads wait for nothing, so that the host runs ahead of the device; a download waits for all
/// kernels so far.
void upload(Context& ctx, View from, View to);
void download(Context& ctx, View from, View to);
/// Between contiguous views where `ctx` computes, as one of its kernels: waits for nothing, and is recorded
/// where they are (kernels/base/recording.h).
void copy(Context& ctx, View from, View to);

/// A contiguous view where `ctx` computes, by all of its threads: one alone does not fill the memory's rate.
void fill_zero(Context& ctx, View v);

/// What the host can read of a view: the view itself, or a copy of what lies on a device; of a dry run,
/// zeros. Waits for the kernels that write it.
class OnHost {
 public:
  OnHost(Context& ctx, View v);
  /// Where there is no context: slower, through pageable memory.
  explicit OnHost(View v);
  View view() const { return view_; }

 private:
  Buffer copy_;
  View view_;
};

/// What kernels of `ctx` can read of a view: the view itself, or a copy in the arena. Empty views stay empty.
View within_reach(Context& ctx, View v);

/// f(host view) writes every element of v: it is given v itself, or memory of the host that is then copied
/// there.
template <class F>
void write_from_host(View v, F&& f) {
  if (memory_of(v.data) == Memory::kHost) return f(v);
  const Buffer staged(v.dtype, v.shape);
  f(staged.view());
  copy(staged.view(), v);
}

}  // namespace natrix
