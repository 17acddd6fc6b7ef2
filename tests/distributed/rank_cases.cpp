#include "tests/distributed/rank_cases.h"

#include <chrono>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <stdexcept>
#include <thread>

#include "tests/distributed/rank_helpers.h"

namespace natrix::test {
namespace {

template <class T>
void all_reduce_case(Rank& r, Dtype dtype) {
  for (const int64_t count : {int64_t{0}, int64_t{1}, int64_t{7}, int64_t{5000}, int64_t{50001}}) {
    for (const Reduce op : {Reduce::kSum, Reduce::kMax}) {
      Buffer x = numbers<T>(dtype, {count}, r.rank());
      r.all.all_reduce(r.ctx, x.view(), op);
      const std::vector<T> want = reduced<T>(dtype, {count}, r.size(), op);
      r.expect(count == 0 || std::memcmp(x.view().data, want.data(), sizeof(T) * want.size()) == 0,
               fmt::format("all_reduce of {} {}", count, name_of(dtype)));
    }
  }
}

void all_reduce(Transport& world) {
  Rank r(world);
  all_reduce_case<float>(r, Dtype::kF32);
  all_reduce_case<double>(r, Dtype::kF64);
  all_reduce_case<int64_t>(r, Dtype::kI64);
}

void reduce_keeps_nan(Transport& world) {
  Rank r(world);
  Buffer x(Dtype::kF64, {3});
  x.view().as<double>()[1] = r.rank() == r.size() - 1 ? std::nan("") : 1.0;
  for (const Reduce op : {Reduce::kSum, Reduce::kMax}) {
    r.all.all_reduce(r.ctx, x.view(), op);
    r.expect(std::isnan(x.view().as<double>()[1]), "a NaN of one rank is everybody's");
    r.expect(!std::isnan(x.view().as<double>()[0]), "and stays in its place");
  }
}

void reduce_scatter(Transport& world) {
  Rank r(world);
  const int64_t n = 13;
  const Buffer in = numbers<float>(Dtype::kF32, {r.size() * n}, r.rank());
  Buffer out(Dtype::kF32, {n});
  r.all.reduce_scatter(r.ctx, in.view(), out.view(), Reduce::kSum);
  const auto want = reduced<float>(Dtype::kF32, {r.size() * n}, r.size(), Reduce::kSum);
  r.expect(std::memcmp(out.view().data, want.data() + r.rank() * n, sizeof(float) * n) == 0,
           "reduce_scatter");
}

void all_gather(Transport& world) {
  Rank r(world);
  const Buffer in = numbers<float>(Dtype::kF32, {4, 3}, r.rank());
  Buffer out(Dtype::kF32, {r.size() * 4, 3});
  r.all.all_gather(r.ctx, in.view(), out.view());
  for (int p = 0; p < r.size(); ++p) {
    const Buffer want = numbers<float>(Dtype::kF32, {4, 3}, p);
    r.expect(std::memcmp(out.view().row<float>(p * 4), want.view().data, sizeof(float) * 12) == 0,
             fmt::format("all_gather: the part of rank {}", p));
  }
}

/// Rank a sends b · (a + 1) rows to rank b, so that rank 0 gets none at all.
void all_to_all(Transport& world) {
  Rank r(world);
  std::vector<int64_t> send, receive;  // rows per peer
  int64_t sent = 0, received = 0;
  for (int p = 0; p < r.size(); ++p) {
    send.push_back(p * (r.rank() + 1));
    receive.push_back(r.rank() * (p + 1));
    sent += send.back();
    received += receive.back();
  }
  Buffer in(Dtype::kF32, {sent, 2}), out(Dtype::kF32, {received, 2});
  for (int64_t i = 0, p = 0, left = 0; i < sent; ++i, --left) {
    while (left == 0) left = send[static_cast<size_t>(p++)];
    in.view().row<float>(i)[0] = static_cast<float>(r.rank());
    in.view().row<float>(i)[1] = static_cast<float>(p - 1);
  }
  r.all.all_to_all(r.ctx, in.view(), out.view(), {send, receive});
  int64_t row = 0;
  for (int p = 0; p < r.size(); ++p) {
    for (int64_t i = 0; i < receive[static_cast<size_t>(p)]; ++i, ++row) {
      r.expect(out.view().row<float>(row)[0] == static_cast<float>(p) &&
                   out.view().row<float>(row)[1] == static_cast<float>(r.rank()),
               "all_to_all: rows come in the order of their ranks");
    }
  }
}

/// All send before any receives, more than any eager buffer holds.
void ring(Transport& world) {
  Rank r(world);
  if (r.size() == 1) return;
  const int next = (r.rank() + 1) % r.size(), before = (r.rank() + r.size() - 1) % r.size();
  const int64_t counts[] = {1, 300000, 0, 17};
  for (const int64_t n : counts) {
    Buffer x = numbers<float>(Dtype::kF32, {n}, r.rank());
    r.all.send(r.ctx, x.view(), next);
    if (n > 0) fill_zero(x.view());  // a copy is on its way
  }
  for (const int64_t n : counts) {
    Buffer x(Dtype::kF32, {n});
    r.all.receive(r.ctx, x.view(), before);
    const Buffer want = numbers<float>(Dtype::kF32, {n}, before);
    r.expect(
        n == 0 || std::memcmp(x.view().data, want.view().data, sizeof(float) * static_cast<size_t>(n)) == 0,
        fmt::format("ring: {} floats", n));
  }
}

/// A sender is done with its communicator long before the message is fetched.
void sends_outlive_their_communicator(Transport& world) {
  const int64_t n = 300000;
  auto pair = std::make_unique<Rank>(world);
  if (pair->size() == 1) return;
  if (pair->rank() == 0) {
    const Buffer x = numbers<float>(Dtype::kF32, {n}, 7);
    pair->all.send(pair->ctx, x.view(), 1);
    pair.reset();
  } else if (pair->rank() == 1) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    Buffer x(Dtype::kF32, {n});
    pair->all.receive(pair->ctx, x.view(), 0);
    const Buffer want = numbers<float>(Dtype::kF32, {n}, 7);
    pair->expect(std::memcmp(x.view().data, want.view().data, sizeof(float) * n) == 0, "what was sent came");
  }
}

void split(Transport& world) {
  Rank r(world);
  RankCommunicator half(world.split(r.rank() % 2, "halves"));
  r.expect(half.size() == (r.size() + 1 - r.rank() % 2) / 2 && half.rank() == r.rank() / 2,
           "the order is kept");
  Buffer x(Dtype::kI64, {1});
  x.view().as<int64_t>()[0] = r.rank();
  half.all_reduce(r.ctx, x.view(), Reduce::kSum);
  int64_t want = 0;
  for (int p = r.rank() % 2; p < r.size(); p += 2) want += p;
  r.expect(x.view().as<int64_t>()[0] == want, "a part adds up its own ranks");
}

void counts_traffic(Transport& world) {
  Rank r(world);
  if (r.size() == 1) return;
  Buffer x(Dtype::kF32, {1 << 16});
  r.all.all_reduce(r.ctx, x.view(), Reduce::kSum);
  const int64_t ring_all_reduce = 2 * x.bytes() * (r.size() - 1) / r.size();
  r.expect(std::abs(r.all.traffic().bytes - ring_all_reduce) <= 4 * r.size(),
           fmt::format("sent {} bytes, a ring sends {}", r.all.traffic().bytes, ring_all_reduce));
}

/// The last rank stays away from an operation of the others.
void lost_rank(Transport& world) {
  Rank r(world);
  if (r.size() == 1) return;
  world.watch().timeout = 0.2;
  world.watch().step = 41;
  if (r.rank() == r.size() - 1) return;
  Buffer x(Dtype::kF32, {4}), y(Dtype::kF32, {50000});
  const Pending forsaken = r.all.start_all_reduce(r.ctx, y.view(), Reduce::kSum);
  try {
    r.all.all_reduce(r.ctx, x.view(), Reduce::kSum);
  } catch (const RunError& e) {
    const std::string said = e.what();
    for (const std::string& part :
         {fmt::format("rank {}, step 41: all_reduce", r.rank()), std::string("(all)"),
          fmt::format("from rank {} ", r.size() - 1), std::string("0.2 s (parallel.timeout)")}) {
      r.expect(said.find(part) != std::string::npos, "the error lacks '" + part + "': " + said);
    }
    return;
  }
  r.expect(false, "waited for a lost rank, and it came");
}

/// Rank 0 sends more, or less, than rank 1 expects.
void mismatch(Transport& world) {
  Rank r(world);
  for (const int64_t n : {8, 16}) {
    Buffer x(Dtype::kF32, {n}), twelve(Dtype::kF32, {12});
    if (r.rank() == 0 && r.size() > 1) r.all.send(r.ctx, x.view(), 1);
    if (r.rank() != 1) continue;
    try {
      r.all.receive(r.ctx, twelve.view(), 0);
      r.expect(false, "took a message of another size");
    } catch (const RunError& e) {
      const std::string said = e.what(), want = "rank 0 sent";
      r.expect(said.find(want) != std::string::npos && said.find("48 were due") != std::string::npos, said);
    }
  }
}

}  // namespace

