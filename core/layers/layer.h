// Layer: a sublayer f of the residual stack  x + f(norm(x)), with an explicit backward.
//
// Explicit and not a tape, because the segment schedule must own memory and order. A layer keeps no state
// between calls but its weights: activations live in the segment's arena,
// carried states arrive through the CarryLink.
#pragma once

#include "core/carry/carry_link.h"
#include "core/carry/carry_spec.h"
#include "core/carry/step_tally.h"
#include "core/layers/param.h"
#include "core/layers/save_stack.h"
#include "kernels/base/context.h"

namespace natrix {

/// The stretch of tokens in hand: B rows of T tokens.
struct Segment {
  int64_t batch = 0, tokens = 0;
  int64_t index = 0;  // unique within a step: names the segment when it is recomputed
  int64_t first = 0;  // its first token's place in the rows
  View doc_start;     // [B, T] u8, or empty: no document starts
  View position;      // [B] i64: index of each row's first token within its document; see uses_position()
};

enum class Keep { kNothing, kForBackward };
enum class Visit { kFirst, kAgain };  // again: recomputation, or inference; the tally is left alone

/// Diagnosis: is shown the output of each sublayer, and as the one after the last the final norm's.
using PassObserver = std::function<void(const Segment&, int sublayer, View output)>;

/// Everything a layer may see besides its weights.
struct Pass {
  Context& ctx;
  SaveStack& saved;
  CarryLink& carry;
  StepTally& tally;
  Segment segment;
  Keep keep = Keep::kNothing;
  Visit visit = Visit::kAgain;
  const PassObserver* observe = nullptr;  // borrowed; usually there is none

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

  /// What the layer carries from one segment to the next. CarryKey::part is an index into this list. The list
  /// depends on the configuration, and its dtypes on the memory that the parameters were given.
  virtual std::vector<CarrySpec> carries() const { return {}; }
  /// Whether forward() reads Segment::position. The model keeps count of it only for layers that do.
  virtual bool uses_position() const { return false; }
  /// Parameters that one token's forward pass reads: of a mixture, those of the experts that it chooses.
  virtual int64_t active_parameters() {
    int64_t n = 0;
    visit([&](const Param& p) { n += whole_shape(p).count(); });
    return n;
  }
  /// Experts that parallel.ep may spread over ranks; 0 for a layer without any.
  virtual int64_t experts() const { return 0; }
  /// Whether the layer's gradient needs the completed tally of the step (a load-balancing loss).
  virtual bool needs_tally() const { return false; }
  /// Called after each optimizer step, with the step's tally: what is adjusted without a gradient.
  virtual void after_step(const StepTally&) {}
};

}  // namespace natrix
