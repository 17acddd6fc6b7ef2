#include "core/layers/param_store.h"

#include "kernels/base/transfer.h"

namespace natrix {
namespace {

constexpr int64_t kLine = 64;  // bytes

/// Appends a tensor to a flat buffer, rounded up to whole cache lines. Returns its byte offset.
int64_t append(int64_t& total, int64_t bytes) {
  const int64_t first = total;
  if (__builtin_add_overflow(total, (bytes + kLine - 1) / kLine * kLine, &total)) {
    throw InputError("the model has more parameters than memory can address");
  }
  return first;
}

void* at(const Buffer& flat, int64_t byte) {
  return static_cast<char*>(flat.view().data) + byte;
}

/// A packed weight with the extents of `p`, without memory.
PackedWeight packed_like(const Param& p, WeightFormat format) {
  const bool stack = p.shape.rank() == 3;
  return {.format = format,
          .stack = stack ? p.shape[0] : 1,
          .rows = p.shape[stack ? 1 : 0],
          .cols = p.shape.cols()};
}

}  // namespace

std::vector<int64_t> param_offsets(const std::vector<Param*>& params, Dtype dtype) {
  int64_t bytes = 0;
  std::vector<int64_t> first;
  for (const Param* p : params)
    first.push_back(append(bytes, checked_bytes(dtype, p->shape)) / size_of(dtype));
  first.push_back(bytes / size_of(dtype));
  return first;
}

void refresh_rounded(const Param& p) {
  if (!p.rounded) return;
  const OnHost value(p.value);
  write_from_host(p.rounded, [&](View to) { convert(value.view(), to); });
}

ParamStore::ParamStore(const std::vector<Param*>& params, Dtype activations, bool with_gradients,
                       Memory memory)
    : params_(params) {
  const Dtype dtype = wide(activations);
  for (Param* p : params) {
    if (activations == Dtype::kBF16 && p->rounds) {
      p->rounded = rounded_.emplace_back(Dtype::kBF16, p->shape, memory).view();
    }
  }
  const std::vector<int64_t> first = param_offsets(params, dtype);
  if (!with_gradients) {
    for (Param* p : params) p->value = values_of_.emplace_back(dtype, p->shape, memory).view();
    return;
  }
  values_ = Buffer(dtype, {first.back()}, memory);
  gradients_ = Buffer(dtype, {first.back()}, memory);
  const auto share = [&](const Buffer& flat, size_t i) {
    return View(at(flat, first[i] * size_of(dtype)), dtype, params[i]->shape);
  };
  for (size_t i = 0; i < params.size(); ++i) {
    params[i]->value = share(values_, i);
    if (params[i]->trainable) params[i]->grad = share(gradients_, i);
  }
}

void ParamStore::zero_gradients(Context& ctx) {
  for (Param* p : params_) {
    if (!p->grad) continue;
    p->grad_unset = p->rounds;
    if (!p->rounds) fill_zero(ctx, p->grad);  // no product overwrites it
  }
}

void ParamStore::keep_rounded(const Param& kept) {
  require(!gradients_, "weights that are trained need their f32 values");
  for (size_t i = 0; i < params_.size(); ++i) {
    if (!params_[i]->rounded || params_[i] == &kept) continue;
    params_[i]->value = {};
    values_of_[i] = Buffer();
  }
}

void ParamStore::pack(Context& ctx, WeightFormat format) {
  require(!gradients_, "weights that are trained cannot be packed");
  int64_t bytes = 0, rows = 0;
  for (const Param* p : params_) {
    if (!p->packs) continue;
    append(bytes, packed_bytes(format, p->shape));
    rows += p->shape.rows();
  }
  packed_ = Buffer(Dtype::kU8, {bytes});
  if (format == WeightFormat::kInt8) scales_ = Buffer(Dtype::kF32, {rows});
  int64_t byte = 0, row = 0;
  for (size_t i = 0; i < params_.size(); ++i) {
    Param& p = *params_[i];
    if (!p.packs) continue;
    PackedWeight to = packed_like(p, format);
    to.data = at(packed_, append(byte, packed_bytes(format, p.shape)));
    if (scales_) to.scale = scales_.view().as<float>() + row;
    row += p.shape.rows();
    try {
      pack_weight(ctx, p.value, to);
    } catch (const InputError& e) {
      throw InputError(p.name + " " + e.what());
    }
    p.packed = to;
    p.value = {};
    values_of_[i] = Buffer();
  }
}

}  // namespace natrix
