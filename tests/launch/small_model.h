// A small Mamba-MoE with random weights and data, for tests of whole models. In f64 on the reference backend
// it is exact enough for finite differences.
#pragma once

#include <cstring>
#include <gtest/gtest.h>

#include "core/files/random.h"
#include "core/layers/init.h"
#include "core/sequence/segment_schedule.h"
#include "kernels/base/transfer.h"
#include "kernels/loss.h"
#include "launch/assemble.h"
#include "tests/kernels/cases.h"

namespace natrix::test {

inline ModelConfig small_config(const std::string& pattern = "ME", int64_t repeat = 2) {
  ModelConfig c;
  c.pattern = pattern;
  c.repeat = repeat;
  c.d_model = 12;
  c.vocab_size = 17;
  c.mamba.d_state = 5;
  c.mamba.dt_rank = 3;
  c.mamba2.d_state = 5;
  c.mamba2.head_dim = 3;
  c.mamba2.n_groups = 2;
  c.attention.num_heads = 4;
  c.attention.num_kv_heads = 2;
  c.mlp.d_ff = 10;
  c.moe.num_experts = 5;
  c.moe.top_k = 2;
  c.moe.d_ff = 7;
  c.moe.aux_loss_coef = 0.1;
  c.moe.z_loss_coef = 0.01;
  return c;
}

/// Weights larger than at the start of training, so that every path of the gradient matters.
inline AssembledModel small_model(const ModelConfig& config, Dtype dtype, Memory memory = Memory::kHost,
                                  const LayerKinds& kinds = builtin_layer_kinds()) {
  constexpr uint64_t kSeed = 7;
  AssembledModel m = assemble_model(config, dtype, true, memory, nullptr, kinds);
  initialise(m->params(), kSeed, 1);
  SplitMix64 random(kSeed);
  m->visit([&](Param& p) {
    if (!p.trainable) return;
    const OnHost before(p.value);
    write_from_host(p.value, [&](View after) {
      for_float(after.dtype, [&](auto zero) {
        const auto* from = before.view().as<decltype(zero)>();
        auto* to = after.as<decltype(zero)>();
        for (int64_t i = 0; i < p.value.count(); ++i)
          to[i] = from[i] + static_cast<decltype(zero)>(0.2 * random.normal());
      });
    });
    refresh_rounded(p);
  });
  return m;
}

struct SmallBatch {
  Buffer tokens, targets, doc_start;
  Sequences rows() const {
    return {.tokens = tokens.view(),
            .targets = targets.view(),
            .doc_start = doc_start ? doc_start.view() : View{}};
  }
};

inline SmallBatch small_batch(int64_t batch, int64_t length, int64_t vocabulary, uint64_t seed = 3,
                              double starts = 0.1) {
  SplitMix64 random(seed);
  SmallBatch b{Buffer(Dtype::kI64, {batch, length}), Buffer(Dtype::kI64, {batch, length}),
               Buffer(Dtype::kU8, {batch, length})};
  for (int64_t i = 0; i < batch * length; ++i) {
    b.tokens.view().as<int64_t>()[i] =
        static_cast<int64_t>(random.next() % static_cast<uint64_t>(vocabulary));
    b.targets.view().as<int64_t>()[i] =
        random.uniform() < 0.05 ? kIgnoreTarget
                                : static_cast<int64_t>(random.next() % static_cast<uint64_t>(vocabulary));
    b.doc_start.view().as<uint8_t>()[i] = random.uniform() < starts;
  }
  return b;
}

struct Gradients {
  StepResult result;
  StepTally tally;
  std::vector<Buffer> values;
  std::vector<std::string> names;
};

/// As if the gradients of some step before were left: the next one must take nothing from them.
inline void poison_gradients(Model& model) {
  model.visit([](Param& p) {
    if (p.grad) copy(poisoned(p.grad.dtype, p.shape).view(), p.grad);
  });
}

inline Gradients gradients_of(Model& model, Context& ctx, std::span<const Sequences> rows,
                              ScheduleOptions options) {
  Gradients g;
  LocalRoute states, backwards;
  SegmentSchedule schedule(model, ctx, states, backwards, options);
  int64_t tokens = 0;
  for (const Sequences& r : rows) tokens += r.tokens.count();
  g.tally.begin_step(tokens);
  poison_gradients(model);
  model.zero_gradients(ctx);
  g.result = schedule.step(rows, 1.0 / static_cast<double>(tokens), g.tally);
  model.visit([&](Param& p) {
    if (!p.grad) return;
    g.values.emplace_back(p.grad.dtype, p.shape);
    copy(p.grad, g.values.back().view());
    g.names.push_back(p.name);
  });
  return g;
}

/// What computes in fp32: the CPU, and a device where there is one.
inline std::vector<Backend> f32_backends() {
  std::vector<Backend> all = {Backend::kCpu};
  if (has_cuda()) all.push_back(Backend::kCuda);
  return all;
}

inline std::string backend_name(const ::testing::TestParamInfo<Backend>& backend) {
  return name_of(backend.param);
}

/// The largest relative difference of any tensor.
inline double difference(const Gradients& a, const Gradients& b) {
  double worst = 0;
  for (size_t i = 0; i < a.values.size(); ++i) {
    worst = std::max(worst, relative_difference(a.values[i].view(), b.values[i].view()));
  }
  return worst;
}

inline bool same_bits(const Gradients& a, const Gradients& b) {
  for (size_t i = 0; i < a.values.size(); ++i) {
    const View x = a.values[i].view(), y = b.values[i].view();
    if (std::memcmp(x.data, y.data, static_cast<size_t>(x.bytes())) != 0) return false;
  }
  return true;
}

}  // namespace natrix::test
