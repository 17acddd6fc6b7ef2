// The cases of rank_cases.h between processes: mpirun -n 4 mpi_cases [CASE…]
#include <algorithm>
#include <cstdio>
#include <exception>
#include <fmt/format.h>
#include <string>
#include <vector>

#include "distributed/mpi_communicator.h"
#include "tests/distributed/rank_cases.h"

int main(int argc, char** argv) {
  const std::vector<std::string> chosen(argv + 1, argv + argc);
  natrix::MpiSession session;
  if (session.world() == nullptr) {
    std::fputs("mpi_cases: start it with mpirun -n P, P > 1\n", stderr);
    return 2;
  }
  for (const natrix::test::RankCase& c : natrix::test::rank_cases()) {
    if (!chosen.empty() && std::find(chosen.begin(), chosen.end(), c.name) == chosen.end()) continue;
    try {
      c.run(*session.world());
    } catch (const std::exception& e) {
      std::fputs(fmt::format("{}: {}\n", c.name, e.what()).c_str(), stderr);
      session.abort(1);
    }
    if (session.rank() == 0) std::fputs(fmt::format("{} ok\n", c.name).c_str(), stdout);
  }
}
