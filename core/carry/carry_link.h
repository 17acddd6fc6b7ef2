// CarryLink: how a segment gets the state that it starts from and hands on the state that it ends with.
//
// A segment acts on a carried state as an affine map  S_out = decay ⊙ S_in + state.  Such maps form a monoid.
// For a convolution tail, and where a document starts, decay = 0. Chunked training, truncated BPTT, context
// parallelism, prefill, decode and prefix files differ only in where states come from and where they go.
// Layers therefore call only enter(), room() and leave(). In backward the same calls carry the gradients of
// states, backwards in time.
#pragma once

#include <compare>
#include <functional>

#include "kernels/base/buffer.h"

namespace natrix {

struct CarryKey {
  int layer = 0;  // index of the sublayer in the stack
  int part = 0;   // index in the layer's list of what it carries (Layer::carries)
  auto operator<=>(const CarryKey&) const = default;
};

/// A segment as a map of its entering state. An empty `decay` is zero: the entering state has no effect.
struct SegmentMap {
  View decay, state;
};

class CarryLink {
 public:
  virtual ~CarryLink() = default;

  /// Returns the state that this segment starts from, of the given dtype and shape. An empty view means zero.
  /// The view stays valid until the link's next segment begins. `summarise` computes this segment's own map.
  /// Only links that combine the maps of several ranks call it.
  virtual View enter(CarryKey key, Dtype dtype, const Shape& shape,
                     const std::function<SegmentMap()>& summarise) = 0;

  /// Memory for the state that leave() will hand on, so that leave() need not copy it. Its contents are
  /// unspecified. It never aliases the result of enter(). If it is empty, the layer allocates the state.
  virtual View room(CarryKey, Dtype, const Shape&, Memory) { return {}; }

  /// Hands on the state after this segment. Copies the view, unless it is the one that room() returned.
  virtual void leave(CarryKey key, View state) = 0;
};

}  // namespace natrix
