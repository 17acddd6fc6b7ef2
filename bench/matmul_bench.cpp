// Matrix products, dense and grouped by expert. Bound by multiply-adds from some tens of rows on, and below
// that by reading the weights. The three products of a linear layer: y = x Wᵀ, dx = dy W, dW += dyᵀ x.
//
// A row of a product depends only on its row of op(a) and on b (kernels/matmul.h). So for dense products the
// reference computes only some rows; all rows would take it longer than everything that is timed here.
#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <numeric>

#include "bench/harness.h"
#include "kernels/matmul.h"
#include "kernels/packed_matmul.h"

namespace natrix::bench {
namespace {

constexpr double kFloat = 4;  // bytes

struct Sizes {
  int64_t rows, in, out;
  Dtype dtype = Dtype::kF32;  // dtype of all but the gradients of weights
  std::string to_string() const {
    return fmt::format("T {}  {} -> {}{}", rows, in, out, in_bf16() ? "  bf16" : "");
  }
  double flops() const { return 2 * static_cast<double>(rows * in * out); }
  bool in_bf16() const { return dtype == Dtype::kBF16; }

  /// [rows of c, terms] times [terms, columns of c]: operands are read, the result is written.
  Cost cost(double operands, double result) const {
    const auto width = static_cast<double>(size_of(dtype));
    Cost c{.bytes = width * result, .reads = width * operands};
    (in_bf16() ? c.bf16_flops : c.flops) = flops();
    return c;
  }
  /// The cost of adding the product to an existing f32 result.
  Cost cost_of_sum(double operands, double result) const {
    Cost c = cost(operands, result);
    c.bytes = 2 * kFloat * result;
    return c;
  }
  /// A case with the name and shape of these sizes.
  Case named(std::string family, const std::string& load, Cost cost) const {
    return {.family = std::move(family),
            .shape = to_string() + load,
            .cost = cost,
            .set_up = {},
            .tolerance = in_bf16() ? kBf16Tolerance : 1e-5,
            .device_only = in_bf16()};
  }
};

/// A layer [out, in] and the tensors that flow through it.
struct Linear {
  Linear(Memory memory, const Sizes& s)
      : x(normal_activations(memory, {s.rows, s.in}, s.dtype, 1)),
        weight(normal_activations(memory, {s.out, s.in}, s.dtype, 2)),
        dy(normal_activations(memory, {s.rows, s.out}, s.dtype, 3)),
        y(activations(memory, {s.rows, s.out}, s.dtype)),
        dx(activations(memory, {s.rows, s.in}, s.dtype)),
        dweight(Dtype::kF32, {s.out, s.in}, memory) {}

  Matmul forward() const { return {.a = x.view(), .b = weight.view(), .c = y.view(), .transpose_b = true}; }
  Matmul input_gradient() const { return {.a = dy.view(), .b = weight.view(), .c = dx.view()}; }
  Matmul weight_gradient() const {
    return {.a = dy.view(), .b = x.view(), .c = dweight.view(), .transpose_a = true, .accumulate = true};
  }

