#include "kernels/scale.h"

#include "kernels/base/dispatch.h"

namespace natrix {

Cost cost(const Scale& a) {
  return {.bytes = bytes_of({a.x, a.y})};
}

void scale(Context& ctx, const Scale& args) {
  check_matrix(args.x, args.y.dtype, args.y.rows(), args.y.cols(), "scale: x");
  check_matrix(args.y, args.x.dtype, args.x.rows(), args.x.cols(), "scale: y");
  dispatch<Scale>(ctx, "scale", args,
                  {.reference = reference::scale, .cpu = cpu::scale, .cuda = if_cuda<cuda::scale>()});
}

}  // namespace natrix
