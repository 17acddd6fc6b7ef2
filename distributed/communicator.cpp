#include "distributed/communicator.h"

#include <algorithm>

namespace natrix {

View share_of(View whole, int ranks, int rank) {
  require(whole.contiguous(), "strided rows cannot be shared out by elements");
  const int64_t n = (whole.count() + ranks - 1) / ranks, first = std::min(rank * n, whole.count());
  return View(static_cast<char*>(whole.data) + first * size_of(whole.dtype), whole.dtype,
              {std::min(n, whole.count() - first)});
}

Traffic& Traffic::operator+=(const Traffic& t) {
  messages += t.messages;
  bytes += t.bytes;
  under_way += t.under_way;
  waiting += t.waiting;
  return *this;
}

Pending LocalCommunicator::start_all_reduce(Context&, View, Reduce) {
  return {};
}
Pending LocalCommunicator::start_reduce_scatter(Context&, View in, View out, Reduce) {
  copy(in, out);
  return {};
}
Pending LocalCommunicator::start_all_gather(Context&, View in, View out) {
  copy(in, out);
  return {};
}
Pending LocalCommunicator::start_all_to_all(Context&, View in, View out, const RowCounts&) {
  copy(in, out);
  return {};
}
void LocalCommunicator::send(Context&, View, int) {
  require(false, "a world of one rank has no peer to send to");
}
void LocalCommunicator::receive(Context&, View, int) {
  require(false, "a world of one rank has no peer to receive from");
}

}  // namespace natrix
