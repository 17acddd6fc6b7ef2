#include "configs/validate.h"

#include <fmt/format.h>

namespace natrix {
namespace {

class Checks {
 public:
  explicit Checks(const LoadedConfig& loaded) : loaded_(loaded) {}
  void expect(bool holds, const char* key, const std::string& message) {
    if (!holds) found.push_back(fmt::format("{}: {}: {}", loaded_.origin_of(key), key, message));
  }
  std::vector<std::string> found;

 private:
  const LoadedConfig& loaded_;
};

void check_model(Checks& c, const LoadedConfig& l) {
  const ModelConfig& m = l.config.model;
  if (m.init_from.empty()) {
    c.expect(!m.pattern.empty(), "model.pattern",
             "missing; say what the model is, such as pattern: ME, or init_from: DIR");
    c.expect(m.d_model > 0, "model.d_model", "missing; the width of the model, such as d_model: 256");
  }
  for (char letter : m.pattern) {
    if (letter == 'S' || letter == '*') {
      c.expect(false, "model.pattern",
               fmt::format("'{}' ({}) is not supported yet; M, E and - are", letter,
                           letter == 'S' ? "Mamba-2" : "attention"));
      break;
    }
    if (letter != 'M' && letter != 'E' && letter != '-') {
      c.expect(false, "model.pattern",
               fmt::format("'{}' is no layer; M is Mamba-1, E a mixture of experts, - a dense MLP", letter));
      break;
    }
  }
  c.expect(m.pattern.size() * static_cast<size_t>(m.repeat) <= 100000, "model.repeat",
           "the stack has more than 100000 layers");
  c.expect(m.moe.top_k <= m.moe.num_experts, "model.moe.top_k",
           fmt::format("{} of {} experts; it can be at most model.moe.num_experts", m.moe.top_k,
                       m.moe.num_experts));
}

void check_data(Checks& c, const LoadedConfig& l) {
  const DataConfig& d = l.config.data;
  c.expect(!d.train.empty() || !d.batches.empty(), "data.train",
           "missing; name files or directories, such as train: [book.txt]");
  c.expect(d.train.empty() || d.batches.empty(), "data.batches", "data.train is given too; keep one of them");
  const SequenceConfig& s = l.config.sequence;
  c.expect(s.chunk <= s.length, "sequence.chunk",
           fmt::format("{} is more than sequence.length {}; chunk = length is the monolithic step", s.chunk,
                       s.length));
  c.expect(!s.carry_state || d.order == DataOrder::kSequential || !d.batches.empty(), "sequence.carry_state",
           "true needs data.order: sequential, so that a row goes on where it ended");
}

void check_training(Checks& c, const LoadedConfig& l) {
  const TrainConfig& t = l.config.train;
  const OptimizerConfig& o = l.config.optimizer;
  if (t.micro_batch_size) {
    c.expect(t.batch_size % *t.micro_batch_size == 0, "train.micro_batch_size",
             fmt::format("{} does not divide train.batch_size {}", *t.micro_batch_size, t.batch_size));
  }
  c.expect(o.name == "adamw", "optimizer.name", fmt::format("{} is not known; adamw is", o.name));
  c.expect(o.min_lr <= o.lr || !l.was_set("optimizer.min_lr"), "optimizer.min_lr",
           fmt::format("{} is above optimizer.lr {}", o.min_lr, o.lr));
  c.expect(o.warmup_steps <= t.steps || !l.was_set("optimizer.warmup_steps"), "optimizer.warmup_steps",
           fmt::format("{} is more than train.steps {}", o.warmup_steps, t.steps));
}

}  // namespace

std::vector<std::string> contradictions(const LoadedConfig& loaded) {
  Checks c(loaded);
  check_model(c, loaded);
  check_data(c, loaded);
  check_training(c, loaded);
  return c.found;
}

}  // namespace natrix
