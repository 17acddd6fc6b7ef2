#include "core/train/diagnose.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <optional>

#include "kernels/base/transfer.h"

namespace natrix {
namespace {

std::optional<std::string> forward_culprit(Model& model, Context& ctx, const Sequences& rows, int64_t chunk) {
  const std::string stack = model.config().stack();
  LocalRoute states;
  states.resume(rows.start);
  StepTally unused;
  SaveStack nothing;
  for (int64_t first = 0; first < rows.length(); first += chunk) {
    Arena::Frame frame(ctx.arena());
    const int64_t n = std::min(chunk, rows.length() - first);
    const auto part = [&](View v) {
      if (!v) return View{};
      View p = ctx.arena().take(v.dtype, {rows.batch(), n});
      copy(v.columns(first, n), p);
      return p;
    };
    std::optional<int> culprit;
    const std::function<void(int, View)> observe = [&](int sublayer, View y) {
      if (!culprit && !all_finite(y)) culprit = sublayer;
    };
    states.begin_segment(first + n == rows.length());
    Pass pass{ctx,
              nothing,
              states,
              unused,
              {.batch = rows.batch(), .tokens = n, .doc_start = part(rows.doc_start)}};
    pass.observe = &observe;
    model.hidden(pass, part(rows.tokens));
    if (culprit) {
      return fmt::format("first seen in the output of sublayer {} ({}), tokens {} to {}", *culprit,
                         stack[static_cast<size_t>(*culprit)], first, first + n - 1);
    }
  }
  return std::nullopt;
}

}  // namespace

bool all_finite(View anywhere) {
  const OnHost host(anywhere);
  const View v = host.view();
  bool finite = true;
  for_stored(v.dtype, [&](auto zero) {
    for (int64_t r = 0; r < v.rows() && finite; ++r) {
      const auto* p = v.row<decltype(zero)>(r);
      finite = std::all_of(p, p + v.cols(), [](auto x) { return std::isfinite(static_cast<double>(x)); });
    }
  });
  return finite;
}

std::string locate_nonfinite(Model& model, Context& ctx, std::span<const Sequences> rows, int64_t chunk) {
  const std::vector<Param*> params = model.params();
  for (const Param* p : params) {
    if (!all_finite(p->value)) return fmt::format("the weight {} is not finite", p->name);
  }
  for (const Sequences& r : rows) {
    if (auto culprit = forward_culprit(model, ctx, r, chunk)) return *culprit;
  }
  for (auto p = params.rbegin(); p != params.rend(); ++p) {
    if ((*p)->grad && !all_finite((*p)->grad))
      return fmt::format("the gradient of {} is not finite", (*p)->name);
  }
  return "weights, activations and gradients are finite when computed again";
}

}  // namespace natrix
