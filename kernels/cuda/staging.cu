#include <algorithm>
#include <cstring>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/staging.h"

namespace natrix::cuda {
namespace {

/// The largest row pitch that cudaMemcpy2D takes.
constexpr size_t kLargestPitch = (size_t{1} << 31) - 1;

/// A rectangle of bytes of a copy. It is one row where both views are contiguous.
struct Piece {
  const char* from;
  char* to;
  size_t width, height, from_pitch, to_pitch;
};

/// Divides a copy into pieces of at most `most` bytes.
std::vector<Piece> pieces_of(View from, View to, size_t most) {
  require(from.dtype == to.dtype && from.rows() == to.rows() && from.cols() == to.cols(),
          "a copy between unlike views");
  const auto size = static_cast<size_t>(size_of(from.dtype));
  size_t width = static_cast<size_t>(from.cols()) * size, rows = static_cast<size_t>(from.rows());
  const size_t from_pitch = static_cast<size_t>(from.row_stride) * size,
               to_pitch = static_cast<size_t>(to.row_stride) * size;
  if (from.contiguous() && to.contiguous()) {
    width *= rows;
    rows = 1;
  }
  std::vector<Piece> pieces;
  if (width == 0) return pieces;
  const size_t together =
      std::max(from_pitch, to_pitch) > kLargestPitch ? 1 : std::max<size_t>(most / width, 1);
  for (size_t r = 0; r < rows; r += together) {
    const size_t height = std::min(together, rows - r);
    for (size_t c = 0; c < width; c += most) {
      pieces.push_back({static_cast<const char*>(from.data) + r * from_pitch + c,
                        static_cast<char*>(to.data) + r * to_pitch + c, std::min(most, width - c), height,
                        from_pitch, to_pitch});
    }
  }
  return pieces;
}

void copy_rows(const char* from, size_t from_pitch, char* to, size_t to_pitch, const Piece& p) {
  for (size_t r = 0; r < p.height; ++r) std::memcpy(to + r * to_pitch, from + r * from_pitch, p.width);
}

void copy_async(const char* from, size_t from_pitch, char* to, size_t to_pitch, const Piece& p,
                cudaMemcpyKind kind, cudaStream_t stream) {
  check(p.height == 1 ? cudaMemcpyAsync(to, from, p.width, kind, stream)
                      : cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, p.width, p.height, kind, stream),
        "copy");
}

}  // namespace

Staging::~Staging() {
  for (const Slot& s : slots_) {
    cudaEventDestroy(s.done);
    cudaFreeHost(s.memory);
  }
}

Staging::Slot& Staging::take() {
  if (slots_.size() < kSlots) {
    Slot s;
    void* memory = nullptr;
    check(cudaMallocHost(&memory, kSlotBytes), "pinned memory");
    s.memory = static_cast<char*>(memory);
    check(cudaEventCreateWithFlags(&s.done, cudaEventDisableTiming), "an event");
    slots_.push_back(s);
    return slots_.back();
  }
  Slot& s = slots_[next_++ % kSlots];
  if (cudaEventQuery(s.done) != cudaSuccess) check(cudaEventSynchronize(s.done), "copy");
  return s;
}

void Staging::upload(cudaStream_t stream, View from, View to) {
  for (const Piece& p : pieces_of(from, to, kSlotBytes)) {
    const Slot& s = take();
    copy_rows(p.from, p.from_pitch, s.memory, p.width, p);
    copy_async(s.memory, p.width, p.to, p.to_pitch, p, cudaMemcpyHostToDevice, stream);
    check(cudaEventRecord(s.done, stream), "copy");
  }
}

void Staging::download(cudaStream_t stream, View from, View to) {
  const std::vector<Piece> pieces = pieces_of(from, to, kSlotBytes);
  for (size_t first = 0; first < pieces.size(); first += kSlots) {
    const size_t end = std::min(first + kSlots, pieces.size());
    std::vector<const char*> arrived;
    for (size_t i = first; i < end; ++i) {
      const Piece& p = pieces[i];
      const Slot& s = take();
      copy_async(p.from, p.from_pitch, s.memory, p.width, p, cudaMemcpyDeviceToHost, stream);
      check(cudaEventRecord(s.done, stream), "copy");
      arrived.push_back(s.memory);
    }
    check(cudaStreamSynchronize(stream), "copy");
    for (size_t i = first; i < end; ++i) {
      copy_rows(arrived[i - first], pieces[i].width, pieces[i].to, pieces[i].to_pitch, pieces[i]);
    }
  }
}

}  // namespace natrix::cuda
