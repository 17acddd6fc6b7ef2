#include "core/carry/row_store.h"

#include <algorithm>

namespace natrix {

template <class F>
void RowStore::for_pages(int64_t first, int64_t count, F&& f) {
  for (int64_t at = first; at < first + count;) {
    const int64_t page = at / kPageRows, in_page = at % kPageRows;
    const int64_t n = std::min(kPageRows - in_page, first + count - at);
    f(page, in_page, at - first, n);
    at += n;
  }
}

int64_t RowStore::bytes() const {
  int64_t n = 0;
  for (const Page& page : pages_) n += page ? page->bytes() : 0;
  return n;
}

View RowStore::page(int64_t page, int64_t row) const {
  const Page& p = pages_[static_cast<size_t>(page)];
  return p ? p->view().row_range(row * kPageRows, kPageRows) : View{};
}

Buffer& RowStore::writable(int64_t page) {
  if (page >= pages()) pages_.resize(static_cast<size_t>(page) + 1);
  Page& p = pages_[static_cast<size_t>(page)];
  if (p && p.use_count() == 1) return *p;
  auto own = std::make_shared<Buffer>(dtype_, Shape{batch_, kPageRows, width_}, memory_);
  if (p) copy(p->view(), own->view());
  p = std::move(own);
  return *p;
}

void RowStore::write(int64_t first, View rows) {
  require(first >= 0 && first <= length_, "rows that leave a gap behind those that are there");
  require(rows.cols() == width_ && rows.dtype == dtype_ && rows.extent(0) == batch_,
          "rows of another shape than those that are there");
  const int64_t count = rows.rows() / batch_;
  for_pages(first, count, [&](int64_t page, int64_t in_page, int64_t at, int64_t n) {
    const View to = writable(page).view();
    for (int64_t b = 0; b < batch_; ++b)
      copy(rows.row_range(b * count + at, n), to.row_range(b * kPageRows + in_page, n));
  });
  length_ = std::max(length_, first + count);
}

void RowStore::read(int64_t first, View rows) const {
  const int64_t count = rows.rows() / batch_;
  require(first >= 0 && first + count <= length_, "rows that a store does not hold");
  for_pages(first, count, [&](int64_t p, int64_t in_page, int64_t at, int64_t n) {
    for (int64_t b = 0; b < batch_; ++b) {
      const View from = page(p, b), to = rows.row_range(b * count + at, n);
      from ? copy(from.row_range(in_page, n), to) : fill_zero(to);
    }
  });
}

void RowStore::grow_zero(int64_t length, int64_t from) {
  if (length <= length_) return;
  const int64_t first = std::max(length_, from / kPageRows * kPageRows);
  for_pages(first, length - first, [&](int64_t page, int64_t in_page, int64_t, int64_t n) {
    const View to = writable(page).view();
    for (int64_t b = 0; b < batch_; ++b) fill_zero(to.row_range(b * kPageRows + in_page, n));
  });
  length_ = length;
}

void RowStore::truncate(int64_t length) {
  require(length <= length_, "a store is cut to more rows than it has");
  length_ = length;
  pages_.resize(static_cast<size_t>((length + kPageRows - 1) / kPageRows));
}

void RowStore::drop_before(int64_t from) {
  for (int64_t p = 0; p < std::min(from / kPageRows, pages()); ++p) pages_[static_cast<size_t>(p)] = nullptr;
}

int64_t RowStore::begin() const {
  int64_t p = 0;
  while (p < pages() && !pages_[static_cast<size_t>(p)]) ++p;
  return std::min(p * kPageRows, length_);
}

void RowStore::own() {
  for (int64_t p = 0; p < pages(); ++p) {
    if (pages_[static_cast<size_t>(p)]) writable(p);
  }
}

RowStore RowStore::copy_in(Memory memory) const {
  if (memory == memory_) return *this;
  RowStore other(dtype_, batch_, width_, memory);
  other.length_ = length_;
  other.cuts_ = cuts_;
  other.pages_.resize(pages_.size());
  for (int64_t p = 0; p < pages(); ++p) {
    if (const Page& page = pages_[static_cast<size_t>(p)]) copy(page->view(), other.writable(p).view());
  }
  return other;
}

}  // namespace natrix
