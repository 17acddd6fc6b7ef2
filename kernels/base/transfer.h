// Copies between host memory and the backend's memory. On the CPU both are the same and
// nothing needs to be copied.
#pragma once

#include "kernels/base/context.h"

namespace natrix {

/// upload copies from host memory to the memory of `ctx`, download the other way. On the CPU both are plain
/// copies. An upload returns without waiting for the device, so the host can run ahead. A download waits
/// for all earlier kernels.
void upload(Context& ctx, View from, View to);
void download(Context& ctx, View from, View to);
/// Copies between contiguous views in the memory of `ctx`, as one of its kernels: it does not wait, and a
/// capture includes it (kernels/base/recording.h).
void copy(Context& ctx, View from, View to);

/// Zeroes a contiguous view in the memory of `ctx`, with all threads: one thread does not
/// saturate memory bandwidth.
void fill_zero(Context& ctx, View v);

/// A host-readable version of a view: the view itself, or a copy of device memory. In a dry run it is zeros.
/// Waits for the kernels that write the view.
class OnHost {
 public:
  OnHost(Context& ctx, View v);
  /// For callers without a context. Slower: the copy goes through pageable memory.
  explicit OnHost(View v);
  View view() const { return view_; }

 private:
  Buffer copy_;
  View view_;
};

/// A version of v that kernels of `ctx` can read: v itself, or a copy in the arena. Empty views stay empty.
View within_reach(Context& ctx, View v);

/// Calls f with a host view of v, whose every element f writes: v itself if it lies on the host, otherwise a
/// temporary that is then copied to v.
template <class F>
void write_from_host(View v, F&& f) {
  if (memory_of(v.data) == Memory::kHost) return f(v);
  const Buffer staged(v.dtype, v.shape);
  f(staged.view());
  copy(staged.view(), v);
}

}  // namespace natrix
