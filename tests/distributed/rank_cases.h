// What every communicator between ranks must do: the same cases over threads and over MPI.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "distributed/transport.h"

namespace natrix::test {

struct RankCase {
  std::string name;
  /// Called on every rank with a transport of its own to all of them; throws where something is wrong.
  std::function<void(Transport& world)> run;
};
const std::vector<RankCase>& rank_cases();

/// Throws a std::runtime_error that names the rank.
void expect(bool holds, const Transport& world, const std::string& what);

}  // namespace natrix::test
