#include "core/carry/carry_spec.h"

#include <algorithm>
#include <fmt/format.h>

namespace natrix {

Shape CarriedState::shape(int64_t batch) const {
  Shape s{batch};
  for (int i = 0; i < spec.row.rank(); ++i) s.push_back(spec.row[i]);
  return s;
}

Shape CarriedState::shape(int64_t batch, int64_t tokens) const {
  Shape s{batch, tokens};
  for (int i = 0; i < spec.row.rank(); ++i) s.push_back(spec.row[i]);
  return s;
}

RowFormat CarriedState::row_format() const {
  require(appends() && spec.row.rank() == 3 && spec.row[0] == 2,
          "an append carry has rows [2, heads, head_dim]");
  return {.dtype = spec.dtype, .heads = spec.row[1], .head_dim = spec.row[2]};
}

int64_t bytes_of(const CarryList& list, int64_t batch) {
  int64_t n = 0;
  for (const CarriedState& c : list) n += c.appends() ? 0 : c.shape(batch).count() * size_of(c.spec.dtype);
  return n;
}

int64_t bytes_per_token(const CarryList& list) {
  int64_t n = 0;
  for (const CarriedState& c : list) n += c.appends() ? c.spec.row.count() * size_of(c.spec.dtype) : 0;
  return n;
}

int64_t bytes_of_rows(const CarryList& list, int64_t batch, int64_t tokens) {
  int64_t n = 0;
  for (const CarriedState& c : list)
    n += c.appends() ? RowStore::bytes_for(c.row_format(), batch, tokens) : 0;
  return n;
}

int64_t fewest_tokens(const CarryList& list) {
  int64_t n = 1;
  for (const CarriedState& c : list) n = std::max(n, c.spec.fewest_tokens);
  return n;
}

CarryStates zero_states(const CarryList& list, int64_t batch) {
  CarryStates states;
  for (const CarriedState& c : list) {
    if (c.appends()) {
      states.put_rows(c.key, {std::make_shared<RowStore>(c.row_format(), batch, Memory::kHost)});
    } else {
      states.put(c.key, Buffer(c.spec.dtype, c.shape(batch)).view());
    }
  }
  return states;
}

CarryStates complete_states(const CarryList& list, const CarryStates& states, int64_t batch) {
  CarryStates all = zero_states(list, batch);
  const CarryStates here = copy_of(states, Memory::kHost);
  for (const auto& [key, buffer] : here.entries()) copy(buffer.view(), all.at(key));
  for (const auto& [key, rows] : here.appended()) all.put_rows(key, rows);
  return all;
}

NamedStates::NamedStates(const CarryList& list, const CarryStates& states) {
  const auto declared = [&](CarryKey key) -> const CarriedState& {
    const auto found = std::ranges::find(list, key, &CarriedState::key);
    require(found != list.end(), "a carried state that no layer declares");
    return *found;
  };
  for (const auto& [key, buffer] : states.entries()) tensors_.push_back({declared(key).name, buffer.view()});
  for (const auto& [key, rows] : states.appended()) {
    const CarriedState& carried = declared(key);
    const RowStore& store = *rows.store;
    const int64_t first = store.begin(), count = rows.length - first;
    const Buffer& all = gathered_.emplace_back(carried.spec.dtype, carried.shape(store.batch(), count));
    Context copies(Backend::kReference, 1);
    if (count > 0)
      store.read(copies, first, all.view().reshaped({store.batch(), count, carried.spec.row.count()}));
    tensors_.push_back({carried.name, all.view()});
  }
}

namespace {

/// Appended rows from a tensor [B, tokens, row…].
AppendedRows stored_rows(const CarriedState& carried, View tensor) {
  const int64_t batch = tensor.extent(0), count = tensor.extent(1);
  auto store = std::make_shared<RowStore>(carried.row_format(), batch, Memory::kHost);
  Context copies(Backend::kReference, 1);
  if (count > 0) store->write(copies, 0, tensor.reshaped({batch, count, carried.spec.row.count()}));
  return {std::move(store), count};
}

}  // namespace

void put_state(CarryStates& states, const CarriedState& carried, View tensor) {
  if (carried.appends()) {
    states.put_rows(carried.key, stored_rows(carried, tensor));
  } else {
    states.put(carried.key, tensor);
  }
}

CarryStates read_states(const Safetensors& file, const CarryList& list, int64_t batch,
                        const std::string& advice, const std::vector<std::string>& others) {
  for (const auto& stored : file.tensors()) {
    if (std::ranges::find(list, stored.first, &CarriedState::name) == list.end() &&
        std::ranges::find(others, stored.first) == others.end()) {
      throw InputError(fmt::format("{}: tensor {} is a state that no layer of this model carries",
                                   file.path(), stored.first));
    }
  }
  CarryStates states;
  for (const CarriedState& c : list) {
    const View stored = file.at(c.name);  // InputError where there is none
    const bool has_tokens = c.appends() && stored.shape.rank() > 1;
    const Shape shape = c.appends() ? c.shape(batch, has_tokens ? stored.extent(1) : 0) : c.shape(batch);
    if (stored.shape != shape || stored.dtype != c.spec.dtype) {
      throw InputError(fmt::format("{}: tensor {} is {}; expected {}{}: {}", file.path(), c.name,
                                   stored.to_string(), name_of(c.spec.dtype), shape.to_string(), advice));
    }
    put_state(states, c, stored);
  }
  return states;
}

}  // namespace natrix
