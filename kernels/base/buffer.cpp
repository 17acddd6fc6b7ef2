#include "kernels/base/buffer.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <sys/mman.h>

#include "kernels/base/build.h"
#include "kernels/cuda/device.h"

namespace natrix {
namespace {

constexpr size_t kAlignment = 64;              // one cache line, one AVX-512 vector
constexpr size_t kHugePage = size_t{2} << 20;  // of x86-64 and most others

/// Places large tensors in huge pages: reading weights in order is up to half as fast again, and rows that
/// lie far apart do not miss the TLB. The operating system may ignore the advice.
void* allocate_on_host(size_t bytes) {
  if (bytes < kHugePage) return std::aligned_alloc(kAlignment, bytes);
  const size_t whole = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* p = std::aligned_alloc(kHugePage, whole);
#ifdef MADV_HUGEPAGE
  if (p != nullptr) madvise(p, whole, MADV_HUGEPAGE);
#endif
  return p;
}

/// Each address once, as far as they reach: views of different tensors differ.
void* dry_address(int64_t bytes) {
  constexpr uint64_t kFirst = uint64_t{1} << 54, kAddresses = uint64_t{1} << 54;
  static std::atomic<uint64_t> next{0};
  const auto whole = (static_cast<uint64_t>(bytes) + 255) / 256 * 256;
  return reinterpret_cast<void*>(kFirst + next.fetch_add(whole, std::memory_order_relaxed) % kAddresses);
}

}  // namespace

int64_t checked_bytes(Dtype dtype, const Shape& shape) {
  int64_t bytes = size_of(dtype);
  for (int i = 0; i < shape.rank(); ++i) {
    if (__builtin_mul_overflow(bytes, shape[i], &bytes)) {
      throw InputError(fmt::format("a tensor of shape {} does not fit into memory", shape.to_string()));
    }
  }
  return bytes;
}

Memory memory_of(const void* p) {
  if (is_dry(p)) return Memory::kDry;
  if constexpr (build::kCuda) {
    if (cuda::is_device_memory(p)) return Memory::kDevice;
  }
  return Memory::kHost;
}

void* allocate(Memory memory, int64_t bytes) {
  if (memory == Memory::kDry) return dry_address(bytes);
  if constexpr (build::kCuda) {
    if (memory == Memory::kDevice) return cuda::allocate(bytes);
  }
  require(memory == Memory::kHost, "device memory in a build without devices");
  return allocate_on_host(static_cast<size_t>(bytes));
}

void release(Memory memory, void* p) noexcept {
  if (memory == Memory::kDry) return;
  if constexpr (build::kCuda) {
    if (memory == Memory::kDevice) return cuda::release(p);
  }
  std::free(p);
}

Buffer::Buffer(Dtype dtype, Shape shape, Memory memory) {
  const auto bytes = static_cast<size_t>(checked_bytes(dtype, shape));
  // Never zero bytes: an empty tensor is not a missing one.
  const size_t rounded = (bytes + kAlignment) / kAlignment * kAlignment;
  void* p = allocate(memory, static_cast<int64_t>(rounded));
  if (p == nullptr) {
    throw RunError(fmt::format(
        "out of {}memory: {} MiB for a tensor {}{}; a smaller batch, chunk or model needs less",
        memory == Memory::kDevice ? "device " : "", rounded >> 20, name_of(dtype), shape.to_string()));
  }
  memory_ = {p, Release{memory}};
  view_ = View(p, dtype, shape);
  fill_zero(view_);
}

void copy(View from, View to) {
  require(from.dtype == to.dtype && from.rows() == to.rows() && from.cols() == to.cols(),
          "copy between unlike views");
  if (is_dry(from.data) || is_dry(to.data)) return;
  if constexpr (build::kCuda) {
    if (memory_of(from.data) == Memory::kDevice || memory_of(to.data) == Memory::kDevice) {
      return cuda::copy(from, to);
    }
  }
  const auto width = static_cast<size_t>(from.cols() * size_of(from.dtype));
  if (from.contiguous() && to.contiguous()) {
    std::memcpy(to.data, from.data, static_cast<size_t>(from.rows()) * width);
    return;
  }
  for (int64_t r = 0; r < from.rows(); ++r) {
    std::memcpy(static_cast<char*>(to.data) + r * to.row_stride * size_of(to.dtype),
                static_cast<const char*>(from.data) + r * from.row_stride * size_of(from.dtype), width);
  }
}

void convert(View from, View to) {
  if (from.dtype == to.dtype) return copy(from, to);
  require(from.rows() == to.rows() && from.cols() == to.cols(), "convert between unlike views");
  if (is_dry(from.data) || is_dry(to.data)) return;
  for_stored(from.dtype, [&](auto a) {
    for_stored(to.dtype, [&](auto b) {
      for (int64_t r = 0; r < from.rows(); ++r) {
        for (int64_t c = 0; c < from.cols(); ++c) {
          const auto value = static_cast<double>(from.row<decltype(a)>(r)[c]);
          to.row<decltype(b)>(r)[c] = static_cast<decltype(b)>(value);
        }
      }
    });
  });
}

void fill_zero(View v) {
  if (is_dry(v.data)) return;
  if constexpr (build::kCuda) {
    if (memory_of(v.data) == Memory::kDevice) return cuda::fill_zero(v);
  }
  if (v.contiguous()) {
    std::memset(v.data, 0, static_cast<size_t>(v.bytes()));
    return;
  }
  for (int64_t r = 0; r < v.rows(); ++r) {
    std::memset(static_cast<char*>(v.data) + r * v.row_stride * size_of(v.dtype), 0,
                static_cast<size_t>(v.cols() * size_of(v.dtype)));
  }
}

}  // namespace natrix
