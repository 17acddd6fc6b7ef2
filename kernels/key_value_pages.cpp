#include "kernels/key_value_pages.h"

#include <algorithm>
#include <string>

#include "kernels/base/dispatch.h"

namespace natrix {
namespace {

void check_rows(const Context& ctx, View k, View v, const KeyValuePages& pages, int64_t first,
                std::string_view what) {
  const std::string name(what);
  require(k.shape.rank() == 3 && k.count() > 0, name + ": k must be [B, T, G·D], of at least one token");
  const Shape shape{k.extent(0), k.extent(1), pages.heads * pages.head_dim};
  check_view(k, pages.dtype, shape, name + ": k");
  check_view(v, pages.dtype, shape, name + ": v");
  require(first >= 0 && first + k.extent(1) <= pages.length, name + ": the rows must lie within the pages");
  check_pages(ctx, pages, k.extent(0), what);
}

}  // namespace

void check_pages(const Context& ctx, const KeyValuePages& pages, int64_t batch, std::string_view what) {
  const std::string name(what);
  require(pages.heads > 0 && pages.head_dim > 0, name + ": pages must have at least one head and channel");
  require(pages.dtype == Dtype::kF32 || pages.dtype == Dtype::kF64, name + ": pages must be f32 or f64");
  if (ctx.dry()) return;
  const auto count = static_cast<int64_t>(pages.pages.size());
  require(count % batch == 0 && count / batch >= pages.pages_of_sequence(),
          name + ": every sequence must have the same number of pages, enough for its length");
  for (int64_t b = 0; b < batch; ++b) {
    const auto* first = pages.pages.data() + b * (count / batch);
    require(std::find(first, first + pages.pages_of_sequence(), nullptr) == first + pages.pages_of_sequence(),
            name + ": a page within the length has no memory");
  }
}

Cost cost(const AppendRows& a) {
  return {.bytes = 2 * bytes_of({a.k, a.v})};
}

Cost cost(const ReadRows& a) {
  return {.bytes = 2 * bytes_of({a.k, a.v})};
}

void append_rows(Context& ctx, const AppendRows& args) {
  check_rows(ctx, args.k, args.v, args.pages, args.first, "append_rows");
  dispatch<AppendRows>(ctx, "append_rows", args,
                       {.reference = reference::append_rows,
                        .cpu = reference::append_rows,
                        .cuda = if_cuda<cuda::append_rows>()});
}

void read_rows(Context& ctx, const ReadRows& args) {
  check_rows(ctx, args.k, args.v, args.pages, args.first, "read_rows");
  dispatch<ReadRows>(
      ctx, "read_rows", args,
      {.reference = reference::read_rows, .cpu = reference::read_rows, .cuda = if_cuda<cuda::read_rows>()});
}

}  // namespace natrix
