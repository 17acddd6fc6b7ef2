// The parts of the report's page. The build embeds them from launch/report/page (cmake/NatrixEmbed.cmake), so
// an installed program needs no other file.
#pragma once

#include <string_view>

namespace natrix::page {

extern const std::string_view kHtml;    // with {{placeholders}}
extern const std::string_view kStyle;   // CSS
extern const std::string_view kScript;  // JavaScript

}  // namespace natrix::page
