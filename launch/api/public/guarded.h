// Turns the library's exceptions into natrix::Error.
#pragma once

#include <natrix/natrix.h>

#include "configs/schema/config_error.h"
#include "kernels/base/check.h"

namespace natrix {

/// Call it within a catch block.
[[noreturn]] void rethrow_as_error();

/// Runs f(). Only natrix::Error escapes.
template <class F>
auto guarded(F&& f) {
  try {
    return f();
  } catch (...) {
    rethrow_as_error();
  }
}

}  // namespace natrix
