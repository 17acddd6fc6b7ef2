// Parallel: several mixers read the same input, and their outputs are added: "(S*)" in a pattern (Falcon-H1).
#pragma once

#include <memory>

#include "core/layers/layer.h"

namespace natrix {

class Parallel final : public Layer {
 public:
  /// Each mixer's carries follow those of the mixers before it.
  explicit Parallel(std::vector<std::unique_ptr<Layer>> mixers) : mixers_(std::move(mixers)) {}

  View forward(Pass& pass, View x) const override;
  bool runs_ahead(int64_t tokens) const override;
  bool leaves_behind(Visit visit) const override;
  void pass_over(Pass& pass, View x) const override;
  View backward(Pass& pass, View dy) override;
  void visit(const ParamVisitor& visitor) override;
  std::vector<CarrySpec> carries() const override;
  bool uses_position() const override;

 private:
  std::vector<std::unique_ptr<Layer>> mixers_;
};

}  // namespace natrix
