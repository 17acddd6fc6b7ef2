#include "core/carry/carry_states.h"

#include <optional>

namespace natrix {

View CarryStates::at(CarryKey key) const {
  auto it = states_.find(key);
  return it == states_.end() ? View{} : it->second.view();
}

void CarryStates::put(CarryKey key, View state) {
  if (!state) {
    states_.erase(key);
    return;
  }
  if (state.data == at(key).data) return;
  make(key, state.dtype, state.shape, memory_of(state.data));
  copy(state, states_[key].view());
}

void CarryStates::make(CarryKey key, Dtype dtype, const Shape& shape, Memory memory) {
  Buffer& slot = states_[key];
  const bool fits =
      slot && slot.view().shape == shape && slot.view().dtype == dtype && slot.memory() == memory;
  if (!fits) slot = Buffer(dtype, shape, memory);
}

int64_t CarryStates::bytes() const {
  int64_t n = 0;
  for (const auto& [key, buffer] : states_) n += buffer.bytes();
  return n;
}

AppendedRows CarryStates::rows_at(CarryKey key) const {
  const auto it = appended_.find(key);
  return it == appended_.end() ? AppendedRows{} : it->second;
}

void CarryStates::put_row(CarryKey key, int64_t b, AppendedRows rows) {
  std::vector<AppendedRows>& of_sequence = ragged_[key];
  const auto at = static_cast<size_t>(b);
  if (of_sequence.size() <= at) of_sequence.resize(at + 1);
  of_sequence[at] = std::move(rows);
}

namespace {

AppendedRows copy_of(const AppendedRows& rows, Memory memory) {
  auto store = std::make_shared<RowStore>(rows.store->copy_in(memory));
  store->truncate(rows.length);
  return {std::move(store), rows.length};
}

/// memory: not set: where each store lies.
void copy_ragged(const CarryStates& from, std::optional<Memory> memory, CarryStates& to) {
  for (const auto& [key, of_sequence] : from.ragged()) {
    for (int64_t b = 0; b < std::ssize(of_sequence); ++b) {
      const AppendedRows& rows = of_sequence[static_cast<size_t>(b)];
      to.put_row(key, b, copy_of(rows, memory.value_or(rows.store->memory())));
    }
  }
}

}  // namespace

CarryStates copy_of_rows(const CarryStates& states) {
  CarryStates result;
  for (const auto& [key, rows] : states.appended()) result.put_rows(key, copy_of(rows, rows.store->memory()));
  copy_ragged(states, {}, result);
  return result;
}

CarryStates copy_of(const CarryStates& states) {
  CarryStates result = copy_of_rows(states);
  for (const auto& [key, buffer] : states.entries()) result.put(key, buffer.view());
  return result;
}

CarryStates copy_of(const CarryStates& states, Memory memory) {
  CarryStates result;
  for (const auto& [key, buffer] : states.entries()) {
    result.make(key, buffer.view().dtype, buffer.view().shape, memory);
    copy(buffer.view(), result.at(key));
  }
  for (const auto& [key, rows] : states.appended()) result.put_rows(key, copy_of(rows, memory));
  copy_ragged(states, memory, result);
  return result;
}

}  // namespace natrix
