// CarryLink: how a stretch of sequence gets the state it starts from, and hands on the state it ends with.
//
// What a stretch hands on is an element of a monoid: the affine map  S_out = decay ⊙ S_in + state  (for a
// convolution tail or at a document start, decay = 0). Chunked training, truncated BPTT, context parallelism,
// prefill, decode and prefix files differ only in where carries come from and go to, so layers call enter(),
// room() and leave() and nothing else. In the backward pass the same
// calls carry gradients, backwards in time.
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

/// A segment as a map of its entering state. An empty `decay` stands for zero:
/// the entering state does not matter.
struct SegmentMap {
  View decay, state;
};

class CarryLink {
 public:
  virtual ~CarryLink() = default;

  /// The state that this segment starts from, of the given dtype and shape; an empty view stands for zero. It
  /// stays valid until the link's next segment begins. `summarise` computes this segment's own map. Links
  /// that combine the maps of several ranks call it; the others do not.
  virtual View enter(CarryKey key, Dtype dtype, const Shape& shape,
                     const std::function<SegmentMap()>& summarise) = 0;

  /// Where the state that leave() will hand on may be written, so that nothing has to copy it; an empty view:
  /// wherever the layer likes. What lies there is nothing yet, and never what enter() gave.
  virtual View room(CarryKey, Dtype, const Shape&, Memory) { return {}; }

  /// Hands on the state after this stretch. The view is copied, unless it is the room that was given for it.
  virtual void leave(CarryKey key, View state) = 0;
};

}  // namespace natrix
