#include "core/train/run_checkpoint.h"

#include <filesystem>
#include <fmt/format.h>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/io/atomic_file.h"
#include "core/io/checkpoint_dir.h"
#include "core/io/json.h"
#include "core/layers/carried_shapes.h"

namespace natrix {
namespace {

constexpr const char* kState = "/trainer/state.json";
constexpr const char* kOptimizer = "/trainer/optimizer.safetensors";
constexpr const char* kCarried = "/trainer/carried.safetensors";

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

}  // namespace

RunCheckpoint::RunCheckpoint(std::string root, ModelTexts texts, Model& model, Model& whole,
                             Optimizer& optimizer, TrainStep& step, RankGroup& group)
    : root_(std::move(root)),
      texts_(std::move(texts)),
      model_(model),
      whole_(whole),
      optimizer_(optimizer),
      step_(step),
      group_(group) {}

std::string RunCheckpoint::save(Context& ctx, const RunPosition& position, int64_t keep) {
  std::vector<Buffer> gathered;
  const std::vector<Param*> mine = model_.params(), all = whole_.params();
  for (size_t i = 0; i < mine.size(); ++i) {
    all[i]->value = mine[i]->value;
    if (mine[i]->spread_of == 0) continue;
    gathered.push_back(group_.whole(ctx, *mine[i], mine[i]->value));
    all[i]->value = gathered.back().view();
  }
  const Optimizer::State moments = optimizer_.state(ctx, group_);
  const CarryStates carried = step_.carried_rows();
  if (group_.rank() != 0) return group_.from_first(ctx, "");

  CheckpointWriter writer(root_, position.step);
  save_weights(writer.path(), all, texts_);
  std::filesystem::create_directories(writer.path() + "/trainer");
  write_safetensors(writer.path() + kOptimizer, moments.tensors);
  if (!carried.empty()) write_safetensors(writer.path() + kCarried, named_states(carried));
  const nlohmann::ordered_json state = {
      {"step", position.step}, {"tokens", position.tokens}, {"carried", !carried.empty()}};
  write_file(writer.path() + kState, state.dump(2) + "\n");
  const std::string dir = writer.commit();
  prune_checkpoints(root_, keep);
  return group_.from_first(ctx, dir);
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
  const std::string dir = group_.from_first(ctx, group_.rank() == 0 ? choose(warn) : "");
  if (dir.empty()) return std::nullopt;
  load_weights(dir, model_.config(), model_.params(), whole_.params());
  optimizer_.load_state(Safetensors(dir + kOptimizer));
  const nlohmann::json json = read_json_file(dir + kState);
  const JsonObject state(json, dir + kState);
  step_.carry_rows(state.boolean("carried") ? load_carried(dir + kCarried) : CarryStates());
  return RunPosition{.step = state.integer("step", 0, kMost), .tokens = state.integer("tokens", 0, kMost)};
}

CarryStates RunCheckpoint::load_carried(const std::string& path) const {
  const Safetensors file(path);
  CarryStates states;
  for (const auto& [key, shape] : carried_shapes(model_.config(), step_.batch_size())) {
    const View stored = file.at(name_of(key));
    if (!(stored.shape == shape) || stored.dtype != model_.dtype()) {
      throw InputError(
          fmt::format("{}: tensor {} is {}; expected {}{}: train.batch_size must stay as it was while states "
                      "are carried",
                      path, name_of(key), stored.to_string(), name_of(model_.dtype()), shape.to_string()));
    }
    states.put(key, stored);
  }
  return states;
}

}  // namespace natrix