  Buffer x, weight, dy, y, dx, dweight;
};

/// The first and the last row of c, and some in between.
std::vector<int64_t> some_rows(View c) {
  constexpr int64_t kMost = 8;
  const int64_t count = std::min(kMost, c.rows());
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < count; ++i) rows.push_back(i * (c.rows() - 1) / std::max<int64_t>(count - 1, 1));
  return rows;
}

/// The product that computes only row r of c.
Matmul row_of(Matmul product, int64_t r) {
  product.a = product.transpose_a ? product.a.columns(r, 1) : product.a.row_range(r, 1);
  product.c = product.c.row_range(r, 1);
  return product;
}

void add_product(Suite& suite, const std::string& family, const Sizes& s, Matmul (Linear::*product)() const,
                 Cost cost) {
  Case c = s.named(family, "", cost);
  c.set_up = [=](Context& ctx) {
    const auto o = std::make_shared<const Linear>(ctx.memory(), s);
    const Matmul whole = ((*o).*product)();
    std::vector<Matmul> products;
    Trial trial;
    for (const int64_t r : some_rows(whole.c)) {
      products.push_back(row_of(whole, r));
      trial.outputs.push_back(products.back().c);
    }
    if (ctx.backend() != Backend::kReference) products = {whole};
    trial.run = [&ctx, o, products] {
      for (const Matmul& p : products) matmul(ctx, p);
    };
    return trial;
  };
  suite.add(std::move(c));
}

void add_linear(Suite& suite, const Sizes& s) {
  const auto T = static_cast<double>(s.rows), I = static_cast<double>(s.in), O = static_cast<double>(s.out);
  add_product(suite, "linear_forward", s, &Linear::forward, s.cost(T * I + O * I, T * O));
  if (s.rows == 1) return;  // decoding has no backward
  add_product(suite, "linear_input_gradient", s, &Linear::input_gradient, s.cost(T * O + O * I, T * I));
  add_product(suite, "linear_weight_gradient", s, &Linear::weight_gradient,
              s.cost_of_sum(T * (I + O), O * I));
}

/// The first products of experts [out, in]. Rows are sorted by expert.
struct Experts {
  Experts(Memory memory, const Sizes& s, const std::vector<int64_t>& rows_of)
      : linear(memory, s),
        weight(normal_activations(memory, {static_cast<int64_t>(rows_of.size()), s.out, s.in}, s.dtype, 4)),
        dweight(Dtype::kF32, weight.view().shape, memory),
        offsets(rows_of.size() + 1) {
    std::partial_sum(rows_of.begin(), rows_of.end(), offsets.begin() + 1);
  }

  Linear linear;  // for its x, dy, y and dx
  Buffer weight, dweight;
  std::vector<int64_t> offsets;
};

void forward(Context& ctx, const Experts& e) {
  grouped_matmul(ctx, {.a = e.linear.x.view(),
                       .b = e.weight.view(),
                       .c = e.linear.y.view(),
                       .offsets = e.offsets,
                       .transpose_b = true});
}

void input_gradient(Context& ctx, const Experts& e) {
  grouped_matmul(
      ctx, {.a = e.linear.dy.view(), .b = e.weight.view(), .c = e.linear.dx.view(), .offsets = e.offsets});
}

void weight_gradient(Context& ctx, const Experts& e) {
  grouped_outer(ctx, {.a = e.linear.dy.view(),
                      .b = e.linear.x.view(),
                      .c = e.dweight.view(),
                      .offsets = e.offsets,
                      .accumulate = true});
}

/// rows_of: the number of rows of each expert.
void add_grouped(Suite& suite, const std::string& load, const std::vector<int64_t>& rows_of, int64_t in,
                 int64_t out, Dtype dtype = Dtype::kF32) {
  const Sizes s{std::accumulate(rows_of.begin(), rows_of.end(), int64_t{0}), in, out, dtype};
  const auto used = std::count_if(rows_of.begin(), rows_of.end(), [](int64_t n) { return n > 0; });
  const auto T = static_cast<double>(s.rows), I = static_cast<double>(in), O = static_cast<double>(out);
  const double weights = static_cast<double>(used) * I * O;  // weights of an expert without rows are not read
  const auto add = [&](const char* family, Cost cost, auto run, auto output) {
    Case c = s.named(family, fmt::format("  E {} {}", rows_of.size(), load), cost);
    c.set_up = [=](Context& ctx) {
      const auto e = std::make_shared<const Experts>(ctx.memory(), s, rows_of);
      return Trial{.run = [&ctx, e, run] { run(ctx, *e); }, .outputs = {output(*e)}};
    };
    suite.add(std::move(c));
  };
  add("grouped_forward", s.cost(T * I + weights, T * O), forward,
      [](const Experts& e) { return e.linear.y.view(); });
  add("grouped_input_gradient", s.cost(T * O + weights, T * I), input_gradient,
      [](const Experts& e) { return e.linear.dx.view(); });
  add("grouped_weight_gradient", s.cost_of_sum(T * (I + O), weights), weight_gradient,
      [](const Experts& e) { return e.dweight.view(); });
}

/// A linear layer [out, in] with packed weights.
struct PackedLinear {
  PackedLinear(Context& ctx, const Sizes& s, WeightFormat format)
      : linear(ctx.memory(), s),
        data(Dtype::kU8, {packed_bytes(format, linear.weight.view().shape)}, ctx.memory()),
        scale(Dtype::kF32, {s.out}, ctx.memory()),
        weight{.format = format,
               .rows = s.out,
               .cols = s.in,
               .data = data.view().data,
               .scale = format == WeightFormat::kInt8 ? scale.view().as<float>() : nullptr} {
    pack_weight(ctx, linear.weight.view(), weight);
  }

