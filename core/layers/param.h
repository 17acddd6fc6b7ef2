// Param: one tensor of a model, usually trainable. Initialisation, AdamW and checkpoints reach a layer's
// parameters through its visit().
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/packed_weight.h"

namespace natrix {

/// How a fresh tensor is filled; see core/layers/init.h.
enum class Init { kNormal, kZeros, kOnes, kUniform, kResidualOut, kDtBias, kALog };

/// A contiguous range of a tensor in a checkpoint's files.
struct FileSlice {
  std::string name;   // of the tensor in the files
  Shape shape;        // of the whole tensor
  int64_t first = 0;  // offset of the range's first element
};

/// A contiguous part of a Param that has its own name in the checkpoint: all of it, or one expert of a stack.
struct ParamPart {
  std::string name;  // name in the HF checkpoint, e.g. "model.layers.1.feed_forward.experts.3.up_proj.weight"
  Shape shape;       // shape in the checkpoint, e.g. [d_inner, 1, K] for conv1d.weight
  int64_t first = 0;  // offset of its first element in the Param
  /// Where the files hold the part if not as a tensor of this name and shape. Several parts may be slices of
  /// one tensor. The model's family sets this (core/hf/family.h).
  std::optional<FileSlice> slice = {};
};

struct Param {
  std::string name;  // unique in the model
  Shape shape;
  Init init = Init::kNormal;
  int64_t fan_in = 1;     // number of inputs that one output sums over; by default the last extent
  bool decays = false;    // weight decay applies
  bool trainable = true;  // false: a buffer such as the selection bias; it is saved, but has no gradient
  bool packs = false;     // used only in products and lookups, so it may be packed when nothing is trained
  bool rounds = false;    // an operand of products with activations, so it is bf16 when activations are
  /// Sharded over ranks along the leading extent, as experts are under expert parallelism: this rank owns
  /// rows [spread_first, spread_first + shape[0]) of spread_of. 0: this rank has the whole parameter.
  int64_t spread_first = 0, spread_of = 0;
  std::vector<ParamPart> parts;
  View value, grad;         // set by ParamStore; grad accumulates (+=) over backward calls
  bool grad_unset = false;  // grad counts as zero, whatever its memory holds; see adds_to_gradient()
  View rounded;             // a bf16 copy of value if activations are bf16 and `rounds`; update both together
  PackedWeight packed;      // replaces value after ParamStore::pack() if `packs`
};

/// The operand of products with activations of this dtype: value, or its bf16 copy.
inline View operand(const Param& p, Dtype activations) {
  require(activations != Dtype::kBF16 || p.rounded, "a parameter without a bf16 copy meets bf16 activations");
  return activations == Dtype::kBF16 ? p.rounded : p.value;
}

/// Whether a product that computes p.grad must add to it. The first product after
/// ParamStore::zero_gradients() overwrites instead, so the largest gradients are neither zeroed nor read.
inline bool adds_to_gradient(Param& p) {
  return !std::exchange(p.grad_unset, false);
}

/// Recomputes `rounded` after the host changed `value`. AdamW updates `rounded` itself.
void refresh_rounded(const Param& p);

/// The shape of the whole tensor, including the shards of other ranks.
inline Shape whole_shape(const Param& p) {
  if (p.spread_of == 0) return p.shape;
  Shape whole{p.spread_of};
  for (int i = 1; i < p.shape.rank(); ++i) whole.push_back(p.shape[i]);
  return whole;
}

using ParamVisitor = std::function<void(Param&)>;

}  // namespace natrix
