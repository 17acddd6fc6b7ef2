#include "core/carry/carry_route.h"

namespace natrix {

History append_to(AppendedRows before, View rows) {
  const int64_t batch = rows.extent(0), count = rows.rows() / batch;
  if (!before.store) {
    before.store = std::make_shared<RowStore>(rows.dtype, batch, rows.cols(), memory_of(rows.data));
  }
  before.store->write(before.length, rows);
  return {.rows = before.store, .first = before.length, .length = before.length + count};
}

namespace {

std::shared_ptr<RowStore> empty_like(const RowStore& rows) {
  return std::make_shared<RowStore>(rows.dtype(), rows.batch(), rows.width(), rows.memory());
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

History LocalRoute::append(CarryKey key, View rows) {
  History history = append_to(entering_.rows_at(key), rows);
  leaving_.put_rows(key, {history.rows, history.length});
  return history;
}

History LocalRoute::row_gradients(CarryKey key, const History& history) {
  AppendedRows later = entering_.rows_at(key);
  if (!later.store) later.store = empty_like(*history.rows);
  later.store->own();
  later.store->grow_zero(history.length);
  leaving_.put_rows(key, {later.store, history.first});
  return {.rows = later.store, .first = history.first, .length = history.length};
}

void LocalRoute::collect(CarryKey, const History& gradients, View rows) {
  gradients.rows->read(gradients.first, rows);
  gradients.rows->truncate(gradients.first);
}

History CutRoute::row_gradients(CarryKey, const History& history) {
  std::shared_ptr<RowStore> own = empty_like(*history.rows);
  own->grow_zero(history.length, history.first);
  return {.rows = std::move(own), .first = history.first, .length = history.length};
}

void CutRoute::collect(CarryKey, const History& gradients, View rows) {
  gradients.rows->read(gradients.first, rows);
}

}  // namespace natrix
