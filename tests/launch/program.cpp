#include "tests/launch/program.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace natrix::test {

Outcome natrix_program(const std::vector<std::string>& args, const std::function<int()>& signal_when) {
  const ScratchDirectory scratch;
  const std::string out = scratch / "out", err = scratch / "err";
  std::vector<const char*> argv = {NATRIX_PROGRAM};
  for (const std::string& a : args) argv.push_back(a.c_str());
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    const auto redirect = [](const std::string& path, int fd) {
      dup2(open(path.c_str(), O_CREAT | O_WRONLY, 0600), fd);
    };
    dup2(open("/dev/null", O_RDONLY), 0);
    redirect(out, 1);
    redirect(err, 2);
    execv(argv[0], const_cast<char**>(argv.data()));
    _exit(127);
  }
  int status = 0;
  while (waitpid(child, &status, signal_when ? WNOHANG : 0) == 0) {
    if (const int s = signal_when(); s != 0) kill(child, s);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return {.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          .out = read_text_file(out),
          .err = read_text_file(err)};
}

ScratchDirectory::ScratchDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "natrix-test-XXXXXX").string();
  path_ = mkdtemp(pattern.data());
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string read_text_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace natrix::test
