#include <algorithm>
#include <fmt/format.h>

#include "core/gguf/architecture.h"
#include "core/hf/families.h"
#include "kernels/base/check.h"

namespace natrix {

const std::vector<GgufArchitecture>& gguf_architectures() {
  static const std::vector<GgufArchitecture> table = {
      mamba_gguf(),          mamba2_gguf(),         jamba_gguf(),     nemotron_h_gguf(),
      nemotron_h_moe_gguf(), granite_hybrid_gguf(), falcon_h1_gguf(), llama_gguf()};
  return table;
}

const GgufArchitecture* find_gguf_architecture(std::string_view name) {
  const auto found = std::ranges::find(gguf_architectures(), name, &GgufArchitecture::name);
  return found == gguf_architectures().end() ? nullptr : &*found;
}

const GgufArchitecture& gguf_architecture_of(const ModelConfig& config) {
  for (const GgufArchitecture& a : gguf_architectures()) {
    if (a.expresses(config)) return a;
  }
  throw InputError(fmt::format("a model of {} cannot be written as GGUF; it can hold {}",
                               hf_family(config).name, readable_gguf_architectures()));
}

std::string readable_gguf_architectures() {
  std::string text;
  const auto& table = gguf_architectures();
  for (size_t i = 0; i < table.size(); ++i) {
    if (i > 0) text += i + 1 == table.size() ? " and " : ", ";
    text += table[i].name;
  }
  return text;
}

}  // namespace natrix
