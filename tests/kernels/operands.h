// Operands and results of a kernel by name, which the scan's and the convolution's cases share.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "tests/kernels/cases.h"

namespace natrix::test {

using Buffers = std::map<std::string, Buffer>;

/// Views by name; one that is not there reads as empty.
class Views {
 public:
  Views() = default;
  explicit Views(const Buffers& buffers);

  View operator[](const std::string& name) const;
  void put(const std::string& name, View v) { views_[name] = v; }
  auto begin() const { return views_.begin(); }
  auto end() const { return views_.end(); }

 private:
  std::map<std::string, View> views_;
};

Buffer filled(Dtype dtype, const Shape& shape, double value);
Buffer copy_of(View v);

/// Tokens [begin, begin + count) of a view [1, T, C]; shares memory.
View tokens_of(View v, int64_t begin, int64_t count);

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
/// Owned copies of all in another dtype, as cases.h's of one.
Buffers as(Dtype dtype, const Buffers& buffers);
/// Replaces those of these names by bf16.
void narrow(Buffers& buffers, std::initializer_list<const char*> names);
/// The element-wise magnitudes.
Buffer absolute(View v);
/// Expects, for every name in `want`, max |got − want| ≤ tolerance(name) · max |magnitude|: `magnitudes` are
/// the results of the same computation with nothing cancelling. (Relative to the results themselves, a sum
/// that happens to be near zero would fail.)
void expect_close(const Buffers& got, const Buffers& want, const Buffers& magnitudes,
                  const std::function<double(const std::string&)>& tolerance, const std::string& hint);
/// Expects the same names with the same bits.
void expect_same_bits(const Views& got, const Views& want, const std::string& hint);

}  // namespace natrix::test
