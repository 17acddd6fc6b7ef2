// A layer with a factor on its input and one on its output: out · f(in · x) (Falcon-H1).
#pragma once

#include <memory>

#include "core/layers/layer.h"

namespace natrix {

/// x itself, or factor · x in the arena.
View scaled(Pass& pass, View x, double factor);
/// Multiplies x in place.
void scale_in_place(Pass& pass, View x, double factor);

class Scaled final : public Layer {
 public:
  Scaled(std::unique_ptr<Layer> layer, double in, double out)
      : layer_(std::move(layer)), in_(in), out_(out) {}

  View forward(Pass& p, View x) const override {
    const View y = layer_->forward(p, scaled(p, x, in_));
    scale_in_place(p, y, out_);
    return y;
  }
  void pass_over(Pass& p, View x) const override { layer_->pass_over(p, scaled(p, x, in_)); }
  View backward(Pass& p, View dy) override {
    const View dx = layer_->backward(p, scaled(p, dy, out_));
    scale_in_place(p, dx, in_);
    return dx;
  }
  bool runs_ahead(int64_t tokens) const override { return layer_->runs_ahead(tokens); }
  bool leaves_behind(Visit visit) const override { return layer_->leaves_behind(visit); }
  void visit(const ParamVisitor& visitor) override { layer_->visit(visitor); }
  std::vector<CarrySpec> carries() const override { return layer_->carries(); }
  bool uses_position() const override { return layer_->uses_position(); }
  int64_t active_parameters() override { return layer_->active_parameters(); }
  int64_t experts() const override { return layer_->experts(); }
  bool needs_tally() const override { return layer_->needs_tally(); }
  void after_step(const StepTally& tally) override { layer_->after_step(tally); }

 private:
  std::unique_ptr<Layer> layer_;
  double in_, out_;
};

/// The layer itself if both factors are 1.
std::unique_ptr<Layer> with_factors(std::unique_ptr<Layer> layer, double in, double out);

}  // namespace natrix
