#include "core/carry/row_store.h"

#include <algorithm>

#include "kernels/base/transfer.h"

namespace natrix {
namespace {

int64_t pages_for(int64_t length) {
  return (length + kPageRows - 1) / kPageRows;
}

}  // namespace

int64_t RowStore::begin() const {
  const auto first = std::ranges::find_if(pages_, [](const Page& p) { return p != nullptr; });
  return std::min((first - pages_.begin()) * kPageRows, length_);
}

int64_t RowStore::bytes() const {
  int64_t n = 0;
  for (const Page& page : pages_) n += page ? page->bytes() : 0;
  return n;
}

int64_t RowStore::bytes_for(const RowFormat& format, int64_t batch, int64_t tokens, int64_t first) {
  return (pages_for(tokens) - first / kPageRows) * batch * page_elements(format.heads, format.head_dim) *
         size_of(format.dtype);
}

RowStore::Page RowStore::new_page() const {
  return std::make_shared<Buffer>(format_.dtype,
                                  Shape{batch_, page_elements(format_.heads, format_.head_dim)}, memory_);
}

Buffer& RowStore::writable(int64_t page) {
  if (page >= held()) {
    pages_.resize(static_cast<size_t>(page) + 1);
    table_.clear();
  }
  Page& p = pages_[static_cast<size_t>(page)];
  if (p && p.use_count() == 1) return *p;
  Page own = new_page();
  if (p) copy(p->view(), own->view());
  p = std::move(own);
  table_.clear();
  return *p;
}

void RowStore::write(Context& ctx, int64_t first, View rows) {
  require(first >= 0 && first <= length_, "rows that leave a gap behind those that are there");
  require(rows.cols() == format_.width() && rows.dtype == format_.dtype && rows.extent(0) == batch_,
          "rows of another shape than those that are there");
  const int64_t end = first + rows.extent(1), half = format_.width() / 2;
  for (int64_t p = first / kPageRows; p < pages_for(end); ++p) writable(p);
  append_rows(ctx, {.k = rows.columns(0, half),
                    .v = rows.columns(half, half),
                    .pages = pages(std::max(end, length_)),
                    .first = first});
  length_ = std::max(length_, end);
}

void RowStore::read(Context& ctx, int64_t first, View rows) const {
  require(first >= 0 && first + rows.extent(1) <= length_, "rows that a store does not hold");
  if (rows.extent(1) == 0) return;
  if (spare_) natrix::fill_zero(ctx, spare_->view());  // kernels may have written into it
  const int64_t half = format_.width() / 2;
  read_rows(
      ctx,
      {.pages = pages(length_), .first = first, .k = rows.columns(0, half), .v = rows.columns(half, half)});
}

void RowStore::fill_zero(int64_t length, int64_t from) {
  require(length_ == 0 && pages_.empty(), "only an empty store is filled with zeros");
  pages_.resize(static_cast<size_t>(from / kPageRows));
  for (int64_t p = held(); p < pages_for(length); ++p) writable(p);  // new pages are zero
  length_ = length;
}

void RowStore::truncate(int64_t length) {
  require(length <= length_, "a store is cut to more rows than it has");
  length_ = length;
  if (held() == pages_for(length)) return;
  pages_.resize(static_cast<size_t>(pages_for(length)));
  table_.clear();
}

void RowStore::drop_before(int64_t from) {
  for (int64_t p = 0; p < std::min(from / kPageRows, held()); ++p) pages_[static_cast<size_t>(p)] = nullptr;
  table_.clear();
}

void RowStore::own() {
  for (int64_t p = 0; p < held(); ++p) {
    if (pages_[static_cast<size_t>(p)]) writable(p);
  }
}

KeyValuePages RowStore::pages(int64_t length) const {
  if (table_.empty()) {
    const auto pointer = [&](const Page& page, int64_t b) {
      if (!page && !spare_) spare_ = new_page();
      return (page ? *page : *spare_).view().row_range(b, 1).data;
    };
    for (int64_t b = 0; b < batch_; ++b) {
      for (const Page& page : pages_) table_.push_back(pointer(page, b));
    }
  }
  return {.pages = table_,
          .length = length,
          .heads = format_.heads,
          .head_dim = format_.head_dim,
          .dtype = format_.dtype};
}

RowStore RowStore::copy_in(Memory memory) const {
  if (memory == memory_) {
    RowStore shared = *this;
    shared.table_.clear();
    shared.spare_ = nullptr;
    return shared;
  }
  RowStore other(format_, batch_, memory);
  other.length_ = length_;
  other.cuts_ = cuts_;
  other.pages_.resize(pages_.size());
  for (int64_t p = 0; p < held(); ++p) {
    if (const Page& page = pages_[static_cast<size_t>(p)]) copy(page->view(), other.writable(p).view());
  }
  return other;
}

}  // namespace natrix
