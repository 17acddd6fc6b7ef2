#include "core/carry/carry_spec.h"

#include <algorithm>
#include <fmt/format.h>

namespace natrix {

Shape CarriedState::shape(int64_t batch) const {
  Shape s{batch};
  for (int i = 0; i < spec.row.rank(); ++i) s.push_back(spec.row[i]);
  return s;
}

int64_t bytes_of(const CarryList& list, int64_t batch) {
  int64_t n = 0;
  for (const CarriedState& c : list) n += c.shape(batch).count() * size_of(c.spec.dtype);
  return n;
}

int64_t fewest_tokens(const CarryList& list) {
  int64_t n = 1;
  for (const CarriedState& c : list) n = std::max(n, c.spec.fewest_tokens);
  return n;
}

CarryStates zero_states(const CarryList& list, int64_t batch) {
  CarryStates states;
  for (const CarriedState& c : list) states.put(c.key, Buffer(c.spec.dtype, c.shape(batch)).view());
  return states;
}

std::vector<NamedTensor> named_states(const CarryList& list, const CarryStates& states) {
  std::vector<NamedTensor> tensors;
  for (const auto& [key, buffer] : states.entries()) {
    const auto declared = std::ranges::find(list, key, &CarriedState::key);
    require(declared != list.end(), "a carried state that no layer declares");
    tensors.push_back({declared->name, buffer.view()});
  }
  return tensors;
}

CarryStates read_states(const Safetensors& file, const CarryList& list, int64_t batch,
                        const std::string& advice) {
  for (const auto& stored : file.tensors()) {
    if (std::ranges::find(list, stored.first, &CarriedState::name) == list.end()) {
      throw InputError(fmt::format("{}: tensor {} is a state that no layer of this model carries",
                                   file.path(), stored.first));
    }
  }
  CarryStates states;
  for (const CarriedState& c : list) {
    const View stored = file.at(c.name);  // InputError where there is none
    const Shape shape = c.shape(batch);
    if (stored.shape != shape || stored.dtype != c.spec.dtype) {
      throw InputError(fmt::format("{}: tensor {} is {}; expected {}{}: {}", file.path(), c.name,
                                   stored.to_string(), name_of(c.spec.dtype), shape.to_string(), advice));
    }
    states.put(c.key, stored);
  }
  return states;
}

}  // namespace natrix
