// Operations on more than 2^31 bytes.
#include <fmt/format.h>

#include "tests/distributed/rank_helpers.h"

namespace natrix::test {
namespace {

constexpr int64_t kHuge = (int64_t{1} << 31) + 12;  // bytes

uint8_t byte_at(int64_t i) {
  return static_cast<uint8_t>(i * 2654435761 >> 16);
}

}  // namespace

/// From the first rank to the last.
void huge_rows(Transport& world) {
  Rank r(world);
  const bool sends = r.rank() == 0, receives = r.rank() == r.size() - 1;
  std::vector<int64_t> send, receive;  // rows per peer
  send.assign(static_cast<size_t>(r.size()), 0);
  receive = send;
  if (sends) send.back() = kHuge;
  if (receives) receive.front() = kHuge;
  Buffer in(Dtype::kU8, {sends ? kHuge : 0, 1}), out(Dtype::kU8, {receives ? kHuge : 0, 1});
  for (int64_t i = 0; i < in.view().count(); ++i) in.view().as<uint8_t>()[i] = byte_at(i);
  r.all.all_to_all(r.ctx, in.view(), out.view(), {send, receive});
  int64_t wrong = 0;
  for (int64_t i = 0; i < out.view().count(); ++i) wrong += out.view().as<uint8_t>()[i] != byte_at(i);
  r.expect(wrong == 0, fmt::format("{} of {} bytes are wrong", wrong, kHuge));
}

/// Longer than that, in pieces that are longer than one message of MPI's.
void huge_sum(Transport& world) {
  Rank r(world);
  Buffer x(Dtype::kF32, {kHuge / 4});
  float* v = x.view().as<float>();
  for (int64_t i = 0; i < x.view().count(); ++i) v[i] = static_cast<float>(byte_at(i) * (r.rank() + 1));
  r.all.all_reduce(r.ctx, x.view(), Reduce::kSum);
  int64_t wrong = 0;
  const int times = r.size() * (r.size() + 1) / 2;
  for (int64_t i = 0; i < x.view().count(); ++i) wrong += v[i] != static_cast<float>(byte_at(i) * times);
  r.expect(wrong == 0, fmt::format("{} of {} sums are wrong", wrong, x.view().count()));
}

}  // namespace natrix::test
