#include "core/layers/carried_shapes.h"

namespace natrix {

std::vector<std::pair<CarryKey, Shape>> carried_shapes(const ModelConfig& c, int64_t batch) {
  std::vector<std::pair<CarryKey, Shape>> shapes;
  const std::string stack = c.stack();
  for (int i = 0; i < static_cast<int>(stack.size()); ++i) {
    if (stack[static_cast<size_t>(i)] != 'M') continue;
    shapes.push_back({{i, CarryPart::kConvTail}, {batch, c.mamba.d_conv - 1, c.d_inner()}});
    shapes.push_back({{i, CarryPart::kSsmState}, {batch, c.d_inner(), c.mamba.d_state}});
  }
  return shapes;
}

int64_t carried_bytes(const ModelConfig& config, int64_t batch, Dtype dtype) {
  int64_t n = 0;
  for (const auto& [key, shape] : carried_shapes(config, batch)) n += shape.count() * size_of(dtype);
  return n;
}

std::string name_of(CarryKey key) {
  const char* part = key.part == CarryPart::kConvTail ? "conv_tail" : "ssm_state";
  return "layers." + std::to_string(key.layer) + "." + part;
}

CarryStates zero_states(const ModelConfig& config, int64_t batch, Dtype dtype) {
  CarryStates states;
  for (const auto& [key, shape] : carried_shapes(config, batch)) states.put(key, Buffer(dtype, shape).view());
  return states;
}

std::vector<NamedTensor> named_states(const CarryStates& states, const std::string& prefix) {
  std::vector<NamedTensor> tensors;
  for (const auto& [key, buffer] : states.entries())
    tensors.push_back({prefix + name_of(key), buffer.view()});
  return tensors;
}

}  // namespace natrix
