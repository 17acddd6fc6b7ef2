// Declared in every build, defined where CUDA is built.
#pragma once

namespace natrix::cuda {

/// Whether kernels can read and write any memory of the host, as on machines whose GPU shares the page tables
/// (HMM, Grace Hopper).
bool reads_host_memory();

}  // namespace natrix::cuda
