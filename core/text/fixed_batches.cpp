// data.batches: batches that a file holds as they are.
#include <algorithm>
#include <fmt/format.h>

#include "core/files/mapped_file.h"
#include "core/files/safetensors.h"
#include "core/files/safetensors_header.h"
#include "core/text/row_filler.h"
#include "kernels/base/check.h"

namespace natrix {
namespace {

/// Rows are read and not mapped. If the file becomes shorter during training, the result is an error that
/// names the file, not a SIGBUS.
class FixedBatches final : public BatchSource {
 public:
  FixedBatches(const std::string& path, int64_t length, int64_t batch_size, int64_t steps, int64_t vocab_size)
      : file_(path), length_(length), batch_size_(batch_size), vocab_size_(vocab_size) {
    const Safetensors stored(path);
    const View tokens = stored.at("tokens");
    if (tokens.dtype != Dtype::kI64 || tokens.shape.rank() != 3) {
      throw InputError(fmt::format("{}: \"tokens\" is {}; expected i64[steps, batch, length + 1]", path,
                                   tokens.to_string()));
    }
    if (tokens.extent(1) != batch_size) {
      throw InputError(fmt::format("{}: \"tokens\" has {} rows a step, but train.batch_size is {}", path,
                                   tokens.extent(1), batch_size));
    }
    if (tokens.extent(2) != length + 1) {
      throw InputError(
          fmt::format("{}: \"tokens\" has {} tokens a row, but sequence.length is {}, which takes {}", path,
                      tokens.extent(2), length, length + 1));
    }
    if (tokens.extent(0) < steps) {
      throw InputError(
          fmt::format("{}: \"tokens\" has {} steps, but train.steps is {}", path, tokens.extent(0), steps));
    }
    steps_ = tokens.extent(0);
    first_byte_ = first_byte_of(path, "tokens");
    for (int64_t row = 0; row < steps * batch_size_; ++row) check_row(row, tokens.row<int64_t>(row));
  }

  Batch batch(int64_t step, int64_t row_begin, int64_t row_count) const override {
    check_rows(step, row_begin, row_count, batch_size_);
    if (step >= steps_) {
      throw InputError(
          fmt::format("{}: \"tokens\" has {} steps, and step {} was asked for", file_.path(), steps_, step));
    }
    Batch batch;
    batch.tokens = Buffer(Dtype::kI64, {row_count, length_});
    batch.targets = Buffer(Dtype::kI64, {row_count, length_});
    std::vector<int64_t> stored(static_cast<size_t>(length_ + 1));
    for (int64_t row = 0; row < row_count; ++row) {
      const int64_t in_file = step * batch_size_ + row_begin + row;
      read(in_file * (length_ + 1), length_ + 1, stored.data());
      check_row(in_file, stored.data());
      std::copy_n(stored.data(), length_, batch.tokens.view().row<int64_t>(row));
      std::copy_n(stored.data() + 1, length_, batch.targets.view().row<int64_t>(row));
    }
    return batch;
  }

  int64_t batches_per_epoch() const override { return -1; }
  std::string identity() const override {
    return hash_samples(steps_ * batch_size_ * (length_ + 1),
                        [&](int64_t begin, int64_t count, int64_t* to) { read(begin, count, to); });
  }
  std::vector<DataFile> files() const override {
    return {{.path = file_.path(), .size = file_.size(), .checksum = {}}};
  }

 private:
  /// Offset of the tensor's data from the start of the file.
  static int64_t first_byte_of(const std::string& path, std::string_view tensor) {
    const MappedFile map(path);
    const SafetensorsHeader header = parse_safetensors_header(map.text(), path);
    for (const StoredTensor& t : header.tensors) {
      if (t.name == tensor) return header.data_start + t.begin;
    }
    throw RunError(fmt::format("{} was changed while it was opened", path));
  }

  void read(int64_t begin, int64_t count, int64_t* to) const {
    constexpr int64_t kBytes = sizeof(int64_t);
    file_.read(first_byte_ + begin * kBytes, count * kBytes, to);
  }

  void check_row(int64_t row, const int64_t* stored) const {
    for (int64_t t = 0; t <= length_; ++t) {
      if (0 <= stored[t] && stored[t] < vocab_size_) continue;
      throw InputError(
          fmt::format("{}: \"tokens\" at step {}, row {}, position {} is {}, outside of the model's "
                      "vocabulary of {}",
                      file_.path(), row / batch_size_, row % batch_size_, t, stored[t], vocab_size_));
    }
  }

  SourceFile file_;
  int64_t length_, batch_size_, vocab_size_;
  int64_t steps_ = 0, first_byte_ = 0;
};

}  // namespace

std::unique_ptr<BatchSource> fixed_batches(const std::string& path, int64_t length, int64_t batch_size,
                                           int64_t steps, int64_t vocab_size) {
  return std::make_unique<FixedBatches>(path, length, batch_size, steps, vocab_size);
}

}  // namespace natrix
