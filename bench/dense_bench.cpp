// The kernels between the products: RMSNorm, activations, embedding, cross-entropy, AdamW, the global norm.
// Bound by memory beyond the caches, and by the exponential where there is one and the operands fit.
#include <fmt/format.h>
#include <memory>

#include "bench/harness.h"
#include "kernels/activation.h"
#include "kernels/embedding.h"
#include "kernels/loss.h"
#include "kernels/norm.h"
#include "kernels/optim.h"

namespace natrix::bench {
namespace {

constexpr double kF32Bytes = 4;

struct Sizes {
  int64_t rows, cols;
  std::string to_string() const { return fmt::format("T {}  D {}", rows, cols); }
  double elements() const { return static_cast<double>(rows * cols); }
};

/// Enough arrays of one shape for any of these kernels; `in` is random, `out` is not.
struct Arrays {
  explicit Arrays(const Sizes& s) : weight(normal({s.cols}, 9)), dweight(Dtype::kF32, {s.cols}) {
    for (uint64_t i = 0; i < 4; ++i) in.push_back(normal({s.rows, s.cols}, i + 1));
    for (int i = 0; i < 2; ++i) out.emplace_back(Dtype::kF32, Shape{s.rows, s.cols});
    inv_rms = Buffer(Dtype::kF32, {s.rows});
    std::fill_n(inv_rms.view().as<float>(), s.rows, 1.0f);
  }
  std::vector<Buffer> in, out;
  Buffer weight, dweight, inv_rms;
};

using Run = void (*)(Context&, const Arrays&);

/// arrays: how many of [T, D] are read or written. exps: exponentials an element.
void add(Suite& suite, const std::string& family, const Sizes& s, double arrays, double exps, Run run) {
  suite.add({.family = family,
             .shape = s.to_string(),
             .cost = {.exps = exps * s.elements(), .bytes = arrays * kF32Bytes * s.elements()},
             .set_up =
                 [s, run](Context& ctx) {
                   const auto o = std::make_shared<const Arrays>(s);
                   return Trial{[&ctx, o, run] { run(ctx, *o); }, {o->out[0].view(), o->out[1].view()}};
                 },
             .items = s.elements()});
}

void norm_forward(Context& ctx, const Arrays& o) {
  rms_norm_forward(ctx, {.x = o.in[0].view(),
                         .residual = o.in[1].view(),
                         .sum = o.out[0].view(),
                         .weight = o.weight.view(),
                         .y = o.out[1].view(),
                         .inv_rms = o.inv_rms.view()});
}

void norm_backward(Context& ctx, const Arrays& o) {
  rms_norm_backward(ctx, {.sum = o.in[0].view(),
                          .weight = o.weight.view(),
                          .inv_rms = o.inv_rms.view(),
                          .dy = o.in[1].view(),
                          .dsum = o.in[2].view(),
                          .dx = o.out[0].view(),
                          .dweight = o.dweight.view()});
}

template <Activation f>
void gated_forward(Context& ctx, const Arrays& o) {
  activation_forward(ctx, {.f = f, .x = o.in[0].view(), .up = o.in[1].view(), .out = o.out[0].view()});
}

template <Activation f>
void gated_backward(Context& ctx, const Arrays& o) {
  activation_backward(ctx, {.f = f,
                            .x = o.in[0].view(),
                            .up = o.in[1].view(),
                            .dout = o.in[2].view(),
                            .dx = o.out[0].view(),
                            .dup = o.out[1].view()});
}

void step_sizes(Context& ctx, const Arrays& o) {
  softplus_forward(ctx, {.x = o.in[0].view(), .bias = o.weight.view(), .y = o.out[0].view()});
}

void add_between_products(Suite& suite, const Sizes& s) {
  add(suite, "rms_norm_forward", s, 4, 0, norm_forward);
  add(suite, "rms_norm_backward", s, 4, 0, norm_backward);
  add(suite, "swiglu_forward", s, 3, 1, gated_forward<Activation::kSilu>);
  add(suite, "swiglu_backward", s, 5, 1, gated_backward<Activation::kSilu>);
  add(suite, "geglu_forward", s, 3, 1, gated_forward<Activation::kGelu>);
  add(suite, "softplus_forward", s, 2, 1, step_sizes);
}

Buffer token_ids(int64_t count, int64_t vocabulary) {
  Buffer ids(Dtype::kI64, {count});
  for (int64_t i = 0; i < count; ++i) ids.view().as<int64_t>()[i] = i * 7919 % vocabulary;
  return ids;
}

void add_loss(Suite& suite, int64_t rows, int64_t vocabulary) {
  const Sizes s{rows, vocabulary};
  struct Operands {
    Buffer logits, targets, loss, dlogits;
  };
  suite.add({.family = "cross_entropy",
             .shape = fmt::format("T {}  V {}", rows, vocabulary),
             .cost = {.exps = s.elements(), .bytes = 2 * kF32Bytes * s.elements()},
             .set_up =
                 [=](Context& ctx) {
                   const auto o = std::make_shared<const Operands>(
                       Operands{normal({rows, vocabulary}, 1), token_ids(rows, vocabulary),
                                Buffer(Dtype::kF64, {rows}), Buffer(Dtype::kF32, {rows, vocabulary})});
                   return Trial{[&ctx, o] {
                                  cross_entropy(ctx, {.logits = o->logits.view(),
                                                      .targets = o->targets.view(),
                                                      .loss = o->loss.view(),
                                                      .dlogits = o->dlogits.view()});
                                },
                                {o->dlogits.view()}};
                 },
             .items = s.elements()});
}

void add_embedding(Suite& suite, int64_t rows, int64_t vocabulary, int64_t cols) {
  const Sizes s{rows, cols};
  struct Operands {
    Buffer tokens, weight, y, dweight;
  };
  const auto make = [=] {
    return std::make_shared<const Operands>(Operands{token_ids(rows, vocabulary),
                                                     normal({vocabulary, cols}, 1), normal({rows, cols}, 2),
                                                     Buffer(Dtype::kF32, {vocabulary, cols})});
  };
  const std::string shape = fmt::format("T {}  V {}  D {}", rows, vocabulary, cols);
  suite.add({.family = "embedding_forward",
             .shape = shape,
             .cost = {.bytes = 2 * kF32Bytes * s.elements()},
             .set_up = [make](Context& ctx) {
               const auto o = make();
               return Trial{[&ctx, o] {
                              embedding_forward(
                                  ctx,
                                  {.tokens = o->tokens.view(), .weight = o->weight.view(), .y = o->y.view()});
                            },
                            {o->y.view()}};
             }});
  suite.add({.family = "embedding_backward",
             .shape = shape,
             .cost = {.bytes = 3 * kF32Bytes * s.elements()},
             .set_up = [make](Context& ctx) {
               const auto o = make();
               return Trial{
                   [&ctx, o] {
                     embedding_backward(
                         ctx, {.tokens = o->tokens.view(), .dy = o->y.view(), .dweight = o->dweight.view()});
                   },
                   {o->dweight.view()}};
             }});
}

void add_optimizer(Suite& suite, int64_t parameters) {
  const auto n = static_cast<double>(parameters);
  const std::string shape = fmt::format("{} parameters", parameters);
  struct Operands {
    Buffer w, g, m, v, sum;
  };
  const auto make = [=] {
    return std::make_shared<const Operands>(
        Operands{normal({parameters}, 1), normal({parameters}, 2), Buffer(Dtype::kF32, {parameters}),
                 Buffer(Dtype::kF32, {parameters}), Buffer(Dtype::kF32, {1})});
  };
  suite.add({.family = "adamw",
             .shape = shape,
             .cost = {.bytes = 7 * kF32Bytes * n},  // reads w, g, m, v; writes w, m, v
             .set_up = [make](Context& ctx) {
               const auto o = make();
               return Trial{[&ctx, o] {
                              adamw(ctx, {.w = o->w.view(),
                                          .g = o->g.view(),
                                          .m = o->m.view(),
                                          .v = o->v.view(),
                                          .lr = 1e-3,
                                          .weight_decay = 0.1});
                            },
                            {o->w.view(), o->m.view(), o->v.view()}};
             }});
  suite.add({.family = "squared_norm",
             .shape = shape,
             .cost = {.bytes = kF32Bytes * n},
             .set_up = [make](Context& ctx) {
               const auto o = make();
               return Trial{[&ctx, o] {
                              double sum = 0;
                              squared_norm(ctx, {.x = o->g.view(), .sum = &sum});
                              *o->sum.view().as<float>() = static_cast<float>(sum);
                            },
                            {o->sum.view()}};
             }});
}

}  // namespace
}  // namespace natrix::bench

int main(int argc, char** argv) {
  natrix::bench::Suite suite("dense");
  natrix::bench::add_between_products(suite, {.rows = 512, .cols = 768});     // a chunk of Mamba-130M
  natrix::bench::add_between_products(suite, {.rows = 16384, .cols = 1536});  // beyond every cache
  natrix::bench::add_loss(suite, 4096, 257);                                  // bytes
  natrix::bench::add_loss(suite, 256, 50280);                                 // a tile of a large vocabulary
  natrix::bench::add_embedding(suite, 4096, 50280, 768);
  natrix::bench::add_optimizer(suite, 16 << 20);
  return suite.run(argc, argv);
}
