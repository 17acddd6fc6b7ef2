# cmake --install: the program, its manual pages and shell completions, the library of the C++ API with its header, and a
# package for find_package(Natrix).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS natrix RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
install(DIRECTORY ${PROJECT_BINARY_DIR}/share/ DESTINATION ${CMAKE_INSTALL_DATAROOTDIR} COMPONENT program
        OPTIONAL)  # of target natrix_share
# The library holds the static ones; what it needs besides are shared libraries, which it names itself.
install(TARGETS natrix_shared EXPORT NatrixTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/natrix DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(EXPORT NatrixTargets NAMESPACE natrix:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Natrix)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/NatrixConfig.cmake.in ${PROJECT_BINARY_DIR}/NatrixConfig.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Natrix)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/NatrixConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/NatrixConfig.cmake ${PROJECT_BINARY_DIR}/NatrixConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Natrix)
