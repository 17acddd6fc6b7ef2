#include "core/train/run_checkpoint.h"

#include <algorithm>
#include <deque>
#include <exception>
#include <filesystem>
#include <fmt/format.h>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/files/atomic_file.h"
#include "core/files/json.h"
#include "core/io/checkpoint_dir.h"

namespace natrix {
namespace {

constexpr const char* kState = "/trainer/state.json";
constexpr const char *kTrainer = "/trainer", *kOptimizer = "optimizer";
constexpr const char* kCarried = "/trainer/carried.safetensors";

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

/// The parameters that this rank writes. Ranks that hold the same parameters divide them into parts of about
/// the same size.
std::vector<Param*> to_write(const Placement& placement, const std::vector<Param*>& params) {
  int64_t all[2] = {0, 0}, before[2] = {0, 0};  // elements of replicated, and of sharded parameters
  for (const Param* p : params) all[p->spread_of > 0] += p->shape.count();
  std::vector<Param*> mine;
  for (Param* p : params) {
    const Placement::Place place = placement.place(*p);
    int64_t& first = before[p->spread_of > 0];
    const double share = static_cast<double>(first) / static_cast<double>(all[p->spread_of > 0]);
    if (static_cast<int64_t>(share * static_cast<double>(place.count)) == place.index) mine.push_back(p);
    first += p->shape.count();
  }
  return mine;
}

/// Whether the files have one tensor for the shards of several ranks, so that no rank can write its own.
bool is_merged(const Param& p) {
  return p.spread_of > 0 && std::ranges::any_of(p.parts, [](const ParamPart& part) {
           return part.slice && part.slice->shape.count() > part.shape.count();
         });
}

/// The merged parameters, whole, on rank 0. Collective.
class Gathered {
 public:
  Gathered(Context& ctx, Placement& placement, Model& model, Model& whole) {
    for (const Param* p : model.params()) {
      if (!is_merged(*p)) continue;
      Buffer all = placement.whole(ctx, *p, p->value);
      if (!all.view()) continue;  // not rank 0
      const std::vector<Param*> described = whole.params();
      Param& w = params_.emplace_back(**std::ranges::find(described, p->name, &Param::name));
      w.value = values_.emplace_back(std::move(all)).view();
    }
  }
  void append_to(std::vector<Param*>& list) {
    for (Param& p : params_) list.push_back(&p);
  }

 private:
  std::deque<Buffer> values_;
  std::deque<Param> params_;
};

}  // namespace

RunCheckpoint::RunCheckpoint(std::string root, ModelTexts texts, Model& model, Model& whole,
                             Optimizer& optimizer, TrainStep& step, Collectives& world, Placement& placement)
    : root_(std::move(root)),
      texts_(std::move(texts)),
      model_(model),
      whole_(whole),
      optimizer_(optimizer),
      step_(step),
      world_(world),
      placement_(placement) {}

/// Runs `part` and tells all ranks whether it failed anywhere. If so, rank 0 removes the unfinished
/// checkpoint, and all ranks throw the failed rank's message.
template <class F>
void RunCheckpoint::together(Context& ctx, int64_t step, std::unique_ptr<CheckpointWriter>& writer,
                             F&& part) {
  std::exception_ptr failure;
  std::string words;
  try {
    part();
  } catch (const std::exception& e) {
    failure = std::current_exception();
    words = e.what();
  }
  if (world_.size() == 1 && failure) std::rethrow_exception(failure);
  const int64_t failed = world_.max(ctx, failure ? world_.rank() + 1 : 0);
  if (failed == 0) return;
  writer.reset();
  words = world_.broadcast(ctx, failed - 1, words);
  throw RunError(
      fmt::format("rank {} could not write its part of the checkpoint of step {}: {}; the one before stays",
                  failed - 1, step, words));
}

/// Writes this rank's part of weights and moments.
void RunCheckpoint::write_share(Context& ctx, const std::string& dir) {
  Gathered gathered(ctx, placement_, model_, whole_);
  std::vector<Param*> mine = to_write(placement_, model_.params());
  const std::vector<NamedTensor> moments = optimizer_.state(mine);
  std::erase_if(mine, [](const Param* p) { return is_merged(*p); });
  gathered.append_to(mine);
  constexpr int64_t kOneFile = kMost;
  if (world_.size() == 1) {
    save_weights(dir, mine, texts_);
    write_tensors(dir + kTrainer, kOptimizer, moments, kOneFile);
  } else {
    save_weights_part(dir, world_.rank(), mine);
    write_part(dir + kTrainer, kOptimizer, world_.rank(), moments, kOneFile);
  }
}

/// Writes the rest, after all ranks have written their parts.
void RunCheckpoint::write_rest(const std::string& dir, const RunPosition& position,
                               const CarryStates& carried) const {
  if (world_.size() > 1) {
    join_weights(dir, texts_);
    join_parts(dir + kTrainer, kOptimizer);
  }
  if (!carried.empty()) write_safetensors(dir + kCarried, NamedStates(model_.carries(), carried).tensors());
  const nlohmann::ordered_json state = {
      {"step", position.step}, {"tokens", position.tokens}, {"carried", !carried.empty()}};
  write_file(dir + kState, state.dump(2) + "\n");
}

std::string RunCheckpoint::save(Context& ctx, const RunPosition& position, int64_t keep) {
  const bool first = world_.rank() == 0;
  const CarryStates carried = step_.carried_rows();
  std::unique_ptr<CheckpointWriter> writer;
  std::string dir;
  together(ctx, position.step, writer, [&] {
    if (!first) return;
    writer = std::make_unique<CheckpointWriter>(root_, position.step);
    std::filesystem::create_directories(writer->path() + kTrainer);
    dir = writer->path();
  });
  dir = world_.broadcast(ctx, 0, dir);
  together(ctx, position.step, writer, [&] { write_share(ctx, dir); });
  together(ctx, position.step, writer, [&] {
    if (!first) return;
    write_rest(dir, position, carried);
    dir = writer->commit();
    prune_checkpoints(root_, keep);
  });
  return world_.broadcast(ctx, 0, dir);
}

std::string RunCheckpoint::choose(const std::function<void(const std::string&)>& warn) const {
  const auto found = find_latest_valid(root_, warn);
  if (!found && holds_checkpoints(root_)) {
    throw InputError(
        fmt::format("{}: every checkpoint is damaged, so the run cannot go on; restore one from a copy, or "
                    "choose another "
                    "run.dir to start from scratch",
                    root_));
  }
  return found ? found->dir : "";
}

std::optional<RunPosition> RunCheckpoint::resume(Context& ctx,
                                                 const std::function<void(const std::string&)>& warn) {
  const std::string dir = world_.broadcast(ctx, 0, world_.rank() == 0 ? choose(warn) : "");
  if (dir.empty()) return std::nullopt;
  load_weights(dir, model_.config(), model_.params(), whole_.params());
  optimizer_.load_state(StoredTensors(dir + kTrainer, kOptimizer));
  const nlohmann::json json = read_json_file(dir + kState);
  const JsonObject state(json, dir + kState);
  step_.carry_rows(state.boolean("carried") ? load_carried(dir + kCarried) : CarryStates());
  return RunPosition{.step = state.integer("step", 0, kMost), .tokens = state.integer("tokens", 0, kMost)};
}

CarryStates RunCheckpoint::load_carried(const std::string& path) const {
  return read_states(Safetensors(path), model_.carries(), step_.batch_size(),
                     "train.batch_size must stay as it was while states are carried");
}

}  // namespace natrix
