#include "distributed/rank_communicator.h"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <numeric>
#include <vector>

#include "kernels/base/parallel.h"

namespace natrix {
namespace {

View flat(View v) {
  require(v.contiguous(), "a collective over strided rows");
  return View(v.data, v.dtype, {v.count()});
}

View piece(View v, int64_t first, int64_t count) {
  return View(static_cast<char*>(v.data) + first * size_of(v.dtype), v.dtype, {count});
}

template <class T>
void reduce_as(Context& ctx, View parts, View out, Reduce op) {
  using Sum = std::conditional_t<std::is_floating_point_v<T>, double, T>;
  const int64_t n = out.count(), ranks = parts.count() / std::max<int64_t>(n, 1);
  const T* in = parts.as<T>();
  T* result = out.as<T>();
  parallel_for(ctx, n, 16384, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Sum total = static_cast<Sum>(in[i]);
      for (int64_t p = 1; p < ranks; ++p) {
        const Sum x = static_cast<Sum>(in[p * n + i]);
        // A rank's NaN must survive a maximum.
        total = op == Reduce::kSum ? total + x : (x > total || x != x ? x : total);
      }
      result[i] = static_cast<T>(total);
    }
  });
}

/// parts: the ranks' contributions, one after another. out = their reduction in that order.
/// They must not overlap.
void reduce_parts(Context& ctx, View parts, View out, Reduce op) {
  switch (out.dtype) {
    case Dtype::kF32: return reduce_as<float>(ctx, parts, out, op);
    case Dtype::kF64: return reduce_as<double>(ctx, parts, out, op);
    case Dtype::kI64: return reduce_as<int64_t>(ctx, parts, out, op);
    default: require(false, "a reduction of something else than f32, f64 or i64");
  }
}

}  // namespace

class RankCommunicator::Parts {
 public:
  static Parts cut(View v, int ranks) {
    Parts parts;
    for (int p = 0; p < ranks; ++p) parts.views_.push_back(share_of(v, ranks, p));
    return parts;
  }
  static Parts of_rows(View v, std::span<const int64_t> rows) {
    require(std::accumulate(rows.begin(), rows.end(), int64_t{0}) == v.rows(),
            "a plan for other rows than these");
    Parts parts;
    int64_t first = 0;
    for (int64_t n : rows) {
      parts.views_.push_back(piece(flat(v), first * v.cols(), n * v.cols()));
      first += n;
    }
    return parts;
  }
  static Parts same(View v, int ranks) {
    Parts parts;
    parts.views_.assign(static_cast<size_t>(ranks), v);
    return parts;
  }

  View operator[](int p) const { return views_[static_cast<size_t>(p)]; }
  int64_t bytes() const {
    int64_t n = 0;
    for (const View& v : views_) n += v.bytes();
    return n;
  }
  template <class Byte>
  std::vector<std::span<Byte>> spans() const {
    std::vector<std::span<Byte>> s;
    for (const View& v : views_) s.emplace_back(static_cast<Byte*>(v.data), static_cast<size_t>(v.bytes()));
    return s;
  }

 private:
  std::vector<View> views_;
};

RankCommunicator::RankCommunicator(std::unique_ptr<Transport> transport) : transport_(std::move(transport)) {}
RankCommunicator::~RankCommunicator() = default;

std::unique_ptr<Exchange> RankCommunicator::exchange(const Parts& send, const Parts& receive,
                                                     int64_t operation, std::string_view what) {
  const View mine = send[rank()], here = receive[rank()];
  require(mine.bytes() == here.bytes(), "a rank sends itself something else than it receives from itself");
  if (mine.data != here.data && mine.bytes() > 0) {
    std::memcpy(here.data, mine.data, static_cast<size_t>(mine.bytes()));
  }
  const int64_t bytes = send.bytes() - mine.bytes();
  book_.traffic.messages += size() - 1;
  book_.traffic.bytes += bytes;
  return transport_->start_exchange(send.spans<const std::byte>(), receive.spans<std::byte>(), operation,
                                    fmt::format("{} of {} bytes", what, bytes));
}

