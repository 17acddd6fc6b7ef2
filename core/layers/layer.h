// Layer: a sublayer f of the residual stack  x + f(norm(x)), with an explicit backward.
//
// Explicit and not a tape, because the segment schedule must own memory and order. A layer keeps no state
// between calls but its weights: activations live in the segment's arena,
// carried states arrive through the CarryLink.
#pragma once

#include "core/layers/param.h"
#include "core/layers/save_stack.h"
#include "core/sequence/carry_link.h"
#include "core/sequence/step_tally.h"
#include "kernels/base/context.h"

namespace natrix {

/// The stretch of tokens in hand: B rows of T tokens.
struct Segment {
  int64_t batch = 0, tokens = 0;
  int64_t index = 0;  // unique within a step: names the segment when it is recomputed
  View doc_start;     // [B, T] u8, or empty: no document starts
};

enum class Keep { kNothing, kForBackward };
enum class Visit { kFirst, kAgain };  // again: recomputation, or inference; the tally is left alone

/// Everything a layer may see besides its weights.
struct Pass {
  Context& ctx;
  SaveStack& saved;
  CarryLink& carry;
  StepTally& tally;
  Segment segment;
  Keep keep = Keep::kNothing;
  Visit visit = Visit::kAgain;
  /// Diagnosis: called with each sublayer's index and output.
  const std::function<void(int, View)>* observe = nullptr;

  Arena& arena() const { return ctx.arena(); }
  bool keeps() const { return keep == Keep::kForBackward; }
};

class Layer {
 public:
  virtual ~Layer() = default;
  /// x [B, T, D] → f(x) [B, T, D], in the arena. Pushes what backward pops when pass.keeps().
  virtual View forward(Pass& pass, View x) const = 0;
  /// Whether forward() of so many tokens, without backward, waits for nothing that it computes on the way,
  /// and so can be recorded (kernels/base/recording.h).
  virtual bool runs_ahead(int64_t) const { return true; }
  /// What forward() leaves behind besides its output, without which a pass over tokens is not complete:
  /// states that the next segment starts from, and figures in the tally.
  virtual bool leaves_behind(Visit visit) const = 0;
  /// forward() for what it leaves behind alone: the output is nobody's. Without backward.
  virtual void pass_over(Pass& pass, View x) const { forward(pass, x); }
  /// dy → dx, both [B, T, D]; adds into the gradients of all its parameters (adds_to_gradient(), of weights).
  virtual View backward(Pass& pass, View dy) = 0;
  /// Every parameter, in the order of the checkpoint.
  virtual void visit(const ParamVisitor& visitor) = 0;
};

}  // namespace natrix
