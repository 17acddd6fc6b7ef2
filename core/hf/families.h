// The table of Hugging Face families.
//
// A new family is one file that fills an HfFamily, and here one row: its function and its place in the table.
#pragma once

#include "core/hf/family.h"

namespace natrix {

HfFamily mamba_family();
HfFamily falcon_mamba_family();
HfFamily mamba2_family();
HfFamily jamba_family();
HfFamily falcon_h1_family();
HfFamily granite_moe_hybrid_family();
HfFamily bamba_family();
HfFamily llama_family();
HfFamily nemotron_h_family();
HfFamily natrix_family();

/// The families that Natrix comes with.
const HfFamilies& hf_families();

/// The family that `config` is written as, and whose names its tensors have.
const HfFamily& hf_family(const ModelConfig& config, const HfFamilies& families = hf_families());
/// The family that reads a config.json of this model_type; null if there is none.
const HfFamily* find_hf_family(std::string_view model_type, const HfFamilies& families = hf_families());
/// "MambaForCausalLM, … and what natrix itself saves": for messages.
std::string readable_hf_families(const HfFamilies& families = hf_families());

/// The names of the model's tensors in its family.
HfNames hf_names(const ModelConfig& config, const HfFamilies& families = hf_families());
/// Says in each part of the parameters which slice of the files' tensors it is. A model needs this once, when
/// its layers are made.
void set_file_slices(const ModelConfig& config, const std::vector<Param*>& params,
                     const HfFamilies& families = hf_families());

}  // namespace natrix
