#include "distributed/communicator.h"

namespace natrix {

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
Pending LocalCommunicator::start_all_to_all(Context&, View in, View out, const RowPlan&) {
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
