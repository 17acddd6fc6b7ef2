#include <algorithm>
#include <fmt/format.h>
#include <map>

#include "core/files/atomic_file.h"
#include "core/files/safetensors.h"
#include "core/files/safetensors_header.h"
#include "kernels/base/buffer.h"

namespace natrix {
namespace {

constexpr int64_t kStagingBytes =
    int64_t{1} << 20;  // strided rows and device rows are gathered into writes of this size

// The merged ranges of the data that were written. Writing a byte twice is a caller's error.
class Coverage {
 public:
  void add(int64_t begin, int64_t end) {
    if (begin == end) return;
    auto next = ranges_.lower_bound(begin);
    require(next == ranges_.end() || end <= next->first, "a stretch of a tensor is written twice");
    if (next != ranges_.begin()) {
      const auto before = std::prev(next);
      require(before->second <= begin, "a stretch of a tensor is written twice");
      if (before->second == begin) {
        begin = before->first;
        ranges_.erase(before);
      }
    }
    if (next != ranges_.end() && next->first == end) {
      end = next->second;
      ranges_.erase(next);
    }
    ranges_[begin] = end;
  }

  bool is_exactly(int64_t bytes) const {
    if (bytes == 0) return ranges_.empty();
    return ranges_.size() == 1 && ranges_.begin()->first == 0 && ranges_.begin()->second == bytes;
  }

 private:
  std::map<int64_t, int64_t> ranges_;  // begin → end
};

}  // namespace

struct SafetensorsWriter::State {
  explicit State(const std::string& path) : file(path) {}

  // Writes the data from byte `at` on.
  void write(int64_t at, View rows) {
    written.add(at, at + rows.bytes());
    if (rows.contiguous() && memory_of(rows.data) == Memory::kHost) {
      return file.write_at(data_start + at, rows.data, rows.bytes());
    }
    const int64_t width = rows.cols() * size_of(rows.dtype);
    const int64_t height = std::max<int64_t>(1, kStagingBytes / std::max<int64_t>(1, width));
    for (int64_t r = 0; r < rows.rows(); r += height) {
      const View block = rows.row_range(r, std::min(height, rows.rows() - r));
      const Buffer staged(block.dtype, block.shape);
      copy(block, staged.view());
      file.write_at(data_start + at + r * width, staged.view().data, staged.bytes());
    }
  }

  AtomicFile file;
  int64_t data_start = 0, data_bytes = 0;
  std::vector<StoredTensor> tensors;  // in the order of the layout
  Coverage written;
  size_t current = 0;         // the tensor that append() writes to
  int64_t current_bytes = 0;  // bytes of it that are written
};

SafetensorsWriter::SafetensorsWriter(const std::string& path, const std::vector<Entry>& layout,
                                     const std::map<std::string, std::string>& metadata)
    : state_(std::make_unique<State>(path)) {
  State& s = *state_;
  for (const Entry& e : layout) s.tensors.push_back({e.name, e.dtype, e.shape, 0, 0});
  place_tensors(s.tensors);
  for (const StoredTensor& t : s.tensors) s.data_bytes = std::max(s.data_bytes, t.end);
  auto labelled = metadata;
  labelled.try_emplace("format", "pt");  // transformers refuses files without it
  const std::string header = format_safetensors_header(s.tensors, labelled);
  s.data_start = static_cast<int64_t>(header.size());
  s.file.reserve(s.data_start + s.data_bytes);
  s.file.write_at(0, header.data(), s.data_start);
}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::append(View rows) {
  State& s = *state_;
  if (rows.count() == 0) return;
  while (s.current < s.tensors.size() &&
         s.tensors[s.current].begin + s.current_bytes == s.tensors[s.current].end) {
    ++s.current;
    s.current_bytes = 0;
  }
  require(s.current < s.tensors.size(), "append beyond the layout of a safetensors file");
  const StoredTensor& t = s.tensors[s.current];
  require(rows.dtype == t.dtype && t.begin + s.current_bytes + rows.bytes() <= t.end,
          "append of another dtype than the layout's, or across the end of a tensor");
  s.write(t.begin + s.current_bytes, rows);
  s.current_bytes += rows.bytes();
}

void SafetensorsWriter::write_at(const std::string& tensor, int64_t first_element, View rows) {
  State& s = *state_;
  const auto found = std::find_if(s.tensors.begin(), s.tensors.end(),
                                  [&](const StoredTensor& t) { return t.name == tensor; });
  require(found != s.tensors.end() && found->dtype == rows.dtype,
          "write to a tensor that the layout does not have");
  const int64_t at = found->begin + first_element * size_of(rows.dtype);
  require(first_element >= 0 && at + rows.bytes() <= found->end, "write outside of a tensor");
  s.write(at, rows);
}

void SafetensorsWriter::commit() {
  require(state_->written.is_exactly(state_->data_bytes),
          "a safetensors file is committed before all was written");
  state_->file.commit();
}

void write_safetensors(const std::string& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<SafetensorsWriter::Entry> layout;
  for (const NamedTensor& t : tensors) layout.push_back({t.name, t.view.dtype, t.view.shape});
  SafetensorsWriter writer(path, layout, metadata);
  for (const NamedTensor& t : tensors) writer.append(t.view);
  writer.commit();
}

}  // namespace natrix
