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

/// How two consecutive segments compose. kAffine: S_out = decay ⊙ S_in + state; the size of the state does not
/// depend on the sequence's length. kAppend: the rows of the second segment follow those of the first.
enum class CarryKind { kAffine, kAppend };

/// One carried state of one layer. Its index in Layer::carries() is CarryKey::part.
struct CarrySpec {
  std::string part;  // name in files, such as "ssm_state"
  /// affine: shape for one row of the batch. append: [2, heads, head_dim], the keys and values of a token.
  Shape row;
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

  bool appends() const { return spec.kind == CarryKind::kAppend; }
  Shape shape(int64_t batch) const;                  // affine: [B, row…]
  Shape shape(int64_t batch, int64_t tokens) const;  // append: [B, tokens, row…]
  RowFormat row_format() const;                      // of an append carry
};

/// In the order of the stack.
using CarryList = std::vector<CarriedState>;

/// Bytes of all affine states for `batch` rows.
int64_t bytes_of(const CarryList& list, int64_t batch);

/// Bytes that the append carries of one row of the batch grow by with every token; 0 for a model without any.
int64_t bytes_per_token(const CarryList& list);

/// Bytes of the pages in which append carries hold `tokens` tokens of `batch` rows.
int64_t bytes_of_rows(const CarryList& list, int64_t batch, int64_t tokens);

/// The fewest tokens of a segment whose maps can all be computed without the entering states.
int64_t fewest_tokens(const CarryList& list);

/// Every declared affine state, zero, in host memory. Append carries have no rows.
CarryStates zero_states(const CarryList& list, int64_t batch);

/// A copy of `states` in host memory, with zero for every declared state that it lacks.
CarryStates complete_states(const CarryList& list, const CarryStates& states, int64_t batch);

/// The tensors of `states` under their names in files: affine states as [B, row…], appended rows as
/// [B, tokens, row…], from the first token whose rows are held.
class NamedStates {
 public:
  /// `states` is borrowed, in any memory. ContractError if `list` lacks one of the states.
  NamedStates(const CarryList& list, const CarryStates& states);
  const std::vector<NamedTensor>& tensors() const { return tensors_; }

 private:
  std::vector<Buffer> gathered_;  // appended rows, which lie in pages
  std::vector<NamedTensor> tensors_;
};

/// Puts a tensor of the form that NamedStates lists into `states`, in host memory.
void put_state(CarryStates& states, const CarriedState& carried, View tensor);

/// Reads the states of `batch` rows from `file`, which may hold nothing else but the tensors in `others`.
/// InputError names a tensor that is declared but missing, present but not declared, or of another shape or
/// dtype. `advice` ends the message about another shape or dtype.
CarryStates read_states(const Safetensors& file, const CarryList& list, int64_t batch,
                        const std::string& advice, const std::vector<std::string>& others = {});

}  // namespace natrix
