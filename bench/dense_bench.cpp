// The kernels between the products: RMSNorm, activations, embedding, cross-entropy, AdamW, the global norm.
// Bound by memory beyond the caches; within them, by the exponential where there is one.
#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <memory>

#include "bench/harness.h"
#include "kernels/activation.h"
#include "kernels/base/transfer.h"
#include "kernels/embedding.h"
#include "kernels/loss.h"
#include "kernels/norm.h"
#include "kernels/optim.h"

namespace natrix::bench {
namespace {

constexpr double kFloat = 4;  // bytes

struct Sizes {
  int64_t rows, cols;
  std::string to_string() const { return fmt::format("T {}  D {}", rows, cols); }
  double elements() const { return static_cast<double>(rows * cols); }
};

/// Enough arrays of one shape for every element-wise kernel.
struct Arrays {
  Arrays(Memory memory, const Sizes& s)
      : x(normal(memory, {s.rows, s.cols}, 1)),
        up(normal(memory, {s.rows, s.cols}, 2)),
        dy(normal(memory, {s.rows, s.cols}, 3)),
        weight(normal(memory, {s.cols}, 4)),
        inv_rms(Dtype::kF32, {s.rows}, memory),
        y(Dtype::kF32, {s.rows, s.cols}, memory),
        dup(Dtype::kF32, {s.rows, s.cols}, memory),
        dweight(Dtype::kF32, {s.cols}, memory) {
    write_from_host(inv_rms.view(),
                    [](View v) { std::fill_n(v.as<float>(), v.count(), 1.0f); });  // of normal x
    const OnHost same(x.view());
    write_from_host(dup.view(), [&](View v) {
      for (int64_t i = 0; i < v.count(); ++i) v.as<float>()[i] = std::fabs(same.view().as<float>()[i]);
    });
  }

