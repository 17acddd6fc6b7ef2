// JointPrefill: the ranks of the cp axis run a prefix together. Afterwards the first rank's session is where
// it would be if it had run the whole prefix itself, and it continues alone.
#pragma once

#include "core/generate/session.h"
#include "core/sequence/joint_reading.h"

namespace natrix {

class JointPrefill {
 public:
  /// All references are borrowed. The sessions of all ranks must be at the same position. chunk: tokens of a
  /// row that a rank runs at once.
  JointPrefill(Session& session, Model& model, Context& ctx, const Ranks& ranks, int64_t chunk);

  using Progress = std::function<void(int64_t)>;
  /// Appends tokens [B, T] i64 to the rows. Every rank gets all tokens, and runs its slice once there are
  /// enough for all ranks. Calls progress(tokens of a row that were run).
  void feed(
      View tokens, const Progress& progress = [](int64_t) {});
  /// Runs the tokens that are left. Collective. Afterwards only the first rank's session is valid.
  void finish(const Progress& progress = [](int64_t) {});

 private:
  void read(int64_t count, bool last, const Progress& progress);

  Session& session_;
  Context& ctx_;
  Ranks ranks_;
  JointReading reading_;
  Buffer waiting_;  // [B, n]: tokens not run yet; the last one would be the session's pending token
  int64_t position_;
  bool begun_ = false;
};

}  // namespace natrix
