// record_status DIR PROGRAM ARGS…: runs a program and writes how it ended to DIR/<rank>, even if a launcher
// kills this process group with -9: 137 for SIGKILL, 128 + signal for others.
//
// mpirun kills the process group of what it has started. So the one that waits and writes stands in a group
// of its own, and puts the program back into the launcher's:
//
//   mpirun ── this process (leader of the group) ── recorder (its own group) ── PROGRAM (back in the first
//   group)
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace {

int status_of(int wait_status) {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

void write_status(const std::string& path, int status) {
  std::FILE* file = std::fopen((path + ".part").c_str(), "w");
  if (file == nullptr) return;
  std::fprintf(file, "%d\n", status);
  std::fclose(file);
  std::rename((path + ".part").c_str(), path.c_str());
}

[[noreturn]] void record(pid_t group, const std::string& path, char** program, int to_parent) {
  setpgid(0, 0);
  const pid_t child = fork();
  if (child == 0) {
    setpgid(0, group);
    close(to_parent);
    execv(program[0], program);
    _exit(127);
  }
  int wait_status = 0;
  while (waitpid(child, &wait_status, 0) < 0) {
  }
  const int status = status_of(wait_status);
  write_status(path, status);
  static_cast<void>(!write(to_parent, &status, sizeof status));
  _exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  if (argc < 3 || rank == nullptr) return 2;
  const std::string path = std::string(argv[1]) + "/" + rank;
  int ends[2];
  if (pipe(ends) != 0) return 2;
  if (getpgrp() != getpid()) setpgid(0, 0);
  const pid_t group = getpgrp();
  if (fork() == 0) {
    close(ends[0]);
    record(group, path, argv + 2, ends[1]);
  }
  close(ends[1]);
  // A signal that the launcher sends to all is the program's to answer.
  for (const int s : {SIGTERM, SIGINT, SIGUSR1, SIGUSR2}) std::signal(s, SIG_IGN);
  int status = 2;
  static_cast<void>(!read(ends[0], &status, sizeof status));
  return status;
}
