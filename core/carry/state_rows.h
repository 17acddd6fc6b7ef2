// Joins and splits carried states along the rows of the batch. An affine state has the shape [rows, …];
// appended rows exist once for each row of the batch.
#pragma once

#include <span>

#include "core/carry/carry_states.h"

namespace natrix {

/// Concatenates the rows of all parts, in host memory. All parts must have the same states. Appended rows that
/// only some parts still hold are zero in the others: they belong to documents that have ended.
CarryStates join_rows(std::span<const CarryStates> parts);

/// A copy of rows [first, first + count).
CarryStates rows_of(const CarryStates& states, int64_t first, int64_t count, Memory memory);

}  // namespace natrix
