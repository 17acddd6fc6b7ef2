#include "core/layers/param_store.h"

namespace natrix {

std::vector<int64_t> param_offsets(const std::vector<Param*>& params, Dtype dtype) {
  const int64_t line = 64 / size_of(dtype);
  std::vector<int64_t> first = {0};
  for (const Param* p : params) {
    const int64_t count = checked_bytes(dtype, p->shape) / size_of(dtype);
    int64_t next = 0;
    if (__builtin_add_overflow(first.back(), (count + line - 1) / line * line, &next)) {
      throw InputError("the model has more parameters than memory can address");
    }
    first.push_back(next);
  }
  return first;
}

ParamStore::ParamStore(const std::vector<Param*>& params, Dtype dtype, bool with_gradients) {
  const std::vector<int64_t> first = param_offsets(params, dtype);
  const int64_t total = first.back();
  values_ = Buffer(dtype, {total});
  if (with_gradients) gradients_ = Buffer(dtype, {total});
  const auto at = [&](const Buffer& flat, size_t i) {
    return View(static_cast<char*>(flat.view().data) + first[i] * size_of(dtype), dtype, params[i]->shape);
  };
  for (size_t i = 0; i < params.size(); ++i) {
    params[i]->value = at(values_, i);
    if (with_gradients && params[i]->trainable) params[i]->grad = at(gradients_, i);
  }
}

void ParamStore::zero_gradients() {
  if (gradients_) fill_zero(gradients_.view());
}

}  // namespace natrix
