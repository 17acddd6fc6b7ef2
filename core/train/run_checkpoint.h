// RunCheckpoint: everything a run needs to go on as if it had never stopped, in one checkpoint directory.
//
//   config.json, model.safetensors, …    the model, as Hugging Face reads it
//   trainer/state.json                   step, tokens
//   trainer/optimizer.safetensors        AdamW's moments
//   trainer/carried.safetensors          states carried from batch to batch, where the run carries them
//
// Batches are functions of the step, so the data cursor is the step, and there is no other random state.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "core/io/hf_checkpoint.h"
#include "core/layers/model.h"
#include "core/train/optimizer.h"
#include "core/train/train_step.h"

namespace natrix {

struct RunPosition {
  int64_t step = 0;    // completed
  int64_t tokens = 0;  // seen
};

class RunCheckpoint {
 public:
  /// root: RUN/checkpoints. texts: what stands beside the weights. All borrowed.
  RunCheckpoint(std::string root, ModelTexts texts, Model& model, Optimizer& optimizer, TrainStep& step);

  /// Writes a checkpoint and removes all but the newest `keep`. Returns its directory.
  std::string save(const RunPosition& position, int64_t keep);

  /// Restores the newest checkpoint that is whole; `warn` hears of those that are not. Nothing if there is
  /// none; InputError if there are only damaged ones: to start from scratch would bury what they still hold.
  std::optional<RunPosition> resume(const std::function<void(const std::string&)>& warn);

 private:
  void save_carried(const std::string& path) const;
  void load_carried(const std::string& path, int64_t micro_batches);

  std::string root_;
  ModelTexts texts_;
  Model& model_;
  Optimizer& optimizer_;
  TrainStep& step_;
};

}  // namespace natrix
