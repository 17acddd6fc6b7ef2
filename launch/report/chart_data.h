// What the report's script draws, as JSON: metrics thinned to a bounded number of points.
//
// A run with more than kMostPoints logged steps is divided into that many bins of consecutive steps. A curve
// then has the mean of each bin in "y", and its extremes in "lo" and "hi", so that no spike is lost. "broken"
// lists the points with a number that is not finite. A curve without any finite number is null.
//
//   {"steps": {"step": […], "tokens": […], "loss": CURVE, "grad_norm": CURVE, …},
//    "evals": {"step": […], "tokens": […], "loss": CURVE, "bits_per_byte": CURVE},
//    "position": {"step": 100, "from": […], "loss": […]} | null,
//    "experts": {"step": […], "first": 10, "last": 1000, "layers": L, "experts": E, "load": [[share · 1e5, L
//    × E of them], …]} | null}
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>

#include "core/report/metrics.h"

namespace natrix {

inline constexpr size_t kMostPoints = 1500;      // of a curve: half the columns of a wide screen
inline constexpr size_t kMostHeatColumns = 240;  // of an expert's heat map …
inline constexpr size_t kMostHeatCells =
    400'000;  // fewer columns for many layers and experts: the page stays at a few MB
inline constexpr size_t kFewestHeatColumns = 40;

nlohmann::json chart_data(const Metrics& metrics);

/// The number of experts, over all layers, that received less than a tenth of an even share of the tokens.
double starved_experts(const std::vector<std::vector<double>>& expert_load);

}  // namespace natrix
