// What the cases of rank_cases.h are written with.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "core/files/random.h"
#include "distributed/rank_communicator.h"
#include "tests/distributed/rank_cases.h"

namespace natrix::test {

struct Rank {
  explicit Rank(Transport& world_) : world(world_), all(world_.split(0, "all")), ctx(Backend::kCpu, 1) {}
  int rank() const { return world.rank(); }
  int size() const { return world.size(); }
  void expect(bool holds, const std::string& what) const { test::expect(holds, world, what); }

  Transport& world;
  RankCommunicator all;
  Context ctx;
};

/// Some, other ones on each rank.
template <class T>
Buffer numbers(Dtype dtype, Shape shape, int rank) {
  Buffer b(dtype, shape);
  SplitMix64 random(static_cast<uint64_t>(1000 + rank));
  for (int64_t i = 0; i < shape.count(); ++i) {
    b.view().as<T>()[i] = static_cast<T>(std::is_integral_v<T> ? 1000 * random.normal() : random.normal());
  }
  return b;
}

/// What a reduction in the order of ranks gives, bit for bit.
template <class T>
std::vector<T> reduced(Dtype dtype, Shape shape, int ranks, Reduce op) {
  std::vector<T> result;
  using Sum = std::conditional_t<std::is_floating_point_v<T>, double, T>;
  std::vector<Buffer> all;
  for (int r = 0; r < ranks; ++r) all.push_back(numbers<T>(dtype, shape, r));
  for (int64_t i = 0; i < shape.count(); ++i) {
    Sum total = static_cast<Sum>(all[0].view().as<T>()[i]);
    for (int r = 1; r < ranks; ++r) {
      const Sum x = static_cast<Sum>(all[static_cast<size_t>(r)].view().as<T>()[i]);
      total = op == Reduce::kSum ? total + x : std::max(total, x);
    }
    result.push_back(static_cast<T>(total));
  }
  return result;
}

template <class T>
bool same_bits(View v, const T* want) {
  return v.count() == 0 || std::memcmp(v.data, want, sizeof(T) * static_cast<size_t>(v.count())) == 0;
}

}  // namespace natrix::test
