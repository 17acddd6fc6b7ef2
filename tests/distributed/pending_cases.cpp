// Operations that are under way at the same time, and end in another order than they were started in.
#include <chrono>
#include <fmt/format.h>
#include <thread>

#include "tests/distributed/rank_helpers.h"

namespace natrix::test {
namespace {

/// An operation of each kind, with what it works on and what must come of it.
class Errands {
 public:
  Errands(Rank& r, int64_t unit) : r_(&r), n_(unit) {
    const int ranks = r.size();
    whole_ = numbers<float>(Dtype::kF32, {n_ + 1}, r.rank());
    small_ = numbers<int64_t>(Dtype::kI64, {7}, r.rank());
    parts_ = numbers<float>(Dtype::kF32, {ranks * n_}, r.rank());
    part_ = Buffer(Dtype::kF32, {n_});
    all_ = Buffer(Dtype::kF32, {ranks * n_});
    mine_ = numbers<float>(Dtype::kF32, {n_}, r.rank());
    rows_ = numbers<float>(Dtype::kF32, {ranks * n_, 2}, r.rank());
    came_ = Buffer(Dtype::kF32, {ranks * n_, 2});
    as_many_.assign(static_cast<size_t>(ranks), n_);
    none_.assign(static_cast<size_t>(ranks), 0);
  }

  std::vector<Pending> start(Communicator& axis) {
    std::vector<Pending> p;
    const View nothing(nullptr, Dtype::kF32, {0, 2});
    p.push_back(axis.start_all_reduce(r_->ctx, whole_.view(), Reduce::kSum));
    p.push_back(axis.start_all_to_all(r_->ctx, nothing, nothing, {none_, none_}));
    p.push_back(axis.start_reduce_scatter(r_->ctx, parts_.view(), part_.view(), Reduce::kMax));
    p.push_back(axis.start_all_reduce(r_->ctx, small_.view(), Reduce::kSum));
    p.push_back(axis.start_all_to_all(r_->ctx, rows_.view(), came_.view(), {as_many_, as_many_}));
    p.push_back(axis.start_all_reduce(r_->ctx, View(nullptr, Dtype::kF32, {0}), Reduce::kSum));
    p.push_back(axis.start_all_gather(r_->ctx, mine_.view(), all_.view()));
    return p;
  }

  void check(const std::string& when) const {
    const int ranks = r_->size();
    const auto is = [&](View v, const auto& want, size_t first, const char* what) {
      r_->expect(same_bits(v, want.data() + first), fmt::format("{}: {}", when, what));
    };
    const auto n = static_cast<size_t>(n_), me = static_cast<size_t>(r_->rank());
    is(whole_.view(), reduced<float>(Dtype::kF32, {n_ + 1}, ranks, Reduce::kSum), 0, "all_reduce");
    is(small_.view(), reduced<int64_t>(Dtype::kI64, {7}, ranks, Reduce::kSum), 0, "small all_reduce");
    is(part_.view(), reduced<float>(Dtype::kF32, {ranks * n_}, ranks, Reduce::kMax), me * n,
       "reduce_scatter");
    for (int p = 0; p < ranks; ++p) {
      const Buffer theirs = numbers<float>(Dtype::kF32, {n_}, p);
      const Buffer their_rows = numbers<float>(Dtype::kF32, {ranks * n_, 2}, p);
      r_->expect(same_bits(all_.view().reshaped({ranks, n_}).row_range(p, 1), theirs.view().as<float>()),
                 fmt::format("{}: all_gather: the part of rank {}", when, p));
      r_->expect(same_bits(came_.view().row_range(p * n_, n_), their_rows.view().row<float>(r_->rank() * n_)),
                 fmt::format("{}: all_to_all: the rows of rank {}", when, p));
    }
  }

 private:
  Rank* r_;
  int64_t n_ = 0;
  Buffer whole_, small_, parts_, part_, all_, mine_, rows_, came_;
  std::vector<int64_t> as_many_, none_;  // rows per peer
};

}  // namespace

/// Every rank waits for another one first.
void many_under_way(Transport& world) {
  Rank r(world);
  for (const int64_t unit : {int64_t{3}, int64_t{20001}}) {
    Errands errands(r, unit);
    std::vector<Pending> under_way = errands.start(r.all);
    const size_t n = under_way.size();
    for (size_t i = 0; i < n; ++i) under_way[(n - i + static_cast<size_t>(r.rank())) % n].wait();
    errands.check(fmt::format("units of {}", unit));
  }
}

/// Rank 0 waits along one axis while the others wait along another.
void waits_across_axes(Transport& world) {
  Rank r(world);
  RankCommunicator other(world.split(0, "other"));
  Errands here(r, 20001), there(r, 20002);
  std::vector<Pending> first = here.start(r.all), second = there.start(other);
  if (r.rank() == 0) std::swap(first, second);
  for (Pending& p : first) p.wait();
  for (Pending& p : second) p.wait();
  here.check("one axis");
  there.check("the other");
}

void polled_to_the_end(Transport& world) {
  Rank r(world);
  Errands errands(r, 20001);
  std::vector<Pending> under_way = errands.start(r.all);
  for (size_t left = under_way.size(); left > 0; std::this_thread::yield()) {
    left = 0;
    for (Pending& p : under_way) left += p.poll() ? 0 : 1;
  }
  errands.check("polled");
  Pending none;
  none.wait();
  r.expect(none.poll() && under_way[0].poll(), "what has ended stays so");
}

/// Second halves of sums, which begin in another order on every other rank, do not take each other's
/// messages.
void halves_in_another_order(Transport& world) {
  Rank r(world);
  Errands a(r, 20001), b(r, 30001);
  for (int round = 0; round < 3; ++round) {
    std::vector<Pending> first = a.start(r.all), second = b.start(r.all);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // in which the first halves arrive
    if (r.rank() % 2 == 1) std::swap(first, second);
    for (int look = 0; look < 1000; ++look) {
      for (Pending& p : first) p.poll();
    }
    for (Pending& p : second) p.wait();
    for (Pending& p : first) p.wait();
    a.check("one");
    b.check("another");
    a = Errands(r, 20001);
    b = Errands(r, 30001);
  }
}

void times_what_is_under_way(Transport& world) {
  Rank r(world);
  if (r.size() == 1) return;
  Errands errands(r, 20001);
  for (std::vector<Pending> p = errands.start(r.all); !p.empty(); std::this_thread::yield()) {
    std::erase_if(p, [](Pending& one) { return one.poll(); });
  }
  const Traffic polled = r.all.traffic();
  r.expect(polled.waiting == 0, "to poll is not to wait");
  r.expect(polled.under_way > 0, "what was under way took time");
  Buffer x(Dtype::kF32, {50000});
  r.all.all_reduce(r.ctx, x.view(), Reduce::kSum);
  const Traffic waited = r.all.traffic();
  r.expect(waited.waiting > 0, "a wait takes time");
  r.expect(waited.waiting <= waited.under_way - polled.under_way, "what is waited for is under way");
}

void keeps_its_scratch(Transport& world) {
  Rank r(world);
  int64_t taken = 0;
  for (int round = 0; round < 3; ++round) {
    Errands errands(r, 20001);
    for (Pending& p : errands.start(r.all)) p.wait();
    if (round == 0) taken = r.all.scratch_bytes();
    r.expect(r.all.scratch_bytes() == taken, "memory of sums is used again");
  }
  r.expect(r.size() == 1 || taken >= 20001 * 4, "a sum needs what it adds up");
}

}  // namespace natrix::test