  Buffer x, up, dy, weight;
  Buffer inv_rms, y, dup, dweight;
};

/// Runs one kernel and returns the views that it wrote.
using Run = std::vector<View> (*)(Context&, const Arrays&);

std::vector<View> norm_forward(Context& ctx, const Arrays& o) {
  rms_norm_forward(ctx, {.x = o.x.view(),
                         .residual = o.up.view(),
                         .sum = o.dup.view(),
                         .weight = o.weight.view(),
                         .y = o.y.view(),
                         .inv_rms = o.inv_rms.view()});
  return {o.dup.view(), o.y.view(), o.inv_rms.view()};
}

std::vector<View> norm_backward(Context& ctx, const Arrays& o) {
  rms_norm_backward(ctx, {.sum = o.x.view(),
                          .weight = o.weight.view(),
                          .inv_rms = o.inv_rms.view(),
                          .dy = o.dy.view(),
                          .dsum = o.up.view(),
                          .dx = o.y.view(),
                          .dweight = o.dweight.view()});
  return {o.y.view(), o.dweight.view()};
}

template <Activation f>
std::vector<View> gated_forward(Context& ctx, const Arrays& o) {
  activation_forward(ctx, {.f = f, .x = o.x.view(), .up = o.up.view(), .out = o.y.view()});
  return {o.y.view()};
}

template <Activation f>
std::vector<View> gated_backward(Context& ctx, const Arrays& o) {
  activation_backward(ctx, {.f = f,
                            .x = o.x.view(),
                            .up = o.up.view(),
                            .dout = o.dy.view(),
                            .dx = o.y.view(),
                            .dup = o.dup.view()});
  return {o.y.view(), o.dup.view()};
}

template <Activation f>
std::vector<View> plain_forward(Context& ctx, const Arrays& o) {
  activation_forward(ctx, {.f = f, .x = o.x.view(), .out = o.y.view()});
  return {o.y.view()};
}

template <Activation f>
std::vector<View> plain_backward(Context& ctx, const Arrays& o) {
  activation_backward(ctx, {.f = f, .x = o.x.view(), .dout = o.dy.view(), .dx = o.y.view()});
  return {o.y.view()};
}

std::vector<View> dt_forward(Context& ctx, const Arrays& o) {
  softplus_forward(ctx, {.x = o.x.view(), .bias = o.weight.view(), .y = o.y.view()});
  return {o.y.view()};
}

/// dup stands for the output of the forward pass. It is positive as long as no kernel writes to it.
std::vector<View> dt_backward(Context& ctx, const Arrays& o) {
  softplus_backward(ctx, {.y = o.dup.view(), .dy = o.dy.view(), .dx = o.y.view()});
  return {o.y.view()};
}

std::vector<View> add_up(Context& ctx, const Arrays& o) {
  accumulate(ctx, {.x = o.x.view(), .y = o.y.view()});
  return {o.y.view()};
}

void add_element_wise(Suite& suite, const Sizes& s) {
  /// arrays: number of [T, D] arrays read or written. exps: exponentials per element.
  const auto add = [&](const char* family, double arrays, double exps, Run run) {
    suite.add({.family = family,
               .shape = s.to_string(),
               .cost = {.exps = exps * s.elements(), .bytes = arrays * kFloat * s.elements()},
               .set_up =
                   [s, run](Context& ctx) {
                     const auto o = std::make_shared<const Arrays>(ctx.memory(), s);
                     return Trial{.run = [&ctx, o, run] { run(ctx, *o); }, .outputs = run(ctx, *o)};
                   },
               .items = s.elements()});
  };
  using enum Activation;
  add("rms_norm_forward", 4, 0, norm_forward);
  add("rms_norm_backward", 4, 0, norm_backward);
  add("swiglu_forward", 3, 1, gated_forward<kSilu>);
  add("swiglu_backward", 5, 1, gated_backward<kSilu>);
  add("geglu_forward", 3, 1, gated_forward<kGelu>);
  add("geglu_backward", 5, 1, gated_backward<kGelu>);
  add("relu2_forward", 2, 0, plain_forward<kRelu2>);
  add("relu2_backward", 3, 0, plain_backward<kRelu2>);
  add("softplus_forward", 2, 1, dt_forward);
  add("softplus_backward", 3, 1, dt_backward);
  add("accumulate", 3, 0, add_up);
}

struct LossOperands {
  LossOperands(Memory memory, const Sizes& s)
      : logits(normal(memory, {s.rows, s.cols}, 1)),
        targets(tokens(memory, {s.rows}, 2, s.cols)),
        loss(Dtype::kF64, {s.rows}, memory),
        dlogits(Dtype::kF32, {s.rows, s.cols}, memory) {}
  Buffer logits, targets, loss, dlogits;
};

void add_loss(Suite& suite, const Sizes& s) {
  const auto add = [&](const char* family, Cost cost, bool gradient) {
    const auto run = [gradient](Context& ctx, const LossOperands& o) {
      cross_entropy(ctx, {.logits = o.logits.view(),
                          .targets = o.targets.view(),
                          .loss = o.loss.view(),
                          .dlogits = gradient ? o.dlogits.view() : View{}});
    };
    const auto outputs = [](const LossOperands& o) {
      return std::vector<View>{o.loss.view(), o.dlogits.view()};
    };
    suite.add({.family = family,
               .shape = fmt::format("T {}  V {}", s.rows, s.cols),
               .cost = cost,
               .set_up = trial_on<LossOperands>(s, run, outputs),
               .items = s.elements()});
  };
  const double bytes = kFloat * s.elements();
  add("cross_entropy", {.exps = s.elements(), .reads = bytes}, false);
  add("cross_entropy_gradient", {.exps = s.elements(), .bytes = 2 * bytes}, true);
}

struct EmbeddingSizes {
  int64_t rows, vocabulary, cols;
};

struct EmbeddingOperands {
  EmbeddingOperands(Memory memory, const EmbeddingSizes& s)
      : ids(tokens(memory, {s.rows}, 1, s.vocabulary)),
        weight(normal(memory, {s.vocabulary, s.cols}, 2)),
        dy(normal(memory, {s.rows, s.cols}, 3)),
        y(Dtype::kF32, {s.rows, s.cols}, memory),
        dweight(Dtype::kF32, {s.vocabulary, s.cols}, memory) {}
  Buffer ids, weight, dy, y, dweight;
};

void add_embedding(Suite& suite, const EmbeddingSizes& s) {
  const double bytes = kFloat * static_cast<double>(s.rows * s.cols);
  const auto add = [&](const char* family, double arrays, auto run, auto outputs) {
    suite.add({.family = family,
               .shape = fmt::format("T {}  V {}  D {}", s.rows, s.vocabulary, s.cols),
               .cost = {.bytes = arrays * bytes},
               .set_up = trial_on<EmbeddingOperands>(s, run, outputs)});
  };
  add(
      "embedding_forward", 2,
      [](Context& ctx, const EmbeddingOperands& o) {
        embedding_forward(ctx, {.tokens = o.ids.view(), .weight = o.weight.view(), .y = o.y.view()});
      },
      [](const EmbeddingOperands& o) { return std::vector<View>{o.y.view()}; });
  add(
      "embedding_backward", 3,
      [](Context& ctx, const EmbeddingOperands& o) {
        embedding_backward(ctx, {.tokens = o.ids.view(), .dy = o.dy.view(), .dweight = o.dweight.view()});
      },
      [](const EmbeddingOperands& o) { return std::vector<View>{o.dweight.view()}; });
}

struct OptimizerOperands {
  OptimizerOperands(Memory memory, int64_t parameters)
      : w(normal(memory, {parameters}, 1)),
        g(normal(memory, {parameters}, 2)),
        m(Dtype::kF32, {parameters}, memory),
        v(Dtype::kF32, {parameters}, memory),
        sum(Dtype::kF64, {1}, memory) {}
  Buffer w, g, m, v, sum;
};

void add_optimizer(Suite& suite, int64_t parameters) {
  const double bytes = kFloat * static_cast<double>(parameters);
  const auto add = [&](const char* family, Cost cost, auto run, auto outputs) {
    suite.add({.family = family,
               .shape = fmt::format("{} parameters", parameters),
               .cost = cost,
               .set_up = trial_on<OptimizerOperands>(parameters, run, outputs)});
  };
  add(
      "adamw", {.bytes = 6 * bytes, .reads = bytes},  // w, m and v are written back, g is not
      [](Context& ctx, const OptimizerOperands& o) {
        adamw(ctx, {.w = o.w.view(),
                    .g = o.g.view(),
                    .m = o.m.view(),
                    .v = o.v.view(),
                    .lr = 1e-3,
                    .weight_decay = 0.1});
      },
      [](const OptimizerOperands& o) {
        return std::vector<View>{o.w.view(), o.m.view(), o.v.view()};
      });
  add(
      "squared_norm", {.reads = bytes},
      [](Context& ctx, const OptimizerOperands& o) {
        squared_norm(ctx, {.x = o.g.view(), .sum = o.sum.view()});
      },
      [](const OptimizerOperands& o) { return std::vector<View>{o.sum.view()}; });
}

}  // namespace
}  // namespace natrix::bench

int main(int argc, char** argv) {
  using namespace natrix::bench;
  Suite suite("dense");
  add_element_wise(suite, {.rows = 512, .cols = 768});     // a chunk of Mamba-130M
  add_element_wise(suite, {.rows = 16384, .cols = 1536});  // beyond every cache
  add_loss(suite, {.rows = 4096, .cols = 257});            // bytes
  add_loss(suite, {.rows = 64, .cols = 50280});            // a tile of a large vocabulary
  add_embedding(suite, {.rows = 4096, .vocabulary = 50280, .cols = 768});
  add_optimizer(suite, 16 << 20);
  add_element_wise(suite, {.rows = 40, .cols = 64});  // smoke test
  return suite.run(argc, argv);
}
