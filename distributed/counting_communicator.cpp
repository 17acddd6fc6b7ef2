#include "distributed/counting_communicator.h"

#include <functional>
#include <numeric>

#include "distributed/rank_communicator.h"

namespace natrix {
namespace {

// Counts saturate here, so that nothing overflows.
constexpr int64_t kMost = int64_t{1} << 61;

int64_t times(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? kMost : std::min(product, kMost);
}

}  // namespace

/// In flight until someone waits for it, so that as many operations as possible are in flight at once.
class CountingCommunicator::Counted final : public Operation {
 public:
  explicit Counted(std::function<void()> end) : end_(std::move(end)) {}
  ~Counted() override { wait(); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  bool poll() override { return false; }
  void wait() override {
    if (end_) end_();
    end_ = nullptr;
  }

 private:
  std::function<void()> end_;
};

void CountingCommunicator::add_to_all(Kind kind, int64_t bytes, int64_t exchanges) {
  Count& c = of(kind);
  c.calls += exchanges;
  c.all.bytes = std::min(kMost, c.all.bytes + bytes);
  c.all.messages += exchanges * size_ * (size_ - 1);
}

Pending CountingCommunicator::start_all_reduce(Context&, View inout, Reduce op) {
  if (size_ == 1 || inout.count() == 0) return {};
  const bool small = inout.bytes() <= RankCommunicator::kSmall;
  add_to_all(Kind::kSum, times(times(small ? size_ : 2, size_ - 1), inout.bytes()), small ? 1 : 2);
  if (op == Reduce::kSum && inout.dtype == Dtype::kF64 && !is_dry(inout.data)) {
    for (int64_t i = 0; i < inout.count(); ++i) inout.as<double>()[i] *= size_;
  }
  const int64_t piece = small ? inout.bytes() : share_of(inout, size_, rank_).bytes();
  auto room = std::make_shared<Buffer>(scratch_.take(times(size_, piece)));
  return Pending(std::make_unique<Counted>([this, room] { scratch_.give_back(std::move(*room)); }));
}

Pending CountingCommunicator::start_reduce_scatter(Context&, View in, View out, Reduce) {
  if (size_ == 1 || in.count() == 0) return {};
  add_to_all(Kind::kSum, times(size_ - 1, in.bytes()));
  auto room = std::make_shared<Buffer>(scratch_.take(times(size_, out.bytes())));
  return Pending(std::make_unique<Counted>([this, room] { scratch_.give_back(std::move(*room)); }));
}

Pending CountingCommunicator::start_all_gather(Context&, View in, View out) {
  add_to_all(Kind::kGather, times(size_ - 1, out.bytes()));
  if (is_dry(out.data) || is_dry(in.data)) return {};
  for (int p = 0; p < size_; ++p) {
    const View place = share_of(out, size_, p);
    if (place.count() == in.count()) copy(in.reshaped({in.count()}), place);
  }
  return {};
}

Pending CountingCommunicator::start_all_to_all(Context& ctx, View in, View, const RowCounts& rows) {
  const int64_t row = in.cols() * size_of(in.dtype);
  const int64_t sent = std::accumulate(rows.send.begin(), rows.send.end(), int64_t{0});
  Traffic t;
  t.messages = size_ - 1;
  t.bytes = (sent - rows.send[static_cast<size_t>(rank_)]) * row;
  Count& c = of(Kind::kExchange);
  ++c.calls;
  c.mine += t;
  return Pending(std::make_unique<Counted>([this, &ctx, t, started = ctx.ledger()] {
    const Ledger meanwhile = ctx.ledger().since(started);
    if (meanwhile.of(Work::kExpertProducts).launches > 0) overlaps_.push_back({t, meanwhile});
  }));
}

void CountingCommunicator::send(Context&, View v, int) {
  Count& c = of(Kind::kMessage);
  ++c.mine.messages;
  c.mine.bytes += v.bytes();
}

void CountingCommunicator::receive(Context&, View, int) {
  ++of(Kind::kMessage).calls;
}

void CountingCommunicator::reset() {
  counts_ = {};
  overlaps_.clear();
}

}  // namespace natrix
