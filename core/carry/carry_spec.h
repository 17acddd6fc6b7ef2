// What a model carries across a segment boundary, as its layers declare it.
//
// Layer::carries() lists what one layer carries; Model::carries() collects the lists. Budgets for boundaries,
// zero states, state files, checkpoints of a run, `inspect` and the planner read that list and nothing else,
// so a layer that declares a new state needs no other change.
#pragma once

#include <string>
#include <vector>

#include "core/carry/carry_states.h"
#include "core/files/safetensors.h"

namespace natrix {

/// How the carries of two consecutive segments compose. Affine: S_out = decay ⊙ S_in + state; the size of the
/// state does not depend on the length of the sequence.
enum class CarryKind { kAffine };

/// One carried state of one layer. Its place in Layer::carries() is CarryKey::part.
struct CarrySpec {
  std::string part;  // its name in files, such as "ssm_state"
  Shape row;         // of one row of the batch
  Dtype dtype = Dtype::kF32;
  /// Tokens that a segment must have for its map to be computed without the entering state. It matters where
  /// ranks combine maps (parallel.cp_link: scan).
  int64_t fewest_tokens = 1;
  CarryKind kind = CarryKind::kAffine;
};

struct CarriedState {
  CarryKey key;
  std::string name;  // in files: "layers.3.ssm_state"
  CarrySpec spec;

  Shape shape(int64_t batch) const;  // [B, row…]
};

/// In the order of the stack.
using CarryList = std::vector<CarriedState>;

/// Bytes of all states together, for `batch` rows.
int64_t bytes_of(const CarryList& list, int64_t batch);

/// Tokens that a segment must have so that all its maps can be computed without the entering states.
int64_t fewest_tokens(const CarryList& list);

/// States with every declared state present (zero), in the host's memory.
CarryStates zero_states(const CarryList& list, int64_t batch);

/// The tensors of `states` under their names in files. ContractError for a state that `list` does not have.
std::vector<NamedTensor> named_states(const CarryList& list, const CarryStates& states);

/// The states that `file` holds for `batch` rows. InputError names a state that is declared and not in the
/// file, one that is in the file and not declared, or one of another shape or dtype; `advice` ends that last
/// message. The file holds nothing else.
CarryStates read_states(const Safetensors& file, const CarryList& list, int64_t batch,
                        const std::string& advice);

}  // namespace natrix
