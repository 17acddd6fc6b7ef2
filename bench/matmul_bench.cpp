// Matrix products, dense and grouped by expert: bound by multiply-adds from some tens of rows on, and by the
// bytes of the weight below. The three products of a linear layer: y = x Wᵀ, dx = dy W, dW += dyᵀ x.
#include <fmt/format.h>
#include <memory>
#include <numeric>

#include "bench/harness.h"
#include "kernels/matmul.h"

namespace natrix::bench {
namespace {

Cost cost_of(int64_t rows, int64_t in, int64_t out, int64_t weights = 1) {
  const auto R = static_cast<double>(rows), K = static_cast<double>(in), N = static_cast<double>(out);
  return {.flops = 2 * R * K * N, .bytes = 4 * (R * K + R * N + static_cast<double>(weights) * K * N)};
}

/// A layer [out, in] and what flows through it.
struct Linear {
  Linear(int64_t rows, int64_t in, int64_t out)
      : x(normal({rows, in}, 1)),
        weight(normal({out, in}, 2)),
        dy(normal({rows, out}, 3)),
        y(Dtype::kF32, {rows, out}),
        dx(Dtype::kF32, {rows, in}),
        dweight(Dtype::kF32, {out, in}) {}

  Buffer x, weight, dy, y, dx, dweight;
};

void add_linear(Suite& suite, int64_t rows, int64_t in, int64_t out) {
  const auto add = [&](std::string family, auto run, auto output) {
    suite.add({.family = std::move(family),
               .shape = fmt::format("T {}  {} -> {}", rows, in, out),
               .cost = cost_of(rows, in, out),
               .set_up = [=](Context& ctx) {
                 const auto o = std::make_shared<const Linear>(rows, in, out);
                 return Trial{[&ctx, o, run] { run(ctx, *o); }, {((*o).*output).view()}};
               }});
  };
  add(
      "linear_forward",
      [](Context& ctx, const Linear& o) {
        matmul(ctx, {.a = o.x.view(), .b = o.weight.view(), .c = o.y.view(), .transpose_b = true});
      },
      &Linear::y);
  if (rows == 1) return;  // decoding has no backward
  add(
      "linear_dx",
      [](Context& ctx, const Linear& o) {
        matmul(ctx, {.a = o.dy.view(), .b = o.weight.view(), .c = o.dx.view()});
      },
      &Linear::dx);
  add(
      "linear_dW",
      [](Context& ctx, const Linear& o) {
        matmul(ctx, {.a = o.dy.view(),
                     .b = o.x.view(),
                     .c = o.dweight.view(),
                     .transpose_a = true,
                     .accumulate = true});
      },
      &Linear::dweight);
}

/// Experts' first products: how rows are spread is `rows_of`, one number an expert.
void add_grouped(Suite& suite, const std::string& spread, const std::vector<int64_t>& rows_of, int64_t in,
                 int64_t out) {
  std::vector<int64_t> offsets(rows_of.size() + 1);
  std::partial_sum(rows_of.begin(), rows_of.end(), offsets.begin() + 1);
  const int64_t rows = offsets.back(), experts = static_cast<int64_t>(rows_of.size());
  const std::string shape = fmt::format("T {}  {} -> {}  E {} {}", rows, in, out, experts, spread);
  struct Operands {
    Buffer x, weight, dy, y, dweight;
    std::vector<int64_t> offsets;
  };
  const auto make = [=] {
    return std::make_shared<const Operands>(Operands{normal({rows, in}, 1), normal({experts, out, in}, 2),
                                                     normal({rows, out}, 3), Buffer(Dtype::kF32, {rows, out}),
                                                     Buffer(Dtype::kF32, {experts, out, in}), offsets});
  };
  suite.add({.family = "grouped_forward",
             .shape = shape,
             .cost = cost_of(rows, in, out, experts),
             .set_up = [make](Context& ctx) {
               const auto o = make();
               return Trial{[&ctx, o] {
                              grouped_matmul(ctx, {.a = o->x.view(),
                                                   .b = o->weight.view(),
                                                   .c = o->y.view(),
                                                   .offsets = o->offsets,
                                                   .transpose_b = true});
                            },
                            {o->y.view()}};
             }});
  suite.add(
      {.family = "grouped_dW",
       .shape = shape,
       .cost = cost_of(rows, in, out, experts),
       .set_up = [make](Context& ctx) {
         const auto o = make();
         return Trial{
             [&ctx, o] {
               grouped_outer(
                   ctx, {.a = o->dy.view(), .b = o->x.view(), .c = o->dweight.view(), .offsets = o->offsets});
             },
             {o->dweight.view()}};
       }});
}

}  // namespace
}  // namespace natrix::bench

int main(int argc, char** argv) {
  natrix::bench::Suite suite("matmul");
  for (const int64_t rows : {1, 16, 64, 512, 2048}) {
    natrix::bench::add_linear(suite, rows, 768, 3072);  // in_proj of Mamba-130M
  }
  natrix::bench::add_linear(suite, 512, 1536, 80);   // its x_proj: few columns
  natrix::bench::add_linear(suite, 4096, 192, 768);  // in_proj of the quickstart
  natrix::bench::add_grouped(suite, "even", std::vector<int64_t>(8, 512), 256, 1024);
  natrix::bench::add_grouped(suite, "skewed", {2048, 1024, 512, 256, 128, 64, 0, 64}, 256, 1024);
  natrix::bench::add_grouped(suite, "one row each", std::vector<int64_t>(8, 1), 256, 1024);
  return suite.run(argc, argv);
}
