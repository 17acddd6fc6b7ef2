// A segment of Mamba-2 as a map of its state, forward and backward: the products with the state alone.
#include "kernels/cpu/simd_targets.h"
#include "kernels/cpu/ssd_plan.h"
#include "kernels/ssd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/ssd_summary.cpp"
#include <hwy/foreach_target.h>  // compiles this file again for every target

#include "kernels/cpu/ssd_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace natrix::cpu::HWY_NAMESPACE {

int64_t SummaryFloats(const SsdPlan& plan) {
  return kSsdTile * (plan.group_step() + 2 * padded(plan.channels)) + kSsdBlock * padded(plan.state_floats());
}

/// What the two directions share: state ← decay · state + rowsᵀ (scale ⊙ inputs), over all tiles in order or
/// in reverse, where rows is B or C and inputs is x or dy.
template <class Args>
HWY_INLINE void WalkStates(const Args& a, const SsdPlan& plan, const SsdTask& task, View rows, View inputs,
                           bool forward, float* scratch) {
  const int64_t width = padded(plan.channels), first = task.group * plan.states;
  SsdRoom room(scratch);
  float* of_group = room.take(kSsdTile * plan.group_step());
  float *input = room.take(kSsdTile * width), *scaled = room.take(kSsdTile * width);
  float* states = room.take(kSsdBlock * plan.state_floats());
  double total[kSsdBlock] = {};
  bool starts = false;
  SsdSteps steps;
  for (int64_t k = 0; k < plan.tiles(); ++k) {
    const SsdTile tile = plan.tile(forward ? k : plan.tiles() - 1 - k);
    const int64_t row = plan.row(task, tile.begin);
    const SsdDocuments documents(a.doc_start, task, tile);
    starts = starts || documents.starts_any();
    PackSsdRows(rows, row, tile.count, first, plan.states, plan.group_step(), of_group);
    for (int64_t i = 0; i < task.count; ++i) {
      const int64_t h = task.first + i;
      float* state = states + i * plan.state_floats();
      PrepareSteps(a, plan, task, tile, h, documents, steps);
      total[i] += steps.total;
      PackSsdRows(inputs, row, tile.count, h * plan.channels, plan.channels, width, input);
      ScaleRows(input, forward ? steps.weight : steps.from_start, tile.count, width, scaled);
      AdvanceSsdState(plan, tile.count, of_group, scaled, k > 0 ? state : nullptr, steps.decay, state);
    }
  }
  for (int64_t i = 0; i < task.count; ++i) {
    const int64_t h = task.first + i;
    StoreSsdState(states + i * plan.state_floats(), plan, plan.state(a.state, task, h));
    a.decay.template as<float>()[plan.head(task, h)] =
        starts ? 0.0f : static_cast<float>(std::exp2(total[i]));
  }
}

void SummaryTask(const SsdSummary& a, const SsdPlan& plan, const SsdTask& task, float* scratch) {
  WalkStates(a, plan, task, a.B, a.x, true, scratch);
}

void SummaryBackwardTask(const SsdSummaryBackward& a, const SsdPlan& plan, const SsdTask& task,
                         float* scratch) {
  WalkStates(a, plan, task, a.C, a.dy, false, scratch);
}

}  // namespace natrix::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace natrix::cpu {

HWY_EXPORT(SummaryFloats);
HWY_EXPORT(SummaryTask);
HWY_EXPORT(SummaryBackwardTask);

void ssd_summary(Context& ctx, const SsdSummary& args) {
  const SsdPlan plan(args.dt, args.x, args.B, args.groups);
  for_ssd_tasks(ctx, plan, HWY_DYNAMIC_DISPATCH(SummaryFloats)(plan), [&](const SsdTask& task, float* room) {
    HWY_DYNAMIC_DISPATCH(SummaryTask)(args, plan, task, room);
  });
}

void ssd_summary_backward(Context& ctx, const SsdSummaryBackward& args) {
  const SsdPlan plan(args.dt, args.dy, args.C, args.groups);
  for_ssd_tasks(ctx, plan, HWY_DYNAMIC_DISPATCH(SummaryFloats)(plan), [&](const SsdTask& task, float* room) {
    HWY_DYNAMIC_DISPATCH(SummaryBackwardTask)(args, plan, task, room);
  });
}

}  // namespace natrix::cpu
#endif  // HWY_ONCE
