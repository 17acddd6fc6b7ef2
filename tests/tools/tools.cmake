# Tests of the tools around the program: checks of the sources. Scripts end with 77 where what they need is missing.
function(natrix_tool_test name)
  add_test(NAME ${name} COMMAND ${ARGN})
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 120)
endfunction()
if(UNIX)
  natrix_tool_test(checks ${CMAKE_CURRENT_SOURCE_DIR}/tools/checks_test.sh)
endif()
