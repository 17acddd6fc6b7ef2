// Layer: a sublayer f of the residual stack  x + f(norm(x)), with an explicit backward.
//
// There is no autograd tape, because the segment schedule must control memory and order. A layer keeps
// nothing between calls except its weights. Activations live in the segment's arena; carried states arrive
// through the CarryLink.
#pragma once

#include "core/carry/carry_link.h"
#include "core/carry/carry_spec.h"
#include "core/carry/step_tally.h"
#include "core/layers/param.h"
#include "core/layers/save_stack.h"
#include "kernels/base/context.h"

namespace natrix {

/// The part of the sequences that is run at once: B rows of T tokens.
struct Segment {
  int64_t batch = 0, tokens = 0;
  int64_t index = 0;  // unique within a step; the same when the segment is recomputed
  int64_t first = 0;  // index of its first token in the rows
  View doc_start;     // [B, T] u8; empty if no document starts in the segment
  View position;      // [B] i64: index of each row's first token within its document; see uses_position()
};

enum class Keep { kNothing, kForBackward };
enum class Visit { kFirst, kAgain };  // kAgain: recomputation or inference; the tally does not change

/// Receives the output of each sublayer, for diagnosis. The final norm counts as the sublayer after the last.
using PassObserver = std::function<void(const Segment&, int sublayer, View output)>;

/// One run over a segment: everything that a layer may use besides its weights.
struct Pass {
  Context& ctx;
  SaveStack& saved;
  CarryLink& carry;
  StepTally& tally;
  Segment segment;
  Keep keep = Keep::kNothing;
  Visit visit = Visit::kAgain;
  const PassObserver* observe = nullptr;  // borrowed; usually null

  Arena& arena() const { return ctx.arena(); }
  bool keeps() const { return keep == Keep::kForBackward; }
};

class Layer {
 public:
  virtual ~Layer() = default;
  /// x [B, T, D] → f(x) [B, T, D], in the arena. If pass.keeps(), pushes what backward() pops.
  virtual View forward(Pass& pass, View x) const = 0;
  /// Whether forward() of this many tokens, without backward, can be captured (kernels/base/recording.h).
  /// It can if the host never waits for a result of the device.
  virtual bool runs_ahead(int64_t) const { return true; }
  /// Whether forward() has side effects: states for the next segment, or sums in the tally.
  virtual bool leaves_behind(Visit visit) const = 0;
  /// Runs forward only for its side effects: carried states and the tally. No backward follows.
  virtual void pass_over(Pass& pass, View x) const { forward(pass, x); }
  /// dy → dx, both [B, T, D]. Adds to the gradients of all parameters of the layer; see adds_to_gradient().
  virtual View backward(Pass& pass, View dy) = 0;
  /// Calls the visitor with every parameter, in the order of the checkpoint.
  virtual void visit(const ParamVisitor& visitor) = 0;

  /// The states that the layer carries from one segment to the next. CarryKey::part is an index into this
  /// list. The configuration determines the list; its dtypes are known once the parameters are allocated.
  virtual std::vector<CarrySpec> carries() const { return {}; }
  /// Whether forward() reads Segment::position. The model carries positions only if one of its layers does.
  virtual bool uses_position() const { return false; }
  /// The number of parameters that the forward pass of one token reads. In a mixture of experts only the
  /// chosen experts count.
  virtual int64_t active_parameters() {
    int64_t n = 0;
    visit([&](const Param& p) { n += whole_shape(p).count(); });
    return n;
  }
  /// The number of experts that parallel.ep may shard over ranks; 0 for a layer without experts.
  virtual int64_t experts() const { return 0; }
  /// Whether the layer's gradient needs the complete tally of the step (a load-balancing loss).
  virtual bool needs_tally() const { return false; }
  /// Adjusts what has no gradient. Called after each optimizer step with the step's tally.
  virtual void after_step(const StepTally&) {}
};

}  // namespace natrix
