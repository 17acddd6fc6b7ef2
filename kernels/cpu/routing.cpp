// Forwards to the reference: vector versions follow.
#include "kernels/routing.h"

namespace natrix::cpu {

void route_forward(Context& ctx, const RouteForward& a) {
  reference::route_forward(ctx, a);
}
void route_backward(Context& ctx, const RouteBackward& a) {
  reference::route_backward(ctx, a);
}
void gather_rows(Context& ctx, const GatherRows& a) {
  reference::gather_rows(ctx, a);
}
void gather_rows_backward(Context& ctx, const GatherRowsBackward& a) {
  reference::gather_rows_backward(ctx, a);
}
void combine_rows(Context& ctx, const CombineRows& a) {
  reference::combine_rows(ctx, a);
}
void combine_rows_backward(Context& ctx, const CombineRowsBackward& a) {
  reference::combine_rows_backward(ctx, a);
}

}  // namespace natrix::cpu
