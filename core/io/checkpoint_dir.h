// A run's checkpoints: ROOT/step-00000100/ … and ROOT/latest, a file that holds the newest one's name.
//
// A checkpoint is written in a hidden directory, synced, given a manifest.json of sizes and checksums as its
// last file, and renamed. Killed at any moment, a run leaves its earlier checkpoints whole, and at most a
// hidden directory that the next find_latest_valid() removes. One process writes to a ROOT at a time (rank 0;
// others may write files into path() between construction and commit()).
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

  /// Where the caller writes the checkpoint's files; sub-directories are fine.
  const std::string& path() const { return aside_; }
  /// Returns the checkpoint's final directory.
  /// A checkpoint of the same step from an earlier attempt is replaced.
  std::string commit();

 private:
  std::string root_, name_, aside_;
  bool committed_ = false;
};

/// What verify_checkpoint reads: everything; to run a model only, everything but the trainer's state; or JSON
/// alone (configuration, tokenizer), which takes no time.
enum class Verify { kAll, kModel, kTexts };

/// Compares sizes and checksums with the manifest. InputError with the file and the reason.
void verify_checkpoint(const std::string& dir, Verify what = Verify::kAll);

struct FoundCheckpoint {
  std::string dir;
  int64_t step = 0;
};
using Warn = std::function<void(const std::string&)>;

/// The newest checkpoint under `root` that is whole, after a warning for each newer one that is not; nothing
/// if there is none. Removes what killed writers left, and has `latest` name a checkpoint that is there: only
/// the process that writes to `root` may call it.
std::optional<FoundCheckpoint> find_latest_valid(const std::string& root, const Warn& warn);

/// Whether there is a checkpoint under `root`, whole or damaged.
bool holds_checkpoints(const std::string& root);

/// The newest one whose texts are whole, without looking at its tensors; nothing if there is none.
std::optional<FoundCheckpoint> newest_with_texts(const std::string& root);

/// Where something says that there were checkpoints under `root` and they are not there: what it says, and
/// which others are left. Empty if nothing is missing, also where there never were any.
std::string missing_checkpoint(const std::string& root);

/// Removes all but the newest `keep` checkpoints; never the one that `latest` names.
void prune_checkpoints(const std::string& root, int64_t keep);

/// The directory that holds a model's config.json, from what a user calls a model: that directory itself, a
/// run directory or its checkpoints directory (then the checkpoint that `latest` names,
/// verified). InputError otherwise.
std::string resolve_model_dir(const std::string& path);

}  // namespace natrix
