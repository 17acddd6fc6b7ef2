// The parts of the report's page, embedded from launch/report/page at build time (cmake/NatrixEmbed.cmake), so
// that an installed program needs no file beside it.
#pragma once

#include <string_view>

namespace natrix::page {

extern const std::string_view kHtml;    // with {{placeholders}}
extern const std::string_view kStyle;   // CSS
extern const std::string_view kScript;  // JavaScript

}  // namespace natrix::page
