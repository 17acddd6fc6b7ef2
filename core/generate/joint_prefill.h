// JointPrefill: a prefix read by the ranks of the cp axis together; afterwards the first rank's session
// stands behind it, as if it had read everything itself, and goes on alone.
#pragma once

#include "core/generate/session.h"
#include "core/sequence/joint_reading.h"

namespace natrix {

class JointPrefill {
 public:
  /// Borrowed. Every rank's session stands at the same place; chunk: tokens a row that a rank has in memory
  /// at once.
  JointPrefill(Session& session, Model& model, Context& ctx, const Ranks& ranks, int64_t chunk);

  using Progress = std::function<void(int64_t)>;
  /// Appends tokens [B, T] i64 to each row. Every rank is given all of them; each reads its part, once there
  /// are enough for all. progress(tokens read a row).
  void feed(
      View tokens, const Progress& progress = [](int64_t) {});
  /// Reads what is left. Collective. Only the first rank's session is of use afterwards.
  void finish(const Progress& progress = [](int64_t) {});

 private:
  void read(int64_t count, bool last, const Progress& progress);

  Session& session_;
  Context& ctx_;
  Ranks ranks_;
  JointReading reading_;
  Buffer waiting_;  // [B, n]: not read yet; the last one would be the session's pending token
  int64_t position_;
  bool begun_ = false;
};

}  // namespace natrix
