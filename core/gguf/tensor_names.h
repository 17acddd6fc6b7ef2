// TensorNames: finds the rules of an architecture for the names of tensors, in both directions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/gguf/architecture.h"

namespace natrix {

class TensorNames {
 public:
  TensorNames(const GgufArchitecture& architecture, const ModelConfig& config);

  struct Match {
    const TensorRule* rule = nullptr;
    int64_t layer = 0, expert = 0;
  };
  /// All rules that make a GGUF tensor of this HF tensor; none for a name that the architecture does not have.
  std::vector<Match> of_hf(std::string_view name) const;
  /// The rule that reads a GGUF tensor, as layer and expert 0 of it for kExperts. Derived rules included.
  std::optional<Match> of_gguf(std::string_view name) const;
  std::string hf_name(const Match& match) const;
  std::string gguf_name(const Match& match) const;

 private:
  std::vector<TensorRule> rules_;
  std::string layers_;  // what precedes a layer's number in Hugging Face, such as "model.layers."
};

}  // namespace natrix
