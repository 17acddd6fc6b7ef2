// Small helpers that the kernel cases of scan and convolution share.
#pragma once

#include <map>
#include <string>

#include "tests/kernels/cases.h"

namespace natrix::test {

/// Buffers by name: operands of a case, or what a kernel wrote.
using Buffers = std::map<std::string, Buffer>;

Buffer filled(Dtype dtype, const Shape& shape, double value);

/// A copy of `from` whose rows lie further apart than they are long, amid NaNs that a kernel must neither
/// read nor overwrite.
class StridedCopy {
 public:
  explicit StridedCopy(View from);
  View view() const { return view_; }
  bool padding_untouched() const;

 private:
  Buffer wide_;
  View view_;
};

/// Bit for bit, of equal dtype and shape; rows may be strided.
bool same_bits(View a, View b);

}  // namespace natrix::test
