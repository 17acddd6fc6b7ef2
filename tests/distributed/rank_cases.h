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
/// Of more than 2^31 bytes: gigabytes, and seconds.
const std::vector<RankCase>& huge_rank_cases();

// Of pending_cases.cpp and huge_cases.cpp.
void many_under_way(Transport& world);
void waits_across_axes(Transport& world);
void polled_to_the_end(Transport& world);
void halves_in_another_order(Transport& world);
void times_what_is_under_way(Transport& world);
void keeps_its_scratch(Transport& world);
void huge_rows(Transport& world);
void huge_sum(Transport& world);

/// Throws a std::runtime_error that names the rank.
void expect(bool holds, const Transport& world, const std::string& what);

}  // namespace natrix::test
