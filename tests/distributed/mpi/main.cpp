// The cases of rank_cases.h between processes: mpirun -n 4 mpi_cases [--message-limit BYTES] [--huge] [CASE…]
#include <algorithm>
#include <cstdio>
#include <exception>
#include <fmt/format.h>
#include <string>
#include <vector>

#include "distributed/mpi_communicator.h"
#include "tests/distributed/rank_cases.h"

namespace {

struct Arguments {
  int64_t message_limit = int64_t{1} << 30;
  bool huge = false;
  std::vector<std::string> cases;
};

Arguments parse(int argc, char** argv) {
  Arguments a;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--message-limit" && i + 1 < argc) {
      a.message_limit = std::stoll(argv[++i]);
    } else if (word == "--huge") {
      a.huge = true;
    } else {
      a.cases.push_back(word);
    }
  }
  return a;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments chosen = parse(argc, argv);
  natrix::MpiSession session(chosen.message_limit);
  if (session.world() == nullptr) {
    std::fputs("mpi_cases: start it with mpirun -n P, P > 1\n", stderr);
    return 2;
  }
  const std::vector<std::string>& names = chosen.cases;
  for (const auto& c : chosen.huge ? natrix::test::huge_rank_cases() : natrix::test::rank_cases()) {
    if (!names.empty() && std::find(names.begin(), names.end(), c.name) == names.end()) continue;
    try {
      c.run(*session.world());
    } catch (const std::exception& e) {
      std::fputs(fmt::format("{}: {}\n", c.name, e.what()).c_str(), stderr);
      session.abort(1);
    }
    if (session.rank() == 0) std::fputs(fmt::format("{} ok\n", c.name).c_str(), stdout);
  }
}
