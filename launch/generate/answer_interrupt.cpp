#include "launch/generate/answer_interrupt.h"

namespace natrix {
namespace {

// A signal handler can reach nothing but globals; these belong to the AnswerInterrupt that is alive.
volatile std::sig_atomic_t g_answering = 0, g_asked = 0;

void interrupt_answer(int signal) {
  if (g_answering != 0 && g_asked == 0) {
    g_asked = 1;
    return;
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace

AnswerInterrupt::AnswerInterrupt() {
  g_answering = 0;
  g_asked = 0;
  struct sigaction action = {};
  action.sa_handler = interrupt_answer;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &before_);
}

AnswerInterrupt::~AnswerInterrupt() {
  sigaction(SIGINT, &before_, nullptr);
}

void AnswerInterrupt::answer_begins() {
  g_asked = 0;
  g_answering = 1;
}

void AnswerInterrupt::answer_ends() {
  g_answering = 0;
}

bool AnswerInterrupt::asked() const {
  return g_asked != 0;
}

}  // namespace natrix
