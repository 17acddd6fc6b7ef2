// RunCheckpoint: one directory with everything that a run needs to continue as if it had never stopped.
//
//   config.json, model.safetensors, …    the model, as Hugging Face reads it
//   trainer/state.json                   step, tokens
//   trainer/optimizer.safetensors        AdamW's moments
//   trainer/carried.safetensors          in runs that carry states: those that enter the next step
//
// With several ranks each rank writes a part: model-00001-of-00004.safetensors and so on with an index, in
// Hugging Face's layout. The moments are written likewise. No rank needs memory for more than it holds, except
// where a family's files keep the experts of all ranks in one tensor: rank 0 gathers and writes those.
//
// Batches are functions of the step. The data cursor is therefore the step, and there is no
// other random state.
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
  /// root: RUN/checkpoints. texts: the text files beside the weights. `whole` describes the model with the
  /// experts of all ranks, for reading. Its parameters need not be allocated, and it may be `model` itself if
  /// nothing is sharded. All references are borrowed.
  RunCheckpoint(std::string root, ModelTexts texts, Model& model, Model& whole, Optimizer& optimizer,
                TrainStep& step, Collectives& world, Placement& placement);

  /// Collective. Every rank writes its part. Rank 0 joins the parts, writes the manifest last, and removes
  /// all checkpoints but the newest `keep`. Returns the checkpoint's directory. If a rank cannot write, every
  /// rank throws RunError with that rank's message, and earlier checkpoints stay as they are.
  std::string save(Context& ctx, const RunPosition& position, int64_t keep);

  /// Collective. Restores the newest checkpoint that is whole, and calls `warn` for each damaged one. Rank 0
  /// chooses it, and every rank reads its part, so the mesh may differ from the writer's. Returns nothing if
  /// there is no checkpoint. InputError if all are damaged: a run from scratch would later remove them,
  /// although they may hold something of value.
  std::optional<RunPosition> resume(Context& ctx, const std::function<void(const std::string&)>& warn);

 private:
  template <class F>
  void together(Context& ctx, int64_t step, std::unique_ptr<CheckpointWriter>& writer, F&& part);
  void write_share(Context& ctx, const std::string& dir);
  void write_rest(const std::string& dir, const RunPosition& position, const CarryStates& carried) const;
  std::string choose(const std::function<void(const std::string&)>& warn) const;  // a directory, or ""
  CarryStates load_carried(const std::string& path) const;                        // states of all rows

  std::string root_;
  ModelTexts texts_;
  Model &model_, &whole_;
  Optimizer& optimizer_;
  TrainStep& step_;
  Collectives& world_;
  Placement& placement_;
};

}  // namespace natrix
