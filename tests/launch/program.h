// Runs the natrix program as a user would.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/files.h"

namespace natrix::test {

struct Outcome {
  int status = -1;  // exit status; 128 + signal if a signal ended it
  std::string out, err;
};

struct ProgramOptions {
  std::function<int()> signal_when;  // called every few milliseconds: a signal to send, or 0
  int64_t most_file_bytes = -1;      // RLIMIT_FSIZE, a disk that is full after so many bytes; −1: none
  std::string read_only;             // a directory that nobody can write to, root neither
  std::string input;                 // standard input
};

inline constexpr int kNotPermitted = 126;  // status where this machine does not let `read_only` be made

/// Runs natrix with these arguments. One that hangs is killed after a minute: status 137.
Outcome natrix_program(const std::vector<std::string>& args, const ProgramOptions& options = {});

/// Runs any program found on the PATH, such as mpirun.
Outcome any_program(const std::vector<std::string>& words, const ProgramOptions& options = {});
/// "env" and what programs need in it that use Open MPI.
std::vector<std::string> environment_of_ranks();
/// mpirun: Debian's wants to know that root, more ranks than processors, and no binding are meant.
std::vector<std::string> mpirun_words();
/// natrix on so many ranks: words to which its arguments are added.
std::vector<std::string> mpirun_words(int ranks);

}  // namespace natrix::test
