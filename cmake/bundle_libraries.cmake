# Run by cpack: copies the shared libraries of `program` into lib/ of the tarball, but those of the host, and the
# copyright notices that their licences ask for, where Debian keeps them.
set(host_libraries "^ld-linux" "^lib(c|m|pthread|dl|rt|util|resolv)[.]so" "^libmpi" "^libopen-" "^libcuda[.]"
                   "^libnccl")
file(GET_RUNTIME_DEPENDENCIES EXECUTABLES ${program} RESOLVED_DEPENDENCIES_VAR libraries
     UNRESOLVED_DEPENDENCIES_VAR missing PRE_EXCLUDE_REGEXES ${host_libraries})
if(missing)
  message(FATAL_ERROR "these libraries of ${program} were not found: ${missing}")
endif()
file(INSTALL ${libraries} DESTINATION ${CMAKE_INSTALL_PREFIX}/lib TYPE SHARED_LIBRARY FOLLOW_SYMLINK_CHAIN)

set(packages libcli11-dev nlohmann-json3-dev libspdlog-dev)  # headers only: they are within the program
foreach(library ${libraries})
  get_filename_component(name ${library} NAME)
  execute_process(COMMAND dpkg-query -S "*/${name}" OUTPUT_VARIABLE found ERROR_QUIET RESULT_VARIABLE status)
  if(status EQUAL 0 AND found MATCHES "^([^:,]+)")
    list(APPEND packages ${CMAKE_MATCH_1})
  else()
    message(WARNING "no package has ${name}; add its licence to the tarball by hand")
  endif()
endforeach()
list(REMOVE_DUPLICATES packages)
foreach(package ${packages})
  if(EXISTS /usr/share/doc/${package}/copyright)
    file(INSTALL /usr/share/doc/${package}/copyright DESTINATION ${CMAKE_INSTALL_PREFIX}/share/doc/natrix/licences
         RENAME ${package})
  endif()
endforeach()
