#include "core/train/trainer.h"

#include <chrono>
#include <cmath>
#include <csignal>
#include <cstring>
#include <fmt/format.h>

#include "configs/schema/paths.h"
#include "core/report/memory.h"
#include "core/report/units.h"
#include "core/sequence/diagnose.h"
#include "core/train/evaluate.h"
#include "core/train/lr_schedule.h"
#include "core/train/stop_signal.h"

namespace natrix {
namespace {

constexpr double kSpike = 6;  // a loss this many standard deviations off causes a warning

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A rank could not read its part of the data. All ranks throw it at the same point.
struct UnreadableData : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace

Trainer::Trainer(TrainerParts parts) : p_(std::move(parts)) {}
Trainer::~Trainer() = default;

int Trainer::run() {
  const StopSignal stop;
  require(resumed_, "Trainer::resume comes before run");
  if (saved_step_ < 0) save();  // the first weights, to which a run that fails early can return
  try {
    return train(stop);
  } catch (const UnreadableData& e) {
    save();
    throw RunError(
        fmt::format("{}; the run ends after step {}, with all saved in {}; put the file back and start the "
                    "same command again to go on",
                    e.what(), position_.step, p_.config.run.dir));
  }
}

int Trainer::train(const StopSignal& stop) {
  const auto read_next = [&] {
    if (position_.step == p_.config.train.steps) return;
    const auto start = std::chrono::steady_clock::now();
    try_to_read([&] { next_ = p_.ranks.share.take(p_.data, position_.step, p_.config); });
    read_seconds_ = seconds_since(start);
  };
  read_next();
  agree(0);
  while (position_.step < p_.config.train.steps) {
    one_step();
    if (p_.held_out != nullptr && due(p_.config.train.eval_every)) evaluate_held_out();
    read_next();
    // A signal may reach ranks in different steps, or only some ranks. One rank that got it stops all.
    if (const int signal = agree(stop.received()); signal != 0) {
      save();
      p_.log.info(fmt::format(
          "stopped by {} after step {}; all is saved in {}; start the same command again to go on",
          strsignal(signal), position_.step, shown_path(last_checkpoint_)));
      return kExitStopped;
    }
    // While steps are skipped, the weights do not change and their loss is not finite. Checkpoints of them
    // would push better ones out.
    if (due(p_.config.checkpoint.every) && (skipped_ == 0 || position_.step == p_.config.train.steps)) save();
  }
  return 0;
}

/// If `read` fails, keeps the reason until all ranks learn of it in agree().
void Trainer::try_to_read(const std::function<void()>& read) {
  try {
    read();
  } catch (const std::runtime_error& e) {  // also InputError: the data were valid when the run started
    unreadable_ = e.what();
  }
}

/// Returns a signal that any rank has received, or 0. If a rank could not read, all ranks throw
/// UnreadableData. They then save together, and none waits for the failed rank.
int Trainer::agree(int signal) {
  constexpr int64_t kUnreadable = 1 << 10;  // above all signals
  const int64_t news =
      p_.ranks.world.max(p_.ctx, unreadable_.empty() ? signal : kUnreadable + p_.ranks.world.rank());
  if (news < kUnreadable) return static_cast<int>(news);
  const int64_t culprit = news - kUnreadable;
  const std::string why = p_.ranks.world.broadcast(p_.ctx, culprit, unreadable_);
  throw UnreadableData(culprit == p_.ranks.world.rank() ? why : fmt::format("rank {}: {}", culprit, why));
}

/// Whether the current step is a multiple of `every`, or the last step.
bool Trainer::due(int64_t every) const {
  return position_.step == p_.config.train.steps || (every > 0 && position_.step % every == 0);
}

void Trainer::resume() {
  if (p_.config.checkpoint.resume) {
    const auto found = p_.checkpoint.resume(p_.ctx, [&](const std::string& why) { p_.log.warn(why); });
    if (found) {
      position_ = *found;
      saved_step_ = position_.step;
      p_.log.info(fmt::format("going on after step {}/{}", position_.step, p_.config.train.steps));
    }
  }
  if (p_.ranks.world.rank() == 0) {
    metrics_ = std::make_unique<MetricsLog>(p_.config.run.dir + "/metrics.jsonl",
                                            position_.step > 0 ? position_.step : -1);
  }
  resumed_ = true;
}

void Trainer::one_step() {
  const auto start = std::chrono::steady_clock::now();
  const double waited = p_.ranks.world.seconds_waited();
  p_.ranks.world.begin_step(position_.step + 1);
  const Batch batch = std::move(next_);
  const StepFigures figures = p_.step.compute(batch);
  p_.rank_log.info(fmt::format(
      "step {}: loss {:.6f} of {} predictions here, {:.4f} s, of which it waited for others {:.4f} s",
      position_.step + 1, figures.loss_here, figures.predictions_here, seconds_since(start),
      p_.ranks.world.seconds_waited() - waited));
  const double norm = p_.optimizer.gradient_norm(p_.ctx);
  const double lr = learning_rate(p_.config.optimizer, p_.config.train.steps, position_.step);
  if (!std::isfinite(figures.loss) || !std::isfinite(norm)) {
    refuse_nonfinite(batch, figures, norm);
  } else {
    p_.optimizer.update(p_.ctx, lr, norm, position_.step + 1);
    p_.model.after_step(p_.step.tally());
    skipped_ = 0;
  }
  ++position_.step;
  position_.tokens += figures.tokens;
  record(figures, norm, lr, read_seconds_ + seconds_since(start));
}

void Trainer::refuse_nonfinite(const Batch& batch, const StepFigures& figures, double norm) {
  // The figures cover all ranks, so every rank takes this path.
  const std::string where =
      locate_nonfinite(p_.model, p_.ctx, p_.step.micro_batches(batch), p_.config.sequence, p_.ranks);
  const std::string what = fmt::format("step {}: loss {}, gradient norm {}: {}", position_.step + 1,
                                       digits(figures.loss), digits(norm), where);
  p_.rank_log.warn(what);
  p_.ranks.world.barrier(p_.ctx);  // all ranks have logged it before the first one ends the job
  if (p_.config.train.on_nan == OnNan::kStop) {
    throw RunError(fmt::format(
        "{}; {}; a lower optimizer.lr, a longer warm-up or train.on_nan: skip may help", what, what_stays()));
  }
  if (++skipped_ >= p_.config.train.max_skipped) {
    throw RunError(fmt::format(
        "{}; that was the last of {} steps in a row that were left out (train.max_skipped); {}; a "
        "lower optimizer.lr or a longer warm-up may help",
        what, skipped_, what_stays()));
  }
  p_.step.leave_out();
  p_.log.warn(what + "; the step is left out (train.on_nan: skip)");
}

/// No later step repairs a weight that is not finite. A checkpoint of it would push a good one out.
void Trainer::refuse_nonfinite_weights() {
  const std::string weight = nonfinite_weight(p_.model);
  const int64_t rank = p_.ranks.world.max(p_.ctx, weight.empty() ? 0 : p_.ranks.world.rank() + 1) - 1;
  if (rank < 0) return;
  const std::string name = p_.ranks.world.broadcast(p_.ctx, rank, weight);
  const std::string when = position_.step == 0 ? std::string("before the first step")
                                               : fmt::format("after step {}", position_.step);
  throw RunError(
      fmt::format("{}, the weight {} is not finite, so nothing is saved; {}", when, name, what_stays()));
}

std::string Trainer::what_stays() const {
  if (saved_step_ < 0) return "there is no checkpoint of this run";
  return fmt::format("the last good checkpoint is that of step {} in {}/checkpoints", saved_step_,
                     p_.config.run.dir);
}

void Trainer::record(const StepFigures& f, double norm, double lr, double seconds) {
  const StepScores scores = scorer_.update(f.loss, norm);
  mean_seconds_ = mean_seconds_ == 0 ? seconds : 0.95 * mean_seconds_ + 0.05 * seconds;
  if (scores.loss && *scores.loss > kSpike) {
    p_.log.warn(fmt::format("step {}: the loss {:.4f} is {:.1f} standard deviations above the recent ones",
                            position_.step, f.loss, *scores.loss));
  }
  if (metrics_ == nullptr || !due(p_.config.log.every)) return;
  const StepMetrics m{.step = position_.step,
                      .tokens = position_.tokens,
                      .loss = f.loss,
                      .grad_norm = norm,
                      .lr = lr,
                      .aux_loss = f.aux_loss,
                      .z_loss = f.z_loss,
                      .tokens_per_second = static_cast<double>(f.tokens) / seconds,
                      .seconds = seconds,
                      .memory_bytes = peak_memory_bytes(p_.ctx),
                      .expert_load = f.expert_load};
  metrics_->append(m);
  const auto left = static_cast<double>(p_.config.train.steps - position_.step);
  p_.log.info(log_line(m, scores, p_.config.train.steps, left * mean_seconds_));
}

void Trainer::evaluate_held_out() {
  const EvalFigures f = evaluate(
      p_.model, p_.ctx, *p_.held_out, std::max<int64_t>(p_.step.micro_batch_size(), 1),
      p_.config.sequence.chunk, p_.ranks, [](int64_t) {},
      [&](const std::function<void()>& read) {
        try_to_read(read);
        agree(0);
      });
  if (!f.nonfinite.empty())
    p_.log.warn(
        fmt::format("step {}: the held-out loss is {}: {}", position_.step, digits(f.loss()), f.nonfinite));
  if (metrics_ == nullptr) return;
  EvalMetrics m{.step = position_.step, .eval_loss = f.loss(), .eval_bits_per_byte = f.bits_per_byte()};
  for (const EvalFigures::Bucket& b : f.by_position) m.loss_by_position.push_back({b.from, b.loss()});
  metrics_->append(m);
  p_.log.info(fmt::format("step {}/{} | held out: loss {:.4f} | {:.4f} bits per byte | perplexity {:.2f}",
                          position_.step, p_.config.train.steps, f.loss(), f.bits_per_byte(),
                          f.perplexity()));
}

void Trainer::save() {
  if (saved_step_ == position_.step) return;
  refuse_nonfinite_weights();
  if (metrics_ != nullptr) metrics_->sync();
  last_checkpoint_ = p_.checkpoint.save(p_.ctx, position_, p_.config.checkpoint.keep);
  saved_step_ = position_.step;
}

}  // namespace natrix
