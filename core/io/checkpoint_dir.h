// The checkpoints of a run: ROOT/step-00000100/, …, and ROOT/latest, a file with the name of the newest one.
//
// A checkpoint is written to a hidden directory and synced. Its last file is manifest.json, with sizes and
// checksums. Then the directory is renamed. A run that is killed at any moment leaves its earlier
// checkpoints whole. It leaves at most a hidden directory, which the next find_latest_valid() removes. Only
// one process at a time may write to a ROOT: rank 0. Other ranks may write files into path() between
// construction and commit().
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace natrix {

class CheckpointWriter {
 public:
  /// Creates ROOT and the hidden directory. RunError if that fails.
  CheckpointWriter(const std::string& root, int64_t step);
  ~CheckpointWriter();  // removes the hidden directory unless commit() ran
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// The directory to which the caller writes the checkpoint's files. Subdirectories are allowed.
  const std::string& path() const { return aside_; }
  /// Returns the checkpoint's final directory. Replaces a checkpoint of the same step from
  /// an earlier attempt.
  std::string commit();

 private:
  std::string root_, name_, aside_;
  bool committed_ = false;
};

/// What verify_checkpoint() reads. kAll: everything. kModel: everything except the trainer's state, enough to
/// run the model. kTexts: only JSON files (configuration, tokenizer), which takes no time.
enum class Verify { kAll, kModel, kTexts };

/// Compares sizes and checksums with the manifest. InputError names the file and the reason.
void verify_checkpoint(const std::string& dir, Verify what = Verify::kAll);

struct FoundCheckpoint {
  std::string dir;
  int64_t step = 0;
};
using Warn = std::function<void(const std::string&)>;

/// Returns the newest checkpoint under `root` that is whole, or nothing. Warns of each newer one that is
/// damaged. Removes what killed writers left, and makes `latest` name an existing checkpoint. Therefore only
/// the process that writes to `root` may call it.
std::optional<FoundCheckpoint> find_latest_valid(const std::string& root, const Warn& warn);

/// Whether there is a checkpoint under `root`, whole or damaged.
bool holds_checkpoints(const std::string& root);

/// Returns the newest checkpoint whose JSON files are whole, or nothing. Does not read tensors.
std::optional<FoundCheckpoint> newest_with_texts(const std::string& root);

/// If something under `root` says that there was a checkpoint which is now missing, describes it and lists
/// the checkpoints that are left. Empty if nothing is missing or there never was a checkpoint.
std::string missing_checkpoint(const std::string& root);

/// Removes all checkpoints except the newest `keep` and the one that `latest` names.
void prune_checkpoints(const std::string& root, int64_t keep);

/// The directory of a model's config.json, given what a user calls a model: that directory, a run's
/// directory, or the run's checkpoints directory. For the latter two, this is the checkpoint that `latest`
/// names, after verification. A GGUF file, whose name ends in .gguf, is its own. InputError for any other path.
std::string resolve_model_dir(const std::string& path);

}  // namespace natrix
