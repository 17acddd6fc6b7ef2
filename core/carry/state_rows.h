// Joins and splits carried states along the rows of the batch. An affine state has the shape [rows, …];
// appended rows exist once for each row of the batch.
#pragma once

#include <span>

#include "core/carry/carry_states.h"

namespace natrix {

/// Concatenates the rows of all parts, in host memory. All parts must have the same states. Appended rows that
/// only some parts still hold are zero in the others: they belong to documents that have ended.
CarryStates join_rows(std::span<const CarryStates> parts);

/// Joins parts of one sequence each, which may have different lengths. Appended rows stay apart and are
/// shared (CarryStates::ragged), so the sequences go on together without padding.
CarryStates join_sequences(std::span<const CarryStates> parts);

/// Sequence b of what join_sequences() made, as it would be by itself. Shares appended rows.
CarryStates sequence_of(const CarryStates& states, int64_t b);

/// A copy of rows [first, first + count).
CarryStates rows_of(const CarryStates& states, int64_t first, int64_t count, Memory memory);

}  // namespace natrix
