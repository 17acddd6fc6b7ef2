// RunCheckpoint: everything a run needs to go on as if it had never stopped, in one checkpoint directory.
//
//   config.json, model.safetensors, …    the model, as Hugging Face reads it
//   trainer/state.json                   step, tokens
//   trainer/optimizer.safetensors        AdamW's moments
//   trainer/carried.safetensors          states that all rows carry into the next step,
//                                        where the run carries them
//
// Of several ranks each writes a part: model-00001-of-00004.safetensors and so on with an index, as Hugging
// Face knows them, and the moments likewise. No rank needs the memory of more than it holds.
//
// Batches are functions of the step, so the data cursor is the step, and there is no other random state.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "core/hf/hf_checkpoint.h"
#include "core/io/checkpoint_dir.h"
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
  /// root: RUN/checkpoints. texts: what stands beside the weights. `whole` describes the model with all of
  /// its experts, whoever holds them, for reading; it needs no memory, and may be `model` itself where
  /// nothing is spread. All borrowed.
  RunCheckpoint(std::string root, ModelTexts texts, Model& model, Model& whole, Optimizer& optimizer,
                TrainStep& step, Collectives& world, const Placement& placement);

  /// Collective: every rank writes its part, rank 0 joins the parts, writes the manifest last and removes all
  /// but the newest `keep`. Returns the checkpoint's directory. RunError on every rank, in the words of the
  /// one that could not write, and then the checkpoints from before stay as they are.
  std::string save(Context& ctx, const RunPosition& position, int64_t keep);

  /// Collective; rank 0 chooses and every rank reads its share, so the mesh may be another than the writer's.
  /// Restores the newest checkpoint that is whole; `warn` hears of those that are not. Nothing if there is
  /// none; InputError if there are only damaged ones: to start from scratch would bury what they still hold.
  std::optional<RunPosition> resume(Context& ctx, const std::function<void(const std::string&)>& warn);

 private:
  template <class F>
  void together(Context& ctx, int64_t step, std::unique_ptr<CheckpointWriter>& writer, F&& part);
  void write_share(const std::string& dir) const;
  void write_rest(const std::string& dir, const RunPosition& position, const CarryStates& carried) const;
  std::string choose(const std::function<void(const std::string&)>& warn) const;  // a directory, or ""
  CarryStates load_carried(const std::string& path) const;                        // of all rows

  std::string root_;
  ModelTexts texts_;
  Model &model_, &whole_;
  Optimizer& optimizer_;
  TrainStep& step_;
  Collectives& world_;
  const Placement& placement_;
};

}  // namespace natrix
