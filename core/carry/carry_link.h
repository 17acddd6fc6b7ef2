// CarryLink: how a segment gets what the segments before it hand on, and hands on its own part.
//
// There are two kinds of carries, and both form a monoid.
//
//   affine   a segment acts on a carried state as a map  S_out = decay ⊙ S_in + state.  For a convolution
//            tail, and where a document starts, decay = 0. Layers call enter(), room() and leave(). In
//            backward the same calls carry the gradients of states, backwards in time.
//   append   a segment adds its rows (keys and values) to those of all segments before it. Layers call
//            append(), and in backward row_gradients() and collect().
//
// Chunked training, truncated BPTT, context parallelism, prefill, decode and prefix files differ only in where
// carries come from and where they go. Layers therefore know nothing else.
#pragma once

#include <compare>
#include <functional>

#include "core/carry/row_store.h"

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

  /// Adds this segment's rows [B, T, width] to the rows of the segments before it. The result gives read
  /// access to all of them, until the route's next sweep.
  virtual History append(Context&, CarryKey, const RowFormat&, View) { no_rows(); }

  /// Whether the sequences of the batch have collected different numbers of rows. Layers then call
  /// append_row() for each of them.
  virtual bool ragged() const { return false; }
  /// append() for sequence b alone: rows [1, T, width].
  virtual History append_row(Context&, CarryKey, int64_t /*b*/, const RowFormat&, View) { no_rows(); }

  /// Backward, for a history that append() returned: where to add the gradients of its rows. Contributions of
  /// later segments are in there already. A page that is not held takes no gradient.
  virtual History row_gradients(CarryKey, const History&) { no_rows(); }

  /// Backward, after the layer has added its contributions: copies the complete gradients of this segment's
  /// own rows into `rows` [B, T, width].
  virtual void collect(Context&, CarryKey, const History&, View) { no_rows(); }

 private:
  [[noreturn]] static void no_rows() {
    contract_broken("this link does not collect rows", std::source_location::current());
  }
};

}  // namespace natrix
