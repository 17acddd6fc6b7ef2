#include "tests/launch/program.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <sys/resource.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace natrix::test {
namespace {

constexpr auto kHangs = std::chrono::seconds(60);

/// In the child: standard streams, limits, then the program. Nothing here may allocate.
[[noreturn]] void become_program(char* const argv[], char* const environment[], const std::string& in,
                                 const std::string& out, const std::string& err, int64_t most_file_bytes) {
  dup2(open(in.c_str(), O_RDONLY), 0);
  dup2(open(out.c_str(), O_CREAT | O_WRONLY, 0600), 1);
  dup2(open(err.c_str(), O_CREAT | O_WRONLY, 0600), 2);
  if (most_file_bytes >= 0) {
    const rlimit limit{static_cast<rlim_t>(most_file_bytes), static_cast<rlim_t>(most_file_bytes)};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  execve(argv[0], argv, environment);
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
  const ScratchDirectory scratch;
  const std::string in = scratch / "in", out = scratch / "out", err = scratch / "err";
  write_text(in, options.input);
  std::vector<std::string> words = {NATRIX_PROGRAM};
  words.insert(words.end(), args.begin(), args.end());
  const std::vector<char*> argv = pointers_to(words);
  // A sanitizer would end the program where malloc returns null.
  std::vector<std::string> variables = {"ASAN_OPTIONS=allocator_may_return_null=1"};
  for (char** v = environ; *v != nullptr; ++v) variables.emplace_back(*v);
  // Small models gain nothing from threads, and threads that wait for each other slow a busy machine down.
  variables.emplace_back("OMP_THREAD_LIMIT=1");
  const std::vector<char*> environment = pointers_to(variables);
  const auto start = std::chrono::steady_clock::now();
  const pid_t child = fork();
  if (child == 0) become_program(argv.data(), environment.data(), in, out, err, options.most_file_bytes);
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (const int s = options.signal_when ? options.signal_when() : 0; s != 0) kill(child, s);
    if (std::chrono::steady_clock::now() - start > kHangs) kill(child, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return {.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          .out = read_text_file(out),
          .err = read_text_file(err)};
}

ScratchDirectory::ScratchDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "natrix-test-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
  path_ = pattern;
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

std::string read_text_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace natrix::test
