#include "core/carry/carry_route.h"

namespace natrix {

History append_to(Context& ctx, AppendedRows before, const RowFormat& format, View rows) {
  if (!before.store) before.store = std::make_shared<RowStore>(format, rows.extent(0), ctx.memory());
  before.store->write(ctx, before.length, rows);
  return {.rows = before.store, .first = before.length, .length = before.length + rows.extent(1)};
}

namespace {

std::shared_ptr<RowStore> zeros_like(const History& history, int64_t from) {
  const RowStore& rows = *history.rows;
  auto store = std::make_shared<RowStore>(rows.format(), rows.batch(), rows.memory());
  store->fill_zero(history.length, from);
  return store;
}

}  // namespace

void LocalRoute::resume(const CarryStates* states) {
  entering_.clear();
  leaving_.clear();
  if (states != nullptr) leaving_ = copy_of(*states);
}

// Segments that run again write the rows that are there already. So they share the boundary's store: a copy
// would duplicate every page.
void LocalRoute::rejoin(const CarryStates& boundary) {
  entering_.clear();
  leaving_.clear();
  for (const auto& [key, buffer] : boundary.entries()) leaving_.put(key, buffer.view());
  for (const auto& [key, rows] : boundary.appended()) leaving_.put_rows(key, rows);
}

History LocalRoute::append(Context& ctx, CarryKey key, const RowFormat& format, View rows) {
  History history = append_to(ctx, entering_.rows_at(key), format, rows);
  leaving_.put_rows(key, {history.rows, history.length});
  return history;
}

History LocalRoute::append_row(Context& ctx, CarryKey key, int64_t b, const RowFormat& format, View rows) {
  const History history = append_to(ctx, entering_.ragged().at(key)[static_cast<size_t>(b)], format, rows);
  leaving_.put_row(key, b, {history.rows, history.length});
  return history;
}

History LocalRoute::row_gradients(CarryKey key, const History& history) {
  AppendedRows later = entering_.rows_at(key);
  if (!later.store) later.store = zeros_like(history, history.rows->begin());
  later.store->own();
  leaving_.put_rows(key, {later.store, history.first});
  return {.rows = later.store, .first = history.first, .length = history.length};
}

void LocalRoute::collect(Context& ctx, CarryKey, const History& gradients, View rows) {
  gradients.rows->read(ctx, gradients.first, rows);
  gradients.rows->truncate(gradients.first);
}

History CutRoute::row_gradients(CarryKey, const History& history) {
  return {.rows = zeros_like(history, history.first), .first = history.first, .length = history.length};
}

void CutRoute::collect(Context& ctx, CarryKey, const History& gradients, View rows) {
  gradients.rows->read(ctx, gradients.first, rows);
}

}  // namespace natrix
