// Keeps SIGHUP ignored if the parent process ignored it, as nohup does.
#pragma once

namespace natrix {

/// Ignores SIGHUP again if it was ignored when the process started. UCX, which Open MPI may load, installs a
/// handler for it: some versions in a library constructor, before main. Call this after MPI is initialised.
/// Does nothing on a system without .preinit_array.
void restore_ignored_hangup();

}  // namespace natrix
