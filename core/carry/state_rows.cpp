#include "core/carry/state_rows.h"

#include <algorithm>

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

/// The number of tokens whose rows a part holds.
int64_t tokens_in(const AppendedRows& rows) {
  return rows.length - rows.store->begin();
}

/// These rows, [batch, tokens, width] in host memory.
Buffer held_rows(const AppendedRows& rows) {
  const RowStore& store = *rows.store;
  Buffer held(store.format().dtype, {store.batch(), tokens_in(rows), store.format().width()});
  Context copies(Backend::kReference, 1);
  store.read(copies, store.begin(), held.view());
  return held;
}

/// A store of these rows [batch, tokens, width], in host memory.
AppendedRows store_of(const RowFormat& format, View rows) {
  auto store = std::make_shared<RowStore>(format, rows.extent(0), Memory::kHost);
  Context copies(Backend::kReference, 1);
  if (rows.extent(1) > 0) store->write(copies, 0, rows);
  return {std::move(store), rows.extent(1)};
}

/// Every part ends at the same token. The joined rows begin where the longest part does.
AppendedRows join(std::span<const CarryStates> parts, CarryKey key) {
  int64_t tokens = 0, batch = 0;
  for (const CarryStates& p : parts) {
    tokens = std::max(tokens, tokens_in(p.rows_at(key)));
    batch += p.rows_at(key).store->batch();
  }
  const RowFormat& format = parts.front().rows_at(key).store->format();
  const Buffer all(format.dtype, {batch, tokens, format.width()});
  int64_t at = 0;
  for (const CarryStates& p : parts) {
    const Buffer held = held_rows(p.rows_at(key));
    const int64_t rows = held.view().extent(0), n = held.view().extent(1);
    for (int64_t b = 0; b < rows; ++b)
      copy(held.view().row_range(b * n, n), all.view().row_range((at + b + 1) * tokens - n, n));
    at += rows;
  }
  return store_of(format, all.view());
}

/// The affine states of all parts, in host memory.
CarryStates join_affine(std::span<const CarryStates> parts) {
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

CarryStates affine_rows_of(const CarryStates& states, int64_t first, int64_t count, Memory memory) {
  CarryStates part;
  for (const auto& [key, buffer] : states.entries()) {
    const View whole = buffer.view();
    part.make(key, whole.dtype, with_rows(whole.shape, count), memory);
    copy(as_matrix(whole).row_range(first, count), as_matrix(part.at(key)));
  }
  return part;
}

}  // namespace

CarryStates join_rows(std::span<const CarryStates> parts) {
  CarryStates all = join_affine(parts);
  if (parts.empty()) return all;
  for (const auto& entry : parts.front().appended()) all.put_rows(entry.first, join(parts, entry.first));
  return all;
}

CarryStates join_sequences(std::span<const CarryStates> parts) {
  CarryStates all = join_affine(parts);
  for (int64_t b = 0; b < std::ssize(parts); ++b) {
    for (const auto& [key, rows] : parts[static_cast<size_t>(b)].appended()) all.put_row(key, b, rows);
  }
  return all;
}

CarryStates sequence_of(const CarryStates& states, int64_t b) {
  CarryStates part = affine_rows_of(states, b, 1, Memory::kHost);
  for (const auto& [key, of_sequence] : states.ragged())
    part.put_rows(key, of_sequence[static_cast<size_t>(b)]);
  return part;
}

CarryStates rows_of(const CarryStates& states, int64_t first, int64_t count, Memory memory) {
  CarryStates part = affine_rows_of(states, first, count, memory);
  for (const auto& [key, rows] : states.appended()) {
    const Buffer all = held_rows(rows);
    const int64_t tokens = tokens_in(rows);
    const View mine = all.view().row_range(first * tokens, count * tokens);
    const RowFormat& format = rows.store->format();
    AppendedRows on_host = store_of(format, mine.reshaped({count, tokens, format.width()}));
    on_host.store = std::make_shared<RowStore>(on_host.store->copy_in(memory));
    part.put_rows(key, std::move(on_host));
  }
  return part;
}

}  // namespace natrix
