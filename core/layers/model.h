// Model: embedding, a stack of residual sublayers x + f(norm(x)), a final norm, and a head.
//
// launch/assemble makes the layers from the pattern string. This file knows only the interface Layer.
#pragma once

#include <memory>
#include <vector>

#include "configs/schema/model.h"
#include "core/layers/lm_head.h"

namespace natrix {

class ParamStore;

struct ParameterCount {
  int64_t total = 0;
  int64_t active = 0;  // those that the forward pass of one token reads
};

/// Called while backward runs: the gradients of params()[first] and of all later parameters are complete.
using GradientsDone = std::function<void(size_t first)>;

class Model {
 public:
  /// Names of the tensors outside the layers.
  struct Names {
    std::string embedding, final_norm, head;
  };
  Model(ModelConfig config, const Names& names);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  /// Appends a sublayer. norm_name is the name of its norm's weight.
  void append(const std::string& norm_name, std::unique_ptr<Layer> layer);
  /// Allocates all parameters and their gradients (zero), in the memory of the context that will run the
  /// model. Call it once, after the last append(). `dtype` is that of activations. With bf16, these stay f32:
  /// parameters and their gradients, the residual stream, carried states, Δ, the router, the norms'
  /// statistics, logits and the loss.
  void allocate(Dtype dtype, bool with_gradients, Memory memory = Memory::kHost);
  /// Converts large weights to a packed format (kernels/packed_weight.h). The model must be f32 and without
  /// gradients. Afterwards it is read-only, and nothing may read a packed Param's value: save before.
  void pack(Context& ctx, WeightFormat format);
  /// Frees the f32 values of weights that are read in bf16. With f32 activations nothing changes. As for
  /// pack(), the model must have no gradients, is read-only afterwards, and must be saved before.
  void keep_rounded();

  /// tokens [B, T] i64 → the final norm's output [B, T, D], in the arena.
  /// If pass.keeps(), pushes what backward() pops.
  View hidden(Pass& pass, View tokens) const;
  /// Runs hidden() only for the layers' side effects (Layer::leaves_behind), and skips whatever would only
  /// compute the output.
  void pass_over(Pass& pass, View tokens) const;
  /// Whether hidden() of this many tokens, without backward, can be captured.
  bool runs_ahead(int64_t tokens) const;
  /// Adds to all gradients, given the gradient of hidden() [B, T, D] (overwritten). Gradients are completed
  /// from the last parameter to the first. The head's backward must have run before. ContractError if the
  /// head or a layer left the gradient of a weight unset since zero_gradients().
  void backward(Pass& pass, View dhidden, const GradientsDone& done = {});

  LmHead& head() { return *head_; }
  const LmHead& head() const { return *head_; }
  const ModelConfig& config() const { return config_; }
  /// The dtype of parameters, gradients, carried states and the residual stream.
  Dtype dtype() const;

  /// Calls the visitor with every parameter once, in the order of the stack.
  void visit(const ParamVisitor& visitor);
  std::vector<Param*> params();
  /// Sets all gradients to zero before a step; see ParamStore::zero_gradients().
  void zero_gradients(Context& ctx);
  /// The states that the model carries across a segment boundary: the position, if a layer uses it, then the
  /// layers' lists in the order of the stack.
  CarryList carries() const;
  ParameterCount count_parameters();
  /// The largest number of experts of a layer; 0 for a model without experts.
  int64_t experts() const;
  /// Whether the gradient of a step needs the complete tally (a load-balancing loss).
  bool needs_tally() const;
  /// Calls Layer::after_step() of every layer. Call it after an optimizer step, with the step's tally.
  void after_step(const StepTally& tally);

 private:
  struct Sublayer {
    Param norm;
    std::unique_ptr<Layer> layer;
    std::string forward_name, backward_name;  // "M 3 forward", in profiles
  };
  struct Saved {
    View tokens;
    std::vector<View> sums, inv_rms;  // each norm's input and the 1 / rms of its rows; the final norm is last
  };
  struct Stream {  // between two sublayers
    View x;        // the residual stream
    View u;        // the norm of x, which the next sublayer reads
    View inv_rms;  // 1 / rms of each row of x; empty unless pass.keeps()
  };
  View embed(Pass& pass, View tokens) const;
  Stream enter(Pass& pass, View tokens) const;
  Stream through(Pass& pass, size_t sublayer, const Stream& before) const;
  std::vector<size_t> first_params();  // index in params() of each sublayer's first, then of the final norm
  const Param& norm_after(size_t sublayers) const;  // the norm of the next sublayer, or the final norm

  ModelConfig config_;
  Dtype activations_ = Dtype::kF32;
  Param embedding_, final_norm_, head_weight_;
  std::unique_ptr<LmHead> head_;
  std::vector<Sublayer> stack_;
  bool uses_position_ = false;
  std::unique_ptr<ParamStore> store_;
};

}  // namespace natrix
