#include "core/layers/param_store.h"

namespace natrix {

ParamStore::ParamStore(const std::vector<Param*>& params, Dtype dtype, bool with_gradients, Memory memory) {
  const int64_t line = 64 / size_of(dtype);
  int64_t total = 0;
  std::vector<int64_t> first;
  for (const Param* p : params) {
    first.push_back(total);
    const int64_t count = checked_bytes(dtype, p->shape) / size_of(dtype);
    if (__builtin_add_overflow(total, (count + line - 1) / line * line, &total)) {
      throw InputError("the model has more parameters than memory can address");
    }
  }
  values_ = Buffer(dtype, {total}, memory);
  if (with_gradients) gradients_ = Buffer(dtype, {total}, memory);
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
