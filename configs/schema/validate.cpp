#include "configs/schema/validate.h"

#include <algorithm>
#include <fmt/format.h>

#include "configs/schema/model_bounds.h"

namespace natrix {
namespace {

struct Checks {
  std::vector<Contradiction> found;

  void expect(bool holds, const char* key, const std::string& what) {
    if (!holds) found.push_back({key, what});
  }
};

void check_model(Checks& c, const LoadedConfig& l) {
  const ModelConfig& m = l.config.model;
  if (m.init_from.empty()) {
    c.expect(!m.pattern.empty(), "model.pattern",
             "missing; say what the model is, such as pattern: ME, or init_from: DIR");
    c.expect(m.d_model > 0, "model.d_model", "missing; the width of the model, such as d_model: 256");
  }
  // With a checkpoint, only what is said of both can contradict; the caller compares the rest with it.
  const bool knows_both =
      m.init_from.empty() || (l.was_set("model.moe.top_k") && l.was_set("model.moe.num_experts"));
  for (const Contradiction& found : contradictions(m)) {
    if (knows_both || found.key != "model.moe.top_k") c.found.push_back(found);
  }
}

void check_weights(Checks& c, const DataConfig& d) {
  const auto has_weight = [](const DataEntry& entry) { return entry.weight.has_value(); };
  const auto weights = std::count_if(d.train.begin(), d.train.end(), has_weight);
  c.expect(weights == 0 || static_cast<size_t>(weights) == d.train.size(), "data.train",
           fmt::format("{} of its {} items have a weight; give all of them one, or none", weights,
                       d.train.size()));
  c.expect(static_cast<size_t>(weights) <= kMostSources, "data.train",
           fmt::format("{} items have a weight; a mixture has at most {}", weights, kMostSources));
  c.expect(weights == 0 || d.order == DataOrder::kShuffled, "data.order",
           "sequential reads on in one text; a mixture (weights in data.train) needs shuffled");
  c.expect(std::none_of(d.eval.begin(), d.eval.end(), has_weight), "data.eval",
           "its items have weights, but held-out text is read once, from its start; leave them out");
}

void check_data(Checks& c, const ExperimentConfig& config) {
  const DataConfig& d = config.data;
  c.expect(!d.train.empty() || !d.batches.empty(), "data.train",
           "missing; name files or directories, such as train: [book.txt], or batches: FILE.safetensors");
  c.expect(d.train.empty() || d.batches.empty(), "data.batches", "data.train is given too; keep one of them");
  check_weights(c, d);
  const SequenceConfig& s = config.sequence;
  c.expect(s.chunk <= s.length, "sequence.chunk",
           fmt::format("{} is more than sequence.length {}; chunk = length is the monolithic step", s.chunk,
                       s.length));
  c.expect(!s.carry_state || d.order == DataOrder::kSequential || !d.batches.empty(), "sequence.carry_state",
           "true needs data.order: sequential, so that a row goes on where it ended");
}

void check_training(Checks& c, const ExperimentConfig& config) {
  const TrainConfig& t = config.train;
  const OptimizerConfig& o = config.optimizer;
  if (t.micro_batch_size) {
    c.expect(t.batch_size % *t.micro_batch_size == 0, "train.micro_batch_size",
             fmt::format("{} does not divide train.batch_size {}", *t.micro_batch_size, t.batch_size));
  }
  c.expect(o.min_lr <= o.lr, "optimizer.min_lr", fmt::format("{} is above optimizer.lr {}", o.min_lr, o.lr));
  c.expect(o.warmup_steps <= t.steps, "optimizer.warmup_steps",
           fmt::format("{} is more than train.steps {}", o.warmup_steps, t.steps));
  c.expect(o.schedule != LrSchedule::kWsd || o.decay_steps <= t.steps, "optimizer.decay_steps",
           fmt::format("{} is more than train.steps {}", o.decay_steps, t.steps));
}

/// Extents may each be large; their products, in bytes, are counted in int64_t all over the program. What
/// this machine has memory for is another question.
void check_sizes(Checks& c, const ExperimentConfig& config) {
  const ModelConfig& m = config.model;
  const auto real = [](int64_t n) { return static_cast<double>(n); };
  const double d_inner = real(m.mamba.expand) * real(m.d_model);
  const double mixer =
      d_inner * (3 * real(m.d_model) + 2 * real(m.mamba.dt_rank.value_or(0)) + 3 * real(m.mamba.d_state));
  const double experts = real(m.moe.num_experts + m.moe.shared_experts) * real(m.moe.d_ff);
  const double mlp = 3 * real(m.d_model) * std::max(experts, real(m.mlp.d_ff));
  const double sublayers = real(static_cast<int64_t>(m.pattern.size())) * real(m.repeat);
  const double weights =
      sublayers * std::max(mixer, mlp) + 2 * real(m.vocab_size.value_or(0)) * real(m.d_model);
  c.expect(
      weights <= 0x1p56, "model.d_model",
      fmt::format(
          "the model's sizes make {:.0e} weights, more than 2^56; d_model, expand, d_ff, num_experts, repeat "
          "and vocab_size multiply",
          weights));

  const double tokens = real(config.train.batch_size) * real(config.sequence.length);
  const double width =
      std::max({d_inner, real(m.moe.top_k) * real(m.moe.d_ff), real(m.mlp.d_ff), real(m.d_model)});
  c.expect(tokens * width <= 0x1p58, "sequence.length",
           fmt::format(
               "a step of train.batch_size x sequence.length tokens, {:.0e} wide, has more than 2^58 numbers",
               width));
  const double states = real(config.train.batch_size) * sublayers * d_inner * real(m.mamba.d_state);
  c.expect(states <= 0x1p50, "model.mamba.d_state", "the states of a batch have more than 2^50 numbers");
}

}  // namespace

void fit_defaults(LoadedConfig& loaded) {
  ExperimentConfig& c = loaded.config;
  const auto bound = [&](const char* key, auto& value, auto most) {
    if (!loaded.was_set(key)) value = std::min(value, most);
  };
  bound("sequence.chunk", c.sequence.chunk, c.sequence.length);
  bound("model.moe.top_k", c.model.moe.top_k, c.model.moe.num_experts);
  bound("optimizer.min_lr", c.optimizer.min_lr, c.optimizer.lr);
  bound("optimizer.warmup_steps", c.optimizer.warmup_steps, c.train.steps);
}

std::vector<Contradiction> contradictions(const ModelConfig& m) {
  Checks c;
  c.expect(m.pattern.size() <= static_cast<size_t>(kMostLayers / m.repeat), "model.repeat",
           fmt::format("the stack has more than {} layers", kMostLayers));
  c.expect(m.moe.top_k <= m.moe.num_experts, "model.moe.top_k",
           fmt::format("{} of {} experts; it can be at most model.moe.num_experts", m.moe.top_k,
                       m.moe.num_experts));
  const MoeConfig& e = m.moe;
  c.expect(e.num_experts % e.groups == 0, "model.moe.groups",
           fmt::format("{} groups do not divide {} experts", e.groups, e.num_experts));
  c.expect(e.groups == 1 || e.top_groups <= e.groups, "model.moe.top_groups",
           fmt::format("{} of {} groups; it can be at most model.moe.groups", e.top_groups, e.groups));
  c.expect(e.groups == 1 || e.top_k <= e.num_experts / e.groups * e.top_groups, "model.moe.top_k",
           fmt::format("{} experts, but {} groups hold {}", e.top_k, e.top_groups,
                       e.num_experts / e.groups * e.top_groups));
  return c.found;
}

std::vector<Contradiction> contradictions(const LoadedConfig& loaded) {
  Checks c;
  check_model(c, loaded);
  check_data(c, loaded.config);
  check_training(c, loaded.config);
  check_sizes(c, loaded.config);
  return c.found;
}

}  // namespace natrix
