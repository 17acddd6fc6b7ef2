// Causal attention with grouped queries, and rotary embedding. Attention is bound by multiply-adds: 4 D a pair of
// a query and a key that it sees, and 10 D backward, where one product is computed again. Decoding is bound by
// reading keys and values. bench/compare/attention.py measures torch beside it.
#include <cmath>
#include <fmt/format.h>
#include <vector>

#include "bench/harness.h"
#include "kernels/attention.h"
#include "kernels/rotary.h"

namespace natrix::bench {
namespace {

struct Sizes {
  int64_t past, tokens, heads, key_heads, dim;
  std::string to_string() const {
    return fmt::format("T {}  past {}  H {}  G {}  D {}", tokens, past, heads, key_heads, dim);
  }
  double pairs() const {
    const auto T = static_cast<double>(tokens);
    return static_cast<double>(heads) * (T * static_cast<double>(past) + T * (T + 1) / 2);
  }
};

/// Pages of one sequence.
struct Pages {
  Pages(Memory memory, const Sizes& s)
      : shape{{}, s.past + s.tokens, s.key_heads, s.dim, Dtype::kF32},
        all(Dtype::kF32, {shape.pages_of_sequence(), page_elements(s.key_heads, s.dim)}, memory) {
    for (int64_t p = 0; p < shape.pages_of_sequence(); ++p) pointers.push_back(all.view().row<float>(p));
    shape.pages = pointers;
  }
  KeyValuePages shape;
  Buffer all;
  std::vector<void*> pointers;
};

struct Operands {
  Operands(Memory memory, const Sizes& s)
      : sizes(s),
        q(normal(memory, {1, s.tokens, s.heads * s.dim}, 1)),
        k(normal(memory, {1, s.past + s.tokens, s.key_heads * s.dim}, 2)),
        v(normal(memory, {1, s.past + s.tokens, s.key_heads * s.dim}, 3)),
        dy(normal(memory, {1, s.tokens, s.heads * s.dim}, 4)),
        y(Dtype::kF32, {1, s.tokens, s.heads * s.dim}, memory),
        lse(Dtype::kF32, {1, s.heads, s.tokens}, memory),
        dq(Dtype::kF32, {1, s.tokens, s.heads * s.dim}, memory),
        pages(memory, s),
        gradients(memory, s) {
    Context ctx(Backend::kReference);
    append_rows(ctx, {.k = k.view(), .v = v.view(), .pages = pages.shape});
  }

  void forward(Context& ctx) const {
    attention_forward(ctx, {.q = q.view(),
                            .history = pages.shape,
                            .first = sizes.past,
                            .scale = scale(),
                            .y = y.view(),
                            .lse = lse.view()});
  }

  void forward_and_backward(Context& ctx) const {
    forward(ctx);
    attention_backward(ctx, {.q = q.view(),
                             .history = pages.shape,
                             .first = sizes.past,
                             .scale = scale(),
                             .y = y.view(),
                             .lse = lse.view(),
                             .dy = dy.view(),
                             .dq = dq.view(),
                             .dhistory = gradients.shape});
  }
  double scale() const { return 1 / std::sqrt(static_cast<double>(sizes.dim)); }

  Sizes sizes;
  Buffer q, k, v, dy, y, lse, dq;
  Pages pages, gradients;
};

void add_cases(Suite& suite, const Sizes& s, bool slow = false) {
  const double flops = s.pairs() * static_cast<double>(s.dim);
  const double history = static_cast<double>(2 * (s.past + s.tokens) * s.key_heads * s.dim * 4);
  suite.add({.family = "attention_forward",
             .shape = s.to_string(),
             .cost = {.flops = 4 * flops, .exps = s.pairs(), .reads = history},
             .set_up = trial_on<Operands>(
                 s, [](Context& ctx, const Operands& o) { o.forward(ctx); },
                 [](const Operands& o) {
                   return std::vector<View>{o.y.view(), o.lse.view()};
                 }),
             .slow = slow});
  if (s.tokens == 1) return;  // decoding has no backward
  suite.add({.family = "attention_forward_backward",
             .shape = s.to_string(),
             .cost = {.flops = 14 * flops, .exps = 2 * s.pairs(), .reads = 2 * history},
             .set_up = trial_on<Operands>(
                 s, [](Context& ctx, const Operands& o) { o.forward_and_backward(ctx); },
                 [](const Operands& o) {
                   return std::vector<View>{o.y.view(), o.lse.view(), o.dq.view(), o.gradients.all.view()};
                 }),
             .slow = slow});
}

struct RotaryOperands {
  RotaryOperands(Memory memory, const Sizes& s)
      : dim(s.dim),
        x(normal(memory, {1, s.tokens, (s.heads + s.key_heads) * s.dim}, 1)),
        y(Dtype::kF32, x.view().shape, memory),
        frequencies(rotary_frequencies({.width = s.dim})) {}
  int64_t dim;
  Buffer x, y;
  std::vector<double> frequencies;
};

void add_rotary(Suite& suite, const Sizes& s) {
  const double elements = static_cast<double>(s.tokens * (s.heads + s.key_heads) * s.dim);
  suite.add(
      {.family = "rotary",
       .shape = s.to_string(),
       .cost = {.bytes = 8 * elements},
       .set_up = trial_on<RotaryOperands>(
           s,
           [](Context& ctx, const RotaryOperands& o) {
             rotary(ctx, {.x = o.x.view(), .head_dim = o.dim, .frequencies = o.frequencies, .y = o.y.view()});
           },
           [](const RotaryOperands& o) { return std::vector<View>{o.y.view()}; })});
}

}  // namespace
}  // namespace natrix::bench

int main(int argc, char** argv) {
  using namespace natrix::bench;
  Suite suite("attention");
  add_cases(suite, {.past = 0, .tokens = 4096, .heads = 8, .key_heads = 2, .dim = 64}, true);
  add_cases(suite, {.past = 3584, .tokens = 512, .heads = 8, .key_heads = 2, .dim = 64});  // its last chunk
  add_cases(suite, {.past = 0, .tokens = 1024, .heads = 8, .key_heads = 8, .dim = 128});
  add_cases(suite, {.past = 0, .tokens = 40, .heads = 4, .key_heads = 2, .dim = 16});     // smoke test
  add_cases(suite, {.past = 32767, .tokens = 1, .heads = 8, .key_heads = 2, .dim = 64});  // decoding
  add_cases(suite, {.past = 1023, .tokens = 1, .heads = 8, .key_heads = 8, .dim = 64});
  add_rotary(suite, {.past = 0, .tokens = 512, .heads = 8, .key_heads = 2, .dim = 64});
  add_rotary(suite, {.past = 0, .tokens = 1, .heads = 8, .key_heads = 2, .dim = 64});
  return suite.run(argc, argv);
}
