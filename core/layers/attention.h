// Causal attention with grouped queries (kernels/attention.h).
//
//   [q; k; v] = W x          q and k are turned by their positions, if the model has rotary embeddings
//   y_i       = Σ_j softmax_j(scale · q_i · k_j) v_j       over the keys of the document so far
//   out       = W_o y
//
// The same forward trains, prefills and decodes. It carries keys and values: an append carry. Their memory
// grows with the sequence; see core/carry/row_store.h.
#pragma once

#include "configs/schema/model.h"
#include "core/layers/linear.h"

namespace natrix {

class Attention final : public Layer {
 public:
  /// layer: index in the stack. first_part: CarryKey::part of its carry, if other mixers share the sublayer.
  /// prefix: start of its tensors' names.
  Attention(const ModelConfig& config, int layer, int first_part, const std::string& prefix);

  View forward(Pass& pass, View x) const override;
  bool leaves_behind(Visit) const override { return true; }
  /// Only adds the segment's keys and values.
  void pass_over(Pass& pass, View x) const override;
  /// The number of keys changes with every token.
  bool runs_ahead(int64_t) const override { return false; }
  View backward(Pass& pass, View dout) override;
  void visit(const ParamVisitor& visitor) override;
  std::vector<CarrySpec> carries() const override;
  bool uses_position() const override { return true; }

 private:
  struct Appended {
    View qkv;  // [B, T, (H + 2 G) D]: turned queries and keys, and values
    History history;
  };
  struct Saved {
    View x, qkv, y, lse, position;
    History history;
  };
  Appended append(Pass& pass, View x) const;
  /// forward() of sequences of different lengths: one product for all, then the attention of each by itself.
  View forward_ragged(Pass& pass, View x) const;
  /// Turns queries and keys in place, or back.
  void turn(Pass& pass, View qkv, View position, bool back) const;
  RowFormat row_format(View qkv) const {
    return {.dtype = qkv.dtype, .heads = kv_heads_, .head_dim = head_dim_};
  }
  View queries(View qkv) const { return qkv.columns(0, heads_ * head_dim_); }
  View keys_values(View qkv) const { return qkv.columns(heads_ * head_dim_, 2 * kv_heads_ * head_dim_); }
  CarryKey key() const { return {layer_, part_}; }

  int layer_, part_;
  int64_t heads_, kv_heads_, head_dim_, window_;
  double scale_, magnitude_;
  std::vector<double> frequencies_;  // empty without rotary embeddings
  Linear qkv_, out_proj_;
};

}  // namespace natrix
