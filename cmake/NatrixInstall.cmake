# cmake --install: the program, its manual pages and shell completions, the libraries with their headers, and a package
# for find_package(Natrix).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS natrix RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT program)
install(DIRECTORY ${PROJECT_BINARY_DIR}/share/ DESTINATION ${CMAKE_INSTALL_DATAROOTDIR} COMPONENT program
        OPTIONAL)  # of target natrix_share
install(TARGETS natrix_kernels natrix_configs natrix_core natrix_moe natrix_distributed natrix_launch
        EXPORT NatrixTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(folder kernels configs core moe distributed launch)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/natrix
          FILES_MATCHING PATTERN "*.h" PATTERN cpu EXCLUDE PATTERN cuda EXCLUDE)  # no interfaces of their own
endforeach()
install(EXPORT NatrixTargets NAMESPACE Natrix:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Natrix)
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/NatrixConfig.cmake.in ${PROJECT_BINARY_DIR}/NatrixConfig.cmake
                              INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Natrix)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/NatrixConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/NatrixConfig.cmake ${PROJECT_BINARY_DIR}/NatrixConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/Natrix)
