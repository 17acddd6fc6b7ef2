// Metrics that look like a training run's: a loss that falls as a power of the step, noise, a few spikes,
// experts that start uneven and balance.
#pragma once

#include <cmath>
#include <random>

#include "core/report/metrics.h"

namespace natrix {

struct SyntheticRun {
  int64_t steps = 1000, log_every = 10, eval_every = 100;
  int64_t layers = 4, experts = 8;  // 0 layers: no experts
  double level = 1.9;               // what the loss falls to
  uint64_t seed = 1;
};

inline std::vector<std::vector<double>> synthetic_load(const SyntheticRun& run, double progress,
                                                       std::mt19937_64& random) {
  std::vector<std::vector<double>> load;
  std::normal_distribution<double> noise(0, 0.08);
  for (int64_t l = 0; l < run.layers; ++l) {
    auto& shares = load.emplace_back();
    double sum = 0;
    for (int64_t e = 0; e < run.experts; ++e) {
      const double taste = 1.8 * std::sin(static_cast<double>(7 * l + 3 * e) + static_cast<double>(run.seed));
      shares.push_back(std::exp(taste * std::exp(-4 * progress) + noise(random)));
      if (l == run.layers - 1 && e == 2) shares.back() *= std::exp(-6 * progress);  // an expert that dies
      sum += shares.back();
    }
    for (double& share : shares) share /= sum;
  }
  return load;
}

inline Metrics synthetic_metrics(const SyntheticRun& run) {
  std::mt19937_64 random(run.seed);
  std::normal_distribution<double> noise(0, 1);
  Metrics metrics;
  for (int64_t step = run.log_every; step <= run.steps; step += run.log_every) {
    const auto s = static_cast<double>(step);
    const double progress = s / static_cast<double>(run.steps);
    const double curve = run.level + 3.6 * std::pow(1 + s / 20, -0.55);
    const bool spike = random() % 97 == 0;
    StepMetrics m{.step = step,
                  .tokens = step * 32768,
                  .loss = curve + 0.05 * noise(random) + (spike ? 0.6 : 0),
                  .grad_norm = std::exp(-0.6 + 1.5 * std::pow(1 + s / 30, -0.6) + 0.15 * noise(random) +
                                        (spike ? 2 : 0)),
                  .lr = 3e-4 * (s < 100 ? s / 100 : 0.1 + 0.9 * 0.5 * (1 + std::cos(3.14159 * progress))),
                  .tokens_per_second = 10100 + 240 * noise(random) - (step % 100 == 0 ? 1800 : 0),
                  .seconds = 3.24,
                  .memory_bytes = 1288490189 + (step > 100 ? 40000000 : 0)};
    if (run.layers > 0) {
      m.expert_load = synthetic_load(run, progress, random);
      m.aux_loss = static_cast<double>(run.layers) *
                   (1 + 0.4 * std::exp(-4 * progress) + 0.005 * std::abs(noise(random)));
      m.z_loss = 12 * std::exp(-2 * progress) + 0.6 + 0.1 * noise(random);
    }
    metrics.steps.push_back(std::move(m));
    if (step % run.eval_every == 0) {
      EvalMetrics e{.step = step, .eval_loss = curve + 0.04 + 0.008 * noise(random)};
      e.eval_bits_per_byte = e.eval_loss / std::log(2.0);
      for (int64_t from = 0; from < 65536; from = from == 0 ? 1 : 2 * from) {
        e.loss_by_position.push_back(
            {from,
             e.eval_loss - 0.1 + 3 * std::pow(1.0 + static_cast<double>(from), -0.5) + 0.01 * noise(random)});
      }
      metrics.evals.push_back(std::move(e));
    }
  }
  return metrics;
}

}  // namespace natrix
