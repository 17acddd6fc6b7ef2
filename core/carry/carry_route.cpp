#include "core/carry/carry_route.h"

namespace natrix {

void LocalRoute::resume(const CarryStates* states) {
  entering_.clear();
  leaving_.clear();
  if (states != nullptr) leaving_ = copy_of(*states);
}

}  // namespace natrix
