#include "launch/report/chart_data.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace natrix {
namespace {

using nlohmann::json;

struct Bin {
  size_t begin, end;
  size_t middle() const { return (begin + end - 1) / 2; }
};

/// Divides items into at most `most` bins of consecutive items, whose sizes differ by at most one.
std::vector<Bin> bins_of(size_t items, size_t most) {
  const size_t count = std::min(items, most);
  std::vector<Bin> bins;
  for (size_t i = 0; i < count; ++i) bins.push_back({i * items / count, (i + 1) * items / count});
  return bins;
}

/// Six digits are more than a screen resolves, and make the page half as large.
json rounded(double x) {
  return std::isfinite(x) ? json(std::stod(fmt::format("{:.6g}", x))) : json();
}

json curve(const std::vector<double>& values, const std::vector<Bin>& bins) {
  json y = json::array(), lo = json::array(), hi = json::array(), broken = json::array();
  bool any = false;
  for (size_t i = 0; i < bins.size(); ++i) {
    double sum = 0, least = INFINITY, most = -INFINITY;
    size_t finite = 0;
    for (size_t j = bins[i].begin; j < bins[i].end; ++j) {
      if (!std::isfinite(values[j])) continue;
      sum += values[j];
      least = std::min(least, values[j]);
      most = std::max(most, values[j]);
      ++finite;
    }
    y.push_back(rounded(sum / static_cast<double>(finite)));  // null if there is none
    lo.push_back(rounded(least));
    hi.push_back(rounded(most));
    if (finite < bins[i].end - bins[i].begin) broken.push_back(i);
    any |= finite > 0;
  }
  if (!any) return nullptr;
  json c{{"y", std::move(y)}, {"broken", std::move(broken)}};
  if (bins.size() < values.size()) {
    c["lo"] = std::move(lo);
    c["hi"] = std::move(hi);
  }
  return c;
}

template <class Items, class Get>
std::vector<double> values_of(const Items& items, Get get) {
  std::vector<double> values;
  for (const auto& item : items) values.push_back(static_cast<double>(std::invoke(get, item)));
  return values;
}

template <class Items, class Get>
json middles(const Items& items, const std::vector<Bin>& bins, Get get) {
  json x = json::array();
  for (const Bin& bin : bins) x.push_back(std::invoke(get, items[bin.middle()]));
  return x;
}

json step_curves(const std::vector<StepMetrics>& steps) {
  const auto bins = bins_of(steps.size(), kMostPoints);
  json data{{"step", middles(steps, bins, &StepMetrics::step)},
            {"tokens", middles(steps, bins, &StepMetrics::tokens)}};
  const auto add = [&](const char* key, auto get) { data[key] = curve(values_of(steps, get), bins); };
  add("loss", &StepMetrics::loss);
  add("grad_norm", &StepMetrics::grad_norm);
  add("lr", &StepMetrics::lr);
  add("tokens_per_second", &StepMetrics::tokens_per_second);
  add("memory_bytes",
      [](const StepMetrics& m) { return m.memory_bytes > 0 ? static_cast<double>(m.memory_bytes) : NAN; });

  const bool experts =
      std::any_of(steps.begin(), steps.end(), [](const auto& m) { return !m.expert_load.empty(); });
  for (const char* key : {"aux_loss", "z_loss", "entropy", "starved"}) data[key] = nullptr;
  if (experts) {
    add("aux_loss", &StepMetrics::aux_loss);
    add("z_loss", &StepMetrics::z_loss);
    add("entropy", [](const StepMetrics& m) { return mean_load_entropy(m.expert_load); });
    add("starved", [](const StepMetrics& m) { return starved_experts(m.expert_load); });
  }
  return data;
}

/// The number of tokens trained on up to a step, interpolated between logged steps.
double tokens_at(int64_t step, const std::vector<StepMetrics>& steps) {
  const auto after = std::ranges::lower_bound(steps, step, {}, &StepMetrics::step);
  if (steps.empty()) return 0;
  if (after == steps.end()) return static_cast<double>(steps.back().tokens);
  const StepMetrics before = after == steps.begin() ? StepMetrics{} : *(after - 1);
  if (after->step == before.step) return static_cast<double>(after->tokens);
  return std::lerp(static_cast<double>(before.tokens), static_cast<double>(after->tokens),
                   static_cast<double>(step - before.step) / static_cast<double>(after->step - before.step));
}

json eval_curves(const Metrics& m) {
  const auto bins = bins_of(m.evals.size(), kMostPoints);
  return {{"step", middles(m.evals, bins, &EvalMetrics::step)},
          {"tokens", middles(m.evals, bins,
                             [&](const EvalMetrics& e) { return std::round(tokens_at(e.step, m.steps)); })},
          {"loss", curve(values_of(m.evals, &EvalMetrics::eval_loss), bins)},
          {"bits_per_byte", curve(values_of(m.evals, &EvalMetrics::eval_bits_per_byte), bins)}};
}

/// The loss by position of the latest evaluation that recorded it.
json loss_by_position(const std::vector<EvalMetrics>& evals) {
  const auto latest = std::find_if(evals.rbegin(), evals.rend(),
                                   [](const EvalMetrics& e) { return !e.loss_by_position.empty(); });
  if (latest == evals.rend()) return nullptr;
  json from = json::array(), loss = json::array();
  for (const auto& bucket : latest->loss_by_position) {
    from.push_back(bucket.from);
    loss.push_back(rounded(bucket.loss));
  }
  return {{"step", latest->step}, {"from", from}, {"loss", loss}};
}

bool same_shape(const std::vector<std::vector<double>>& a, const std::vector<std::vector<double>>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return x.size() == y.size(); });
}

