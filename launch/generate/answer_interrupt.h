// AnswerInterrupt: Ctrl-C (SIGINT) ends an answer of the model, but not the program. While no answer is
// written, or when it comes a second time, it ends the program. At most one object may exist.
#pragma once

#include <csignal>

namespace natrix {

class AnswerInterrupt {
 public:
  AnswerInterrupt();
  ~AnswerInterrupt();
  AnswerInterrupt(const AnswerInterrupt&) = delete;
  AnswerInterrupt& operator=(const AnswerInterrupt&) = delete;

  void answer_begins();
  void answer_ends();
  /// Whether the signal came since the answer began.
  bool asked() const;

 private:
  struct sigaction before_ = {};
};

}  // namespace natrix
