// Where a segment stands within its documents. The position is carried like any other state, as the affine
// map
//
//   position_out = decay · position_in + advance      decay = 0 where a document starts in the segment, else
//   1
//
// so chunks, decoding, ranks, state files and checkpoints hand it on without code of their own.
#pragma once

#include "core/layers/layer.h"

namespace natrix {

/// What a model carries for its layers that read Segment::position: [B, 1] f64, exact up to 2^53 tokens.
CarriedState position_state();

/// The index of each row's first token within its document, [B] i64, in the arena. Takes the position of the
/// segment before from pass.carry, and hands on that of the next one. Counts from the row's first token where
/// nothing is carried, and from 0 again where a document starts.
View enter_positions(Pass& pass);

}  // namespace natrix
