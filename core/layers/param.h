// Param: one trainable tensor. A layer's visit() list of them serves
// initialisation, AdamW, checkpoints and names.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/packed_weight.h"

namespace natrix {

/// How a fresh tensor is filled, see core/layers/init.h.
enum class Init { kNormal, kZeros, kOnes, kUniform, kResidualOut, kDtBias, kALog };

/// A stretch of a Param under a name of its own in the checkpoint: the whole, or one expert of a stack.
struct ParamPart {
  std::string
      name;     // the name in the HF checkpoint, e.g. "model.layers.1.feed_forward.experts.3.up_proj.weight"
  Shape shape;  // the shape there, e.g. [d_inner, 1, K] for conv1d.weight
  int64_t first = 0;  // offset of its first element in the Param
};

struct Param {
  std::string name;  // unique in the model
  Shape shape;
  Init init = Init::kNormal;
  int64_t fan_in = 1;     // inputs that one output sums over; the last extent unless stated
  bool decays = false;    // weight decay applies
  bool trainable = true;  // false: a buffer such as the selection bias; saved, but not AdamW's
  bool packs = false;     // only multiplied by or looked up in: may be packed where nothing is trained
  bool rounds = false;    // an operand of products with activations: bf16 where those are
  /// Spread over ranks along the leading extent: rows [spread_first, spread_first + shape[0]) of spread_of
  /// are here, as experts are under expert parallelism. 0: all of it is.
  int64_t spread_first = 0, spread_of = 0;
  std::vector<ParamPart> parts;
  View value, grad;         // set by ParamStore; grad accumulates (+=) over backward calls
  bool grad_unset = false;  // grad counts as zero, whatever is there; adds_to_gradient() says what for
  View rounded;  // value in bf16, where activations are bf16 and `rounds`. Who writes value writes it too
  PackedWeight packed;  // instead of value once ParamStore::pack() has been called, where `packs`
};

/// What a product with activations of this dtype multiplies by.
inline View operand(const Param& p, Dtype activations) {
  require(activations != Dtype::kBF16 || p.rounded, "a parameter without a bf16 copy meets bf16 activations");
  return activations == Dtype::kBF16 ? p.rounded : p.value;
}

/// Whether a product that computes p.grad adds to what is there. After ParamStore::zero_gradients() the first
/// one does not and writes instead, so that the largest gradients need not be zeroed in memory, nor read.
inline bool adds_to_gradient(Param& p) {
  return !std::exchange(p.grad_unset, false);
}

/// After a change of value on the host's side: AdamW, on the device, does it itself.
void refresh_rounded(const Param& p);

/// The shape of the whole tensor, wherever its parts are.
inline Shape whole_shape(const Param& p) {
  if (p.spread_of == 0) return p.shape;
  Shape whole{p.spread_of};
  for (int i = 1; i < p.shape.rank(); ++i) whole.push_back(p.shape[i]);
  return whole;
}

using ParamVisitor = std::function<void(Param&)>;

}  // namespace natrix