Pending RankCommunicator::run(std::unique_ptr<Exchange> first, RankOperation::Then then, Buffer scratch) {
  return Pending(std::make_unique<RankOperation>(book_, transport_->watch(), std::move(first),
                                                 std::move(then), std::move(scratch)));
}

Pending RankCommunicator::start_all_reduce(Context& ctx, View inout, Reduce op) {
  constexpr const char* kName = "all_reduce";
  const View whole = flat(inout);
  if (size() == 1 || whole.count() == 0) return {};
  const int64_t operation = transport_->begin_operation();
  const bool small = whole.bytes() <= kSmall;
  const Parts pieces = Parts::cut(whole, size());
  const View mine = small ? whole : pieces[rank()];
  Buffer scratch = book_.scratch.take(size() * mine.bytes());
  const View parts(scratch.view().data, whole.dtype, {size() * mine.count()});
  auto first =
      exchange(small ? Parts::same(whole, size()) : pieces, Parts::cut(parts, size()), operation, kName);
  const auto then = [this, &ctx, op, parts, pieces, mine, small, operation]() -> std::unique_ptr<Exchange> {
    reduce_parts(ctx, parts, mine, op);
    return small ? nullptr : exchange(Parts::same(mine, size()), pieces, operation, kName);
  };
  return run(std::move(first), then, std::move(scratch));
}

Pending RankCommunicator::start_reduce_scatter(Context& ctx, View in, View out, Reduce op) {
  const Parts pieces = Parts::cut(flat(in), size());
  const View mine = flat(out);
  require(mine.count() == pieces[rank()].count() && in.dtype == out.dtype,
          "reduce_scatter ends in a rank's share");
  if (size() == 1 && in.data != out.data) copy(in, out);
  if (size() == 1 || in.count() == 0) return {};
  Buffer scratch = book_.scratch.take(size() * mine.bytes());
  const View parts(scratch.view().data, in.dtype, {size() * mine.count()});
  auto first = exchange(pieces, Parts::cut(parts, size()), transport_->begin_operation(), "reduce_scatter");
  const auto then = [&ctx, parts, mine, op]() -> std::unique_ptr<Exchange> {
    reduce_parts(ctx, parts, mine, op);
    return nullptr;
  };
  return run(std::move(first), then, std::move(scratch));
}

Pending RankCommunicator::start_all_gather(Context&, View in, View out) {
  const Parts places = Parts::cut(flat(out), size());
  require(in.count() == places[rank()].count() && in.dtype == out.dtype,
          "all_gather begins with a rank's share");
  return run(exchange(Parts::same(flat(in), size()), places, transport_->begin_operation(), "all_gather"));
}

Pending RankCommunicator::start_all_to_all(Context&, View in, View out, const RowCounts& rows) {
  require(in.cols() == out.cols() && in.dtype == out.dtype, "all_to_all between rows of different kinds");
  return run(exchange(Parts::of_rows(in, rows.send), Parts::of_rows(out, rows.receive),
                      transport_->begin_operation(), "all_to_all"));
}

void RankCommunicator::send(Context&, View v, int peer) {
  require(peer != rank(), "a rank does not send to itself");
  const auto bytes = static_cast<size_t>(flat(v).bytes());
  transport_->send({static_cast<const std::byte*>(v.data), bytes}, peer,
                   fmt::format("send of {} bytes", bytes));
  ++book_.traffic.messages;
  book_.traffic.bytes += static_cast<int64_t>(bytes);
}

void RankCommunicator::receive(Context&, View v, int peer) {
  require(peer != rank(), "a rank does not receive from itself");
  const auto bytes = static_cast<size_t>(flat(v).bytes());
  run(transport_->start_receive({static_cast<std::byte*>(v.data), bytes}, peer,
                                fmt::format("receive of {} bytes", bytes)))
      .wait();
}

}  // namespace natrix
