#include "core/carry/state_rows.h"

namespace natrix {
namespace {

int64_t rows_in(View state) {
  return state.extent(0);
}

/// [rows, …] as a matrix with as many rows.
View as_matrix(View state) {
  return state.reshaped({rows_in(state), state.count() / rows_in(state)});
}

Shape with_rows(const Shape& shape, int64_t rows) {
  Shape s{rows};
  for (int i = 1; i < shape.rank(); ++i) s.push_back(shape[i]);
  return s;
}

}  // namespace

CarryStates join_rows(std::span<const CarryStates> parts) {
  CarryStates all;
  if (parts.empty()) return all;
  for (const auto& [key, first_part] : parts.front().entries()) {
    int64_t rows = 0;
    for (const CarryStates& p : parts) rows += rows_in(p.at(key));
    const View like = first_part.view();
    all.make(key, like.dtype, with_rows(like.shape, rows));
    int64_t at = 0;
    for (const CarryStates& p : parts) {
      const View part = p.at(key);
      copy(as_matrix(part), as_matrix(all.at(key)).row_range(at, rows_in(part)));
      at += rows_in(part);
    }
  }
  return all;
}

CarryStates rows_of(const CarryStates& states, int64_t first, int64_t count, Memory memory) {
  CarryStates part;
  for (const auto& [key, buffer] : states.entries()) {
    const View whole = buffer.view();
    part.make(key, whole.dtype, with_rows(whole.shape, count), memory);
    copy(as_matrix(whole).row_range(first, count), as_matrix(part.at(key)));
  }
  return part;
}

}  // namespace natrix