  Linear linear;  // for its x and y
  Buffer data, scale;
  PackedWeight weight;
};

/// The products of one decoded token, in each format.
void add_packed(Suite& suite, const Sizes& s) {
  const std::pair<WeightFormat, const char*> formats[] = {
      {WeightFormat::kF32, "f32"}, {WeightFormat::kBF16, "bf16"}, {WeightFormat::kInt8, "int8"}};
  for (const auto& [format, name] : formats) {
    const auto weights = static_cast<double>(element_bytes(format) * s.in * s.out);
    suite.add({.family = fmt::format("packed_linear_{}", name),
               .shape = s.to_string(),
               .cost = {.flops = s.flops(), .reads = weights + kFloat * static_cast<double>(s.in + s.out)},
               .set_up = [=, format = format](Context& ctx) {
                 const auto o = std::make_shared<const PackedLinear>(ctx, s, format);
                 const View y = o->linear.y.view();
                 return Trial{.run =
                                  [&ctx, o, y] {
                                    packed_matmul(
                                        ctx, {.a = o->linear.x.view(), .b = o->weight, .c = y, .bias = {}});
                                  },
                              .outputs = {y}};
               }});
  }
}

/// The gradient of a bias.
void add_column_sum(Suite& suite, const Sizes& s) {
  suite.add({.family = "column_sum",
             .shape = fmt::format("T {}  {}", s.rows, s.out),
             .cost = {.reads = kFloat * static_cast<double>(s.rows * s.out)},
             .set_up = [s](Context& ctx) {
               const auto o = std::make_shared<const Linear>(ctx.memory(), s);
               const View sum = o->dweight.view().reshaped({s.out});
               return Trial{.run = [&ctx, o, sum] { column_sum(ctx, {.a = o->dy.view(), .sum = sum}); },
                            .outputs = {sum}};
             }});
}

}  // namespace
}  // namespace natrix::bench

int main(int argc, char** argv) {
  using namespace natrix::bench;
  Suite suite("matmul");
  for (const int64_t rows : {1, 16, 64, 256, 512, 2048}) {  // Mamba-130M: in_proj, x_proj, dt_proj, out_proj
    add_linear(suite, {rows, 768, 3072});
    add_linear(suite, {rows, 1536, 80});
    add_linear(suite, {rows, 48, 1536});
    add_linear(suite, {rows, 1536, 768});
  }
  for (const int64_t rows : {1, 16, 64}) add_linear(suite, {rows, 768, 50280});  // its head, a tile at most
  // One token, with weights in the L2 cache, in the last-level cache, and in memory.
  for (const Sizes& s : {Sizes{1, 768, 512}, {1, 768, 3072}, {1, 768, 50280}}) add_packed(suite, s);
  add_column_sum(suite, {512, 1, 1536});
  add_linear(suite, {4096, 192, 768});                                      // in_proj of the quickstart
  add_grouped(suite, "balanced", std::vector<int64_t>(8, 1024), 192, 512);  // its experts
  add_grouped(suite, "skewed", {4096, 2048, 1024, 512, 256, 128, 128, 0}, 192, 512);
  add_grouped(suite, "one row each", std::vector<int64_t>(8, 1), 192, 512);
  add_grouped(suite, "one row each", std::vector<int64_t>(64, 1), 768, 1024);
  add_linear(suite, {40, 48, 64});  // smoke test
  constexpr auto kBF16 = natrix::Dtype::kBF16;
  add_linear(suite, {40, 48, 64, kBF16});
  for (const int64_t rows : {1, 2048, 16384}) {
    add_linear(suite, {rows, 768, 3072, kBF16});
    add_linear(suite, {rows, 1536, 768, kBF16});
  }
  add_grouped(suite, "balanced", std::vector<int64_t>(16, 1024), 1024, 2816,
              kBF16);  // of a model with a billion parameters
  return suite.run(argc, argv);
}
