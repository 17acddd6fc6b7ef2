// The states that a model carries across a segment boundary, as its layers declare them.
//
// Layer::carries() lists the states of one layer; Model::carries() collects these lists. The memory budget of
// boundaries, zero states, state files, run checkpoints, `inspect` and the planner read only that list. A
// layer that declares a new state therefore needs no other change.
#pragma once

#include <string>
#include <vector>

#include "core/carry/carry_states.h"
#include "core/files/safetensors.h"

namespace natrix {

/// How the maps of two consecutive segments compose. kAffine: S_out = decay ⊙ S_in + state; the size of the
/// state does not depend on the sequence's length.
enum class CarryKind { kAffine };

/// One carried state of one layer. Its index in Layer::carries() is CarryKey::part.
struct CarrySpec {
  std::string part;  // name in files, such as "ssm_state"
  Shape row;         // shape for one row of the batch
  Dtype dtype = Dtype::kF32;
  /// The fewest tokens of a segment whose map can be computed without the entering state. This matters only
  /// where ranks combine maps (parallel.cp_link: scan).
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

/// Bytes of all states for `batch` rows.
int64_t bytes_of(const CarryList& list, int64_t batch);

/// The fewest tokens of a segment whose maps can all be computed without the entering states.
int64_t fewest_tokens(const CarryList& list);

/// Every declared state, zero, in host memory.
CarryStates zero_states(const CarryList& list, int64_t batch);

/// The tensors of `states` under their names in files. ContractError if `list` lacks one of the states.
std::vector<NamedTensor> named_states(const CarryList& list, const CarryStates& states);

/// Reads the states of `batch` rows from `file`, which may hold nothing else. InputError names a tensor that
/// is declared but missing, present but not declared, or of another shape or dtype. `advice` ends the message
/// about another shape or dtype.
CarryStates read_states(const Safetensors& file, const CarryList& list, int64_t batch,
                        const std::string& advice);

}  // namespace natrix
