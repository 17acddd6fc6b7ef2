// Carried states of many rows, put together and taken apart: a state is [rows, …], whatever it is of.
#pragma once

#include <span>

#include "core/carry/carry_states.h"

namespace natrix {

/// The parts' rows one after another, in the host's memory. All parts have the same states.
CarryStates join_rows(std::span<const CarryStates> parts);

/// Rows [first, first + count).
CarryStates rows_of(const CarryStates& states, int64_t first, int64_t count, Memory memory);

}  // namespace natrix