json expert_loads(const std::vector<StepMetrics>& steps) {
  std::vector<const StepMetrics*> items;  // the steps with the same layers and experts as the last step
  for (const auto& m : steps) {
    if (!m.expert_load.empty() && same_shape(m.expert_load, steps.back().expert_load)) items.push_back(&m);
  }
  if (items.empty() || items[0]->expert_load[0].empty()) return nullptr;
  const size_t layers = items[0]->expert_load.size(), experts = items[0]->expert_load[0].size();
  const size_t most = std::clamp(kMostHeatCells / (layers * experts), kFewestHeatColumns, kMostHeatColumns);

  json step = json::array(), load = json::array();
  for (const Bin& bin : bins_of(items.size(), most)) {
    step.push_back(items[bin.middle()]->step);
    json column = json::array();
    for (size_t l = 0; l < layers; ++l) {
      for (size_t e = 0; e < experts; ++e) {
        double sum = 0;
        for (size_t j = bin.begin; j < bin.end; ++j) sum += items[j]->expert_load[l][e];
        const double share = sum / static_cast<double>(bin.end - bin.begin);
        column.push_back(std::isfinite(share) ? json(std::llround(share * 1e5)) : json());
      }
    }
    load.push_back(std::move(column));
  }
  return {{"step", step},     {"first", items.front()->step}, {"last", items.back()->step},
          {"layers", layers}, {"experts", experts},           {"load", load}};
}

}  // namespace

double starved_experts(const std::vector<std::vector<double>>& expert_load) {
  if (expert_load.empty()) return kNotMeasured;
  double starved = 0;
  for (const auto& shares : expert_load) {
    const double even = 1 / static_cast<double>(shares.size());
    starved += static_cast<double>(
        std::count_if(shares.begin(), shares.end(), [&](double share) { return share < even / 10; }));
  }
  return starved;
}

json chart_data(const Metrics& metrics) {
  return {{"steps", step_curves(metrics.steps)},
          {"evals", eval_curves(metrics)},
          {"position", loss_by_position(metrics.evals)},
          {"experts", expert_loads(metrics.steps)}};
}

}  // namespace natrix
