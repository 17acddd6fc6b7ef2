# cpack, in a build directory: natrix-VERSION-SYSTEM-PROCESSOR.tar.gz, for hosts where nothing can be installed.
#
# It holds the program, its manual pages and completions, the example configurations, and the shared libraries that the
# program needs; the program looks for them in $ORIGIN/../lib. The host gives the C library and, where the program was
# built with it, MPI (and CUDA's driver and NCCL): they must fit the host's network and kernel.
set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_NAME natrix)
set(CPACK_PACKAGE_VENDOR "The Natrix authors")
set(CPACK_PACKAGE_FILE_NAME natrix-${PROJECT_VERSION}-${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_PACKAGE_CHECKSUM SHA256)
set(CPACK_STRIP_FILES ON)
set(CPACK_ARCHIVE_COMPONENT_INSTALL ON)
set(CPACK_COMPONENT_INCLUDE_TOPLEVEL_DIRECTORY ON)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_COMPONENTS_ALL program tarball)  # headers and static libraries are for cmake --install

install(FILES LICENSE README.md CHANGELOG.md DESTINATION share/doc/natrix COMPONENT tarball EXCLUDE_FROM_ALL)
install(DIRECTORY configs/ DESTINATION share/natrix/configs COMPONENT tarball EXCLUDE_FROM_ALL
        FILES_MATCHING PATTERN *.yaml)
install(CODE "set(program $<TARGET_FILE:natrix>)" COMPONENT tarball EXCLUDE_FROM_ALL)
install(SCRIPT cmake/bundle_libraries.cmake COMPONENT tarball EXCLUDE_FROM_ALL)
include(CPack)
