// Model: embedding, a stack of residual sublayers x + f(norm(x)), a final norm, and a head.
//
// The layers themselves are made by launch/assemble from the pattern string;
// this file knows only their interface.
#pragma once

#include <memory>
#include <vector>

#include "configs/schema/model.h"
#include "core/layers/lm_head.h"

namespace natrix {

class ParamStore;

struct ParameterCount {
  int64_t total = 0;
  int64_t active = 0;  // those that one token's forward pass reads
};

/// Told, while backward runs, that from params()[first] on it will add nothing more to any gradient.
using GradientsDone = std::function<void(size_t first)>;

class Model {
 public:
  /// Names of the tensors outside of the layers.
  struct Names {
    std::string embedding, final_norm, head;
  };
  Model(ModelConfig config, const Names& names);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  /// Appends a sublayer; norm_name: its norm's weight.
  void append(const std::string& norm_name, std::unique_ptr<Layer> layer);
  /// Allocates all parameters and their gradients (zero) where the context that will run the model computes.
  /// Call once, after the last append. dtype: of activations. bf16 leaves f32 what needs it: parameters and
  /// their gradients, the residual stream, carried states, Δ, the router,
  /// norms' statistics, logits, the loss.
  void allocate(Dtype dtype, bool with_gradients, Memory memory = Memory::kHost);
  /// For reading only from now on: large weights in a format that is streamed (kernels/packed_weight.h). The
  /// model is f32 and without gradients; what reads Param::value, as saving does, comes before.
  void pack(Context& ctx, WeightFormat format);
  /// For reading only from now on: of weights that are read in bf16, no f32 is kept. Where activations are
  /// f32 nothing changes. As for pack(), the model is without gradients, and saving comes before.
  void keep_rounded();

  /// tokens [B, T] i64 → the final norm's output [B, T, D], an activation in the arena. Pushes what backward
  /// pops when pass.keeps().
  View hidden(Pass& pass, View tokens) const;
  /// hidden() for what layers leave behind alone (Layer::leaves_behind):
  /// what would only make the output is left out.
  void pass_over(Pass& pass, View tokens) const;
  /// Whether hidden() of so many tokens, without backward, can be recorded.
  bool runs_ahead(int64_t tokens) const;
  /// Adds to all gradients, given the gradient of hidden() [B, T, D] (overwritten): from the top down, so
  /// that they are done from the last to the first. The head's are done before: ContractError where it, or a
  /// layer, left a weight's gradient as zero_gradients() found it.
  void backward(Pass& pass, View dhidden, const GradientsDone& done = {});

  LmHead& head() { return *head_; }
  const LmHead& head() const { return *head_; }
  const ModelConfig& config() const { return config_; }
  /// Of parameters, gradients, carried states and the residual stream.
  Dtype dtype() const;

  /// Every parameter once, in the order of the stack.
  void visit(const ParamVisitor& visitor);
  std::vector<Param*> params();
  /// Before a step: whatever gradients hold counts as zero from now on.
  void zero_gradients(Context& ctx);
  /// What the model carries across a segment boundary: the lists of its layers, in the order of the stack.
  CarryList carries() const;
  ParameterCount count_parameters();
  /// The most experts that parallel.ep may spread over ranks; 0 for a model without any.
  int64_t experts() const;
  /// Whether the gradient of a step needs the completed tally (a load-balancing loss).
  bool needs_tally() const;
  /// After an optimizer step, with its tally: what layers adjust without a gradient.
  void after_step(const StepTally& tally);

 private:
  struct Sublayer {
    Param norm;
    std::unique_ptr<Layer> layer;
    std::string forward_name, backward_name;  // "M 3 forward", in profiles
  };
  struct Saved {
    View tokens;
    std::vector<View> sums, inv_rms;  // input of each norm, the final one last, and 1 / rms of its rows
  };
  struct Stream {  // between two sublayers
    View x;        // the residual stream
    View u;        // its norm, which the next sublayer reads
    View inv_rms;  // where backward needs it
  };
  View embed(Pass& pass, View tokens) const;
  Stream enter(Pass& pass, View tokens) const;
  Stream through(Pass& pass, size_t sublayer, const Stream& before) const;
  std::vector<size_t> first_params();  // in params(), of each sublayer, and of what comes after the last
  const Param& norm_after(size_t sublayers) const;  // of the sublayer that comes next, or the final norm

  ModelConfig config_;
  Dtype activations_ = Dtype::kF32;
  Param embedding_, final_norm_, head_weight_;
  std::unique_ptr<LmHead> head_;
  std::vector<Sublayer> stack_;
  bool uses_position_ = false;
  std::unique_ptr<ParamStore> store_;
};

}  // namespace natrix
