// A segment is an affine map of the state it enters with. A link that never sees the states themselves, only
// the maps that layers summarise, must arrive at the same outputs and gradients as one that passes states on:
// this is what a scan over ranks relies on.
#include <gtest/gtest.h>

#include "tests/launch/small_model.h"

namespace natrix::test {
namespace {

/// Applies each segment's own map to the state it entered with, and ignores what the layer says it leaves.
class MapRoute final : public CarryRoute {
 public:
  void resume(const CarryStates* states) override {
    entering_.clear();
    leaving_ = states != nullptr ? copy_of(*states) : CarryStates();
  }
  void rejoin(const CarryStates& boundary) override { resume(&boundary); }
  void begin_segment(bool) override { std::swap(entering_, leaving_); }
  const CarryStates& end_states() override { return leaving_; }

  View enter(CarryKey key, Dtype, const Shape& shape, const std::function<SegmentMap()>& summarise) override {
    const SegmentMap map = summarise();
    View in = entering_.at(key);
    Buffer out(map.state.dtype, shape);
    copy(map.state, out.view());
    if (map.decay && in) {
      for_float(out.view().dtype, [&](auto zero) {
        using T = decltype(zero);
        for (int64_t i = 0; i < shape.count(); ++i) {
          out.view().as<T>()[i] += map.decay.as<T>()[i] * in.as<T>()[i];
        }
      });
    }
    leaving_.put(key, out.view());
    return in;
  }
  void leave(CarryKey, View) override {}

 private:
  CarryStates entering_, leaving_;
};

class CarryMap : public ::testing::TestWithParam<Backend> {};

TEST_P(CarryMap, SummariesReplaceStates) {
  const Backend backend = GetParam();
  const Dtype dtype = backend == Backend::kReference ? Dtype::kF64 : Dtype::kF32;
  Context ctx(backend);
  AssembledModel m = small_model(small_config(), dtype);
  for (double starts : {0.0, 0.1}) {
    const SmallBatch batch = small_batch(2, 48, 17, 11, starts);
    const Sequences rows = batch.rows();
    const ScheduleOptions options{.chunk = 8, .needs_tally = true};
    const Gradients want = gradients_of(*m, ctx, {&rows, 1}, options);
    MapRoute states, backwards;
    SegmentSchedule schedule(*m, ctx, states, backwards, options);
    StepTally tally;
    tally.begin_step(rows.tokens.count());
    m->zero_gradients(ctx);
    const StepResult got = schedule.step({&rows, 1}, 1.0 / static_cast<double>(rows.tokens.count()), tally);
    const double tolerance = dtype == Dtype::kF64 ? 1e-11 : 1e-4;
    EXPECT_NEAR(got.loss_sum, want.result.loss_sum, tolerance * want.result.loss_sum);
    size_t i = 0;
    m->visit([&](Param& p) {
      if (!p.grad) return;
      EXPECT_LT(relative_difference(p.grad, want.values[i++].view()), tolerance) << p.name;
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, CarryMap, ::testing::Values(Backend::kReference, Backend::kCpu),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace natrix::test
