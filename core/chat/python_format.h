// Python's two ways to format: "%s" % value and "{}".format(value).
#pragma once

#include <string>
#include <string_view>

#include "core/chat/arguments.h"
#include "core/chat/value.h"

namespace natrix::chat {

/// %s %r %d %i %x %X %f %e %g %c %% with flags, width and precision; also %(name)s of an object.
Value percent_format(const Text& format, const Value& values, Budget& budget);
/// {} {0} {name}, with !s or !r and a format such as :>8 or :.2f. Attributes and items in braces are refused.
Value brace_format(const Text& format, const Arguments& arguments, Budget& budget);

}  // namespace natrix::chat
