# Builds for 64-bit ARM on another machine, with Debian's g++-aarch64-linux-gnu and emulator. The preset aarch64 uses it;
# launch/test_aarch64.sh first unpacks arm64 libraries into the sysroot.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

# The C and C++ libraries are the compiler's own, below /usr/aarch64-linux-gnu. All others are in the sysroot.
set(NATRIX_SYSROOT ${CMAKE_CURRENT_LIST_DIR}/../build/aarch64-sysroot CACHE PATH "Directory of unpacked arm64 packages")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES NATRIX_SYSROOT)
file(REAL_PATH ${NATRIX_SYSROOT} natrix_sysroot)
set(CMAKE_FIND_ROOT_PATH ${natrix_sysroot} /usr/aarch64-linux-gnu)
set(CMAKE_PREFIX_PATH /usr)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_LIBDIR} ${natrix_sysroot}/usr/lib/aarch64-linux-gnu/pkgconfig:${natrix_sysroot}/usr/share/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${natrix_sysroot})

set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static -L /usr/aarch64-linux-gnu)