void expect(bool holds, const Transport& world, const std::string& what) {
  if (!holds) throw std::runtime_error(fmt::format("rank {} of {}: {}", world.rank(), world.size(), what));
}

const std::vector<RankCase>& rank_cases() {
  static const std::vector<RankCase> cases = {
      {"all_reduce", all_reduce},
      {"reduce_keeps_nan", reduce_keeps_nan},
      {"reduce_scatter", reduce_scatter},
      {"all_gather", all_gather},
      {"all_to_all", all_to_all},
      {"ring", ring},
      {"sends_outlive_their_communicator", sends_outlive_their_communicator},
      {"split", split},
      {"counts_traffic", counts_traffic},
      {"many_under_way", many_under_way},
      {"waits_across_axes", waits_across_axes},
      {"polled_to_the_end", polled_to_the_end},
      {"halves_in_another_order", halves_in_another_order},
      {"times_what_is_under_way", times_what_is_under_way},
      {"keeps_its_scratch", keeps_its_scratch},
      {"mismatch", mismatch},
      {"lost_rank", lost_rank}};  // last: it leaves messages behind
  return cases;
}

const std::vector<RankCase>& huge_rank_cases() {
  static const std::vector<RankCase> cases = {{"huge_rows", huge_rows}, {"huge_sum", huge_sum}};
  return cases;
}

}  // namespace natrix::test
