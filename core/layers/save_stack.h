// SaveStack: what forward saves for backward, last in, first out. It holds views into the segment's arena.
#pragma once

#include <any>
#include <utility>
#include <vector>

#include "kernels/base/check.h"

namespace natrix {

class SaveStack {
 public:
  template <class Saved>
  void push(Saved saved) {
    items_.emplace_back(std::move(saved));
  }
  template <class Saved>
  Saved pop() {
    require(!items_.empty(), "backward without a matching forward");
    Saved* top = std::any_cast<Saved>(&items_.back());
    require(top != nullptr, "backward popped what another layer's forward pushed");
    Saved saved = std::move(*top);
    items_.pop_back();
    return saved;
  }
  bool empty() const { return items_.empty(); }
  void clear() { items_.clear(); }

 private:
  std::vector<std::any> items_;
};

}  // namespace natrix
