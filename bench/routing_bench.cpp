// Routing: scores and choice are bound by exponentials, moving rows by memory bandwidth.
#include <fmt/format.h>
#include <memory>

#include "bench/harness.h"
#include "kernels/routing.h"

namespace natrix::bench {
namespace {

struct Sizes {
  int64_t tokens, width, experts, top_k;
  int64_t slots() const { return tokens * top_k; }
  std::string to_string() const {
    return fmt::format("T {}  D {}  E {}  k {}", tokens, width, experts, top_k);
  }
};

/// All operands of one MoE layer's routing, made on a context from fixed seeds.
struct Operands {
  Operands(Context& ctx, const Sizes& s, Memory memory)
      : logits(normal(memory, {s.tokens, s.experts}, 1)),
        scores(Dtype::kF32, {s.tokens, s.experts}, memory),
        dlogits(Dtype::kF32, {s.tokens, s.experts}, memory),
        balance(normal(memory, {s.experts}, 2)),
        expert(Dtype::kI32, {s.tokens, s.top_k}, memory),
        weight(Dtype::kF32, {s.tokens, s.top_k}, memory),
        dweight(Dtype::kF32, {s.tokens, s.top_k}, memory),
        logsumexp(Dtype::kF32, {s.tokens}, memory),
        row_of_slot(Dtype::kI64, {s.tokens, s.top_k}, memory),
        slot_of_row(Dtype::kI64, {s.slots()}, memory),
        offsets(static_cast<size_t>(s.experts) + 1),
        x(normal(memory, {s.tokens, s.width}, 3)),
        dy(normal(memory, {s.tokens, s.width}, 4)),
        rows(normal(memory, {s.slots(), s.width}, 5)),
        drows(Dtype::kF32, {s.slots(), s.width}, memory) {
    forward(ctx);
    route_permutation(ctx, {.expert = expert.view(),
                            .row_of_slot = row_of_slot.view(),
                            .slot_of_row = slot_of_row.view(),
                            .offsets = offsets});
  }

  void forward(Context& ctx) {
    route_forward(ctx, {.logits = logits.view(),
                        .renormalize = true,
                        .scores = scores.view(),
                        .expert = expert.view(),
                        .weight = weight.view(),
                        .logsumexp = logsumexp.view()});
  }

  Buffer logits, scores, dlogits, balance, expert, weight, dweight, logsumexp;
  Buffer row_of_slot, slot_of_row;
  std::vector<int64_t> offsets;
  Buffer x, dy, rows, drows;
};

void add_cases(Suite& suite, const Sizes& s) {
  const auto T = static_cast<double>(s.tokens), D = static_cast<double>(s.width),
             E = static_cast<double>(s.experts), k = static_cast<double>(s.top_k);
  const double f32 = 4, i32 = 4, i64 = 8;
  const auto add = [&](std::string family, Cost cost, auto make_trial) {
    suite.add({.family = std::move(family),
               .shape = s.to_string(),
               .cost = cost,
               .set_up = [s, make_trial](Context& ctx) {
                 return make_trial(ctx, std::make_shared<Operands>(ctx, s, ctx.memory()));
               }});
  };
  using Shared = std::shared_ptr<Operands>;

  add("route_forward", {.exps = T * E, .bytes = T * (2 * E * f32 + k * (f32 + i32) + f32)},
      [](Context& ctx, const Shared& o) {
        return Trial{[&ctx, o] { o->forward(ctx); },
                     {o->scores.view(), o->weight.view(), o->logsumexp.view()}};
      });
  add("route_backward", {.exps = T * E, .bytes = T * (3 * E * f32 + k * (2 * f32 + i32) + f32)},
      [](Context& ctx, const Shared& o) {
        return Trial{[&ctx, o] {
                       route_backward(ctx, {.logits = o->logits.view(),
                                            .scores = o->scores.view(),
                                            .expert = o->expert.view(),
                                            .weight = o->weight.view(),
                                            .logsumexp = o->logsumexp.view(),
                                            .renormalize = true,
                                            .dweight = o->weight.view(),
                                            .balance = o->balance.view(),
                                            .z_scale = 1e-3,
                                            .dlogits = o->dlogits.view()});
                     },
                     {o->dlogits.view()}};
      });
  add("gather_rows", {.bytes = T * (D * f32 + k * (D * f32 + i64))}, [s](Context& ctx, const Shared& o) {
    return Trial{[&ctx, o, s] {
                   gather_rows(ctx, {.x = o->x.view(),
                                     .slot_of_row = o->slot_of_row.view(),
                                     .top_k = s.top_k,
                                     .rows = o->rows.view()});
                 },
                 {o->rows.view()}};
  });
  add("gather_rows_backward", {.bytes = T * (D * f32 + k * (D * f32 + i64))},
      [](Context& ctx, const Shared& o) {
        return Trial{
            [&ctx, o] {
              gather_rows_backward(
                  ctx, {.drows = o->rows.view(), .row_of_slot = o->row_of_slot.view(), .dx = o->x.view()});
            },
            {o->x.view()}};
      });
  add("combine_rows", {.flops = 2 * T * k * D, .bytes = T * (D * f32 + k * (D * f32 + f32 + i64))},
      [](Context& ctx, const Shared& o) {
        return Trial{[&ctx, o] {
                       combine_rows(ctx, {.rows = o->rows.view(),
                                          .row_of_slot = o->row_of_slot.view(),
                                          .weight = o->weight.view(),
                                          .y = o->x.view()});
                     },
                     {o->x.view()}};
      });
  add("combine_rows_backward",
      {.flops = 3 * T * k * D, .bytes = T * (D * f32 + k * (2 * D * f32 + 2 * f32 + i64))},
      [](Context& ctx, const Shared& o) {
        return Trial{[&ctx, o] {
                       combine_rows_backward(ctx, {.rows = o->rows.view(),
                                                   .row_of_slot = o->row_of_slot.view(),
                                                   .slot_of_row = o->slot_of_row.view(),
                                                   .weight = o->weight.view(),
                                                   .dy = o->dy.view(),
                                                   .drows = o->drows.view(),
                                                   .dweight = o->dweight.view()});
                     },
                     {o->drows.view(), o->dweight.view()}};
      });
}

}  // namespace
}  // namespace natrix::bench

int main(int argc, char** argv) {
  natrix::bench::Suite suite("routing");
  natrix::bench::add_cases(suite,
                           {.tokens = 8192, .width = 256, .experts = 8, .top_k = 2});  // MoE-Mamba, small
  natrix::bench::add_cases(suite,
                           {.tokens = 4096, .width = 1024, .experts = 64, .top_k = 6});  // beyond every cache
  natrix::bench::add_cases(suite, {.tokens = 40, .width = 64, .experts = 4, .top_k = 2});  // smoke test
  return suite.run(argc, argv);
}
