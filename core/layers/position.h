// The position of a segment within its documents. It is carried like any other state, as the affine map
//
//   position_out = decay · position_in + advance      decay = 0 if a document starts in the segment, else 1
//
// so chunks, decoding, ranks, state files and checkpoints need no code of their own for it.
#pragma once

#include "core/layers/layer.h"

namespace natrix {

/// The carried state of a model whose layers read Segment::position: [B, 1] f64, exact up to 2^53 tokens.
CarriedState position_state();

/// Returns the index of each row's first token within its document, [B] i64, in the arena. Takes the entering
/// position from pass.carry and hands on the position of the next segment. Positions count from the row's
/// first token if nothing was carried, and start again from 0 at each document.
View enter_positions(Pass& pass);

}  // namespace natrix
