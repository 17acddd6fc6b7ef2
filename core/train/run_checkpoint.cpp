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

std::string prefix_of(size_t micro_batch) {
  return fmt::format("micro_batch.{}.", micro_batch);
}

}  // namespace

RunCheckpoint::RunCheckpoint(std::string root, ModelTexts texts, Model& model, Optimizer& optimizer,
                             TrainStep& step)
    : root_(std::move(root)), texts_(std::move(texts)), model_(model), optimizer_(optimizer), step_(step) {}

std::string RunCheckpoint::save(const RunPosition& position, int64_t keep) {
  CheckpointWriter writer(root_, position.step);
  save_weights(writer.path(), model_.params(), texts_);
  std::filesystem::create_directories(writer.path() + "/trainer");
  write_safetensors(writer.path() + kOptimizer, optimizer_.state());
  save_carried(writer.path() + kCarried);
  const nlohmann::ordered_json state = {{"step", position.step},
                                        {"tokens", position.tokens},
                                        {"carried_micro_batches", step_.carried().size()}};
  write_file(writer.path() + kState, state.dump(2) + "\n");
  std::string dir = writer.commit();
  prune_checkpoints(root_, keep);
  return dir;
}

std::optional<RunPosition> RunCheckpoint::resume(const std::function<void(const std::string&)>& warn) {
  const auto found = find_latest_valid(root_, warn);
  if (!found && holds_checkpoints(root_)) {
    throw InputError(
        fmt::format("{}: every checkpoint is damaged, so the run cannot go on; restore one from a copy, or "
                    "choose another "
                    "run.dir to start from scratch",
                    root_));
  }
  if (!found) return std::nullopt;
  load_weights(found->dir, model_.config(), model_.params());
  optimizer_.load_state(Safetensors(found->dir + kOptimizer));
  const nlohmann::json json = read_json_file(found->dir + kState);
  const JsonObject state(json, found->dir + kState);
  load_carried(found->dir + kCarried, state.integer("carried_micro_batches", 0, kMost));
  return RunPosition{.step = state.integer("step", 0, kMost), .tokens = state.integer("tokens", 0, kMost)};
}

void RunCheckpoint::save_carried(const std::string& path) const {
  std::vector<NamedTensor> tensors;
  for (size_t i = 0; i < step_.carried().size(); ++i) {
    for (NamedTensor& t : named_states(step_.carried()[i], prefix_of(i))) tensors.push_back(std::move(t));
  }
  if (!tensors.empty()) write_safetensors(path, tensors);
}

void RunCheckpoint::load_carried(const std::string& path, int64_t micro_batches) {
  step_.carried().clear();
  if (micro_batches == 0) return;
  const Safetensors file(path);
  for (size_t i = 0; i < static_cast<size_t>(micro_batches); ++i) {
    CarryStates states;
    for (const auto& [key, shape] : carried_shapes(model_.config(), step_.micro_batch_size())) {
      const std::string name = prefix_of(i) + name_of(key);
      View stored = file.at(name);
      if (!(stored.shape == shape) || stored.dtype != model_.dtype()) {
        throw InputError(
            fmt::format("{}: tensor {} is {}; expected {}{}: train.batch_size and micro_batch_size must stay "
                        "as they were while states are carried",
                        path, name, stored.to_string(), name_of(model_.dtype()), shape.to_string()));
      }
      states.put(key, stored);
    }
    step_.carried().push_back(std::move(states));
  }
}

}  // namespace natrix
