#include "core/hf/families.h"

#include <algorithm>

namespace natrix {

const HfFamilies& hf_families() {
  static const HfFamilies table = {
      mamba_family(), falcon_mamba_family(), mamba2_family(),
      jamba_family(), falcon_h1_family(),    granite_moe_hybrid_family(),
      bamba_family(), llama_family(),        nemotron_h_family(),
      natrix_family()  // last: it expresses every model
  };
  return table;
}

const HfFamily& hf_family(const ModelConfig& config, const HfFamilies& families) {
  const auto found = std::ranges::find_if(families, [&](const HfFamily& f) { return f.expresses(config); });
  require(found != families.end(), "no Hugging Face family expresses this model");
  return *found;
}

const HfFamily* find_hf_family(std::string_view model_type, const HfFamilies& families) {
  const auto found = std::ranges::find(families, model_type, &HfFamily::model_type);
  return found == families.end() ? nullptr : &*found;
}

std::string readable_hf_families(const HfFamilies& families) {
  std::string text;
  for (size_t i = 0; i < families.size(); ++i) {
    if (i > 0) text += i + 1 == families.size() ? ", and " : ", ";
    text += families[i].reads;
  }
  return text;
}

HfNames hf_names(const ModelConfig& config, const HfFamilies& families) {
  return hf_family(config, families).names(config);
}

void set_file_slices(const ModelConfig& config, const std::vector<Param*>& params,
                     const HfFamilies& families) {
  const HfFamily& family = hf_family(config, families);
  if (family.slice == nullptr) return;
  for (Param* param : params) {
    for (ParamPart& part : param->parts) part.slice = family.slice(config, part);
  }
}

}  // namespace natrix
