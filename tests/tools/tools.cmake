# Tests of what surrounds the program: its version, completions and package, the comparison of benchmarks, the checks of
# its sources. Scripts end with 77 where what they need is missing.
function(natrix_tool_test name)
  add_test(NAME ${name} COMMAND ${ARGN})
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 120
                       ENVIRONMENT "${sanitizer_options};LSAN_OPTIONS=detect_leaks=0")
endfunction()

set(tools ${CMAKE_CURRENT_SOURCE_DIR}/tools)
if(UNIX)
  natrix_tool_test(version ${tools}/version_test.sh $<TARGET_FILE:natrix> ${PROJECT_VERSION}
                   ${PROJECT_BINARY_DIR}/NatrixConfigVersion.cmake)
  natrix_tool_test(completion ${tools}/completion_test.sh $<TARGET_FILE:natrix>)
  natrix_tool_test(checks ${tools}/checks_test.sh)
  if(PROJECT_IS_TOP_LEVEL AND NOT NATRIX_SANITIZE AND natrix_cuda STREQUAL off)
    natrix_tool_test(package ${tools}/package_test.sh ${PROJECT_BINARY_DIR} ${PROJECT_VERSION})
  endif()
endif()
find_package(Python3 COMPONENTS Interpreter QUIET)
if(Python3_FOUND)
  natrix_tool_test(bench_regression ${Python3_EXECUTABLE} ${tools}/regression_test.py)
endif()
