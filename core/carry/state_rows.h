// Joins and splits carried states along rows: every carried state has the shape [rows, …].
#pragma once

#include <span>

#include "core/carry/carry_states.h"

namespace natrix {

/// Concatenates the rows of all parts, in host memory. All parts must have the same states.
CarryStates join_rows(std::span<const CarryStates> parts);

/// A copy of rows [first, first + count).
CarryStates rows_of(const CarryStates& states, int64_t first, int64_t count, Memory memory);

}  // namespace natrix
