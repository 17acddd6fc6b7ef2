#include "tests/launch/program.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <sched.h>
#include <stdexcept>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace natrix::test {
namespace {

constexpr auto kHangs = std::chrono::seconds(60);

/// Mounts a directory over itself, read-only, for this process alone.
bool make_read_only(const char* path) {
  return unshare(CLONE_NEWNS | (geteuid() == 0 ? 0 : CLONE_NEWUSER)) == 0 &&
         mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount(path, path, nullptr, MS_BIND, nullptr) == 0 &&
         mount(nullptr, path, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) == 0;
}

/// In the child: standard streams, limits, then the program. Nothing here may allocate.
[[noreturn]] void become_program(char* const argv[], const std::string& streams,
                                 const ProgramOptions& options) {
  const int folder = open(streams.c_str(), O_DIRECTORY | O_CLOEXEC);
  dup2(openat(folder, "in", O_RDONLY), 0);
  dup2(openat(folder, "out", O_CREAT | O_WRONLY, 0600), 1);
  dup2(openat(folder, "err", O_CREAT | O_WRONLY, 0600), 2);
  if (options.most_file_bytes >= 0) {
    const auto most = static_cast<rlim_t>(options.most_file_bytes);
    const rlimit limit{most, most};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  if (!options.read_only.empty() && !make_read_only(options.read_only.c_str())) _exit(kNotPermitted);
  execvp(argv[0], argv);
  _exit(127);
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& t : texts) pointers.push_back(t.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Outcome natrix_program(const std::vector<std::string>& args, const ProgramOptions& options) {
  std::vector<std::string> words = {NATRIX_PROGRAM};
  words.insert(words.end(), args.begin(), args.end());
  return any_program(words, options);
}

Outcome any_program(const std::vector<std::string>& command, const ProgramOptions& options) {
  const ScratchDir scratch;
  write_file(scratch / "in", options.input);
  // It may be killed before it opens them.
  for (const char* stream : {"out", "err"}) write_file(scratch / stream, "");
  std::vector<std::string> words = command;
  const std::vector<char*> argv = pointers_to(words);
  const auto start = std::chrono::steady_clock::now();
  const pid_t child = fork();
  if (child == 0) become_program(argv.data(), scratch.path(), options);
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (const int s = options.signal_when ? options.signal_when() : 0; s != 0) kill(child, s);
    if (std::chrono::steady_clock::now() - start > kHangs) kill(child, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  Outcome outcome{.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
                  .out = read_file(scratch / "out"),
                  .err = read_file(scratch / "err")};
  if (std::find(words.begin(), words.end(), "mpirun") != words.end()) {
    // Open MPI 5 sends a null byte along when a rank calls MPI_Abort.
    for (std::string* text : {&outcome.out, &outcome.err}) std::erase(*text, '\0');
  }
  return outcome;
}

std::vector<std::string> environment_of_ranks() {
#ifdef __SANITIZE_ADDRESS__  // Open MPI leaves things behind at its end
  return {"env", "ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=0"};
#else
  return {"env"};
#endif
}

std::vector<std::string> mpirun_words() {
  std::vector<std::string> words = environment_of_ranks();
  words.insert(words.end(), {"mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"});
  return words;
}

std::vector<std::string> mpirun_words(int ranks) {
  std::vector<std::string> words = mpirun_words();
  words.insert(words.end(), {"-n", std::to_string(ranks), NATRIX_PROGRAM});
  return words;
}

}  // namespace natrix::test
