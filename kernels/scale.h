// A factor for every element: the multipliers of Granite and Falcon-H1.
//
//   y = factor · x
//
// x and y are matrices with strided rows and of one dtype. y may alias x.
#pragma once

#include "kernels/base/context.h"

namespace natrix {

struct Scale {
  View x;
  double factor = 1;
  View y;  // out (=)
};
void scale(Context& ctx, const Scale& args);
Cost cost(const Scale& args);

namespace reference {
void scale(Context& ctx, const Scale& args);
}  // namespace reference
namespace cpu {
void scale(Context& ctx, const Scale& args);
}  // namespace cpu
namespace cuda {
void scale(Context& ctx, const Scale& args);
}  // namespace cuda

}  // namespace natrix
