# natrix_embed_page(TARGET DIR): the files of the report's page become string literals of the target, so that the program
# needs none of them at run time. An edited file is picked up by the next build.
function(natrix_embed_page target dir)
  set(script_files format.js chart.js heatmap.js report.js)  # in the order in which the page runs them
  foreach(name report.html report.css ${script_files})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${dir}/${name})
  endforeach()
  file(READ ${dir}/report.html PAGE_HTML)
  file(READ ${dir}/report.css PAGE_STYLE)
  set(PAGE_SCRIPT "")
  foreach(name ${script_files})
    file(READ ${dir}/${name} text)
    string(APPEND PAGE_SCRIPT "${text}")
  endforeach()
  configure_file(${PROJECT_SOURCE_DIR}/cmake/page.cpp.in ${PROJECT_BINARY_DIR}/generated/page.cpp @ONLY)
  target_sources(${target} PRIVATE ${PROJECT_BINARY_DIR}/generated/page.cpp)
endfunction()
