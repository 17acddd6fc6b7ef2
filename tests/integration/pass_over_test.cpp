// Model::pass_over has the side effects of hidden(), and runs only what they need.
#include <gtest/gtest.h>

#include "tests/launch/small_model.h"

namespace natrix::test {
namespace {

struct Left {
  CarryStates states;
  StepTally tally;
};

Left left_behind(const ModelConfig& config, Backend backend, Visit visit,
                 const std::function<void(const Model&, Pass&, View)>& run) {
  Context ctx(backend);
  AssembledModel m = small_model(config, Dtype::kF32, ctx.memory());
  const SmallBatch batch = small_batch(2, 23, *config.vocab_size);
  View tokens = ctx.arena().take(Dtype::kI64, batch.tokens.view().shape);
  upload(ctx, batch.tokens.view(), tokens);
  Left left;
  left.tally.begin_step(tokens.count());
  LocalRoute states;
  states.resume(nullptr);
  states.begin_segment(/*last=*/true);
  SaveStack nothing;
  Pass pass{ctx, nothing, states, left.tally, {.batch = 2, .tokens = 23}, Keep::kNothing, visit};
  run(*m, pass, tokens);
  left.states = copy_of(states.end_states());
  return left;
}

class PassOver : public ::testing::TestWithParam<Backend> {};

TEST_P(PassOver, LeavesWhatHiddenLeaves) {
  for (const char* pattern : {"M", "ME", "M-", "MEE-", "MEM", "E", "EE", "-"}) {
    ModelConfig config = small_config(pattern, 1);
    config.moe.capacity_factor = 0.7;  // some are dropped, and that is counted, too
    for (const Visit visit : {Visit::kFirst, Visit::kAgain}) {
      SCOPED_TRACE(std::string(pattern) + (visit == Visit::kFirst ? " first" : " again"));
      const Left want = left_behind(config, GetParam(), visit,
                                    [](const Model& m, Pass& p, View tokens) { m.hidden(p, tokens); });
      const Left got = left_behind(config, GetParam(), visit,
                                   [](const Model& m, Pass& p, View tokens) { m.pass_over(p, tokens); });
      EXPECT_EQ(got.tally.figures(), want.tally.figures());
      ASSERT_EQ(got.states.entries().size(), want.states.entries().size());
      for (const auto& [key, state] : want.states.entries()) {
        const OnHost a(got.states.at(key)), b(state.view());
        EXPECT_EQ(relative_difference(a.view(), b.view()), 0);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, PassOver, ::testing::ValuesIn(f32_backends()), backend_name);

/// A layer that only notes what it is asked for.
class Noting final : public Layer {
 public:
  Noting(char kind, std::string& notes) : kind_(kind), notes_(notes) {}

  View forward(Pass&, View x) const override {
    notes_ += kind_;
    return x;
  }
  bool leaves_behind(Visit visit) const override {
    return kind_ == 'M' || (kind_ == 'E' && visit == Visit::kFirst);
  }
  void pass_over(Pass&, View) const override { notes_ += static_cast<char>(std::tolower(kind_)); }
  View backward(Pass&, View dy) override { return dy; }
  void visit(const ParamVisitor&) override {}

 private:
  char kind_;
  std::string& notes_;
};

TEST(PassedOver, RunsNoMoreThanItTakes) {
  const auto run = [](const std::string& pattern, Visit visit) {
    const ModelConfig config = small_config(pattern, 1);
    std::string notes;
    Model m(config, {"embedding", "norm", "head"});
    for (const char kind : pattern) m.append("norm", std::make_unique<Noting>(kind, notes));
    m.allocate(Dtype::kF32, /*with_gradients=*/false);
    Context ctx(Backend::kReference);
    const SmallBatch batch = small_batch(1, 3, *config.vocab_size);
    SaveStack nothing;
    LocalRoute states;
    StepTally tally;
    Pass pass{ctx, nothing, states, tally, {.batch = 1, .tokens = 3}, Keep::kNothing, visit};
    m.pass_over(pass, batch.tokens.view());
    return notes;
  };
  EXPECT_EQ(run("MEME", Visit::kFirst), "MEMe");
  EXPECT_EQ(run("MEME", Visit::kAgain), "MEm");
  EXPECT_EQ(run("MEE-", Visit::kFirst), "MEe");
  EXPECT_EQ(run("M-M-", Visit::kFirst), "M-m");
  EXPECT_EQ(run("E-E", Visit::kAgain), "");
}

}  // namespace
}  // namespace natrix::test
