// Ranks started by mpirun. Only the .cpp includes mpi.h; no other file uses MPI.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "distributed/transport.h"

namespace natrix {

/// Whether this build supports several ranks.
bool built_with_mpi();

/// The number of processes that a launcher (mpirun, srun) reports, including this one; 1 without a launcher.
int launched_ranks();
/// How many of them run on this host.
int launched_ranks_on_host();

/// Initialises and finalises MPI; at most one per process. Without a launcher, or with one process, MPI is
/// not initialised and the world is a null pointer.
class MpiSession {
 public:
  /// A message longer than most_bytes is sent in several pieces, because MPI counts bytes with an int. Throws
  /// RunError if several ranks were launched and this build has no MPI.
  explicit MpiSession(int64_t most_bytes = int64_t{1} << 30);
  /// Finalises MPI, which waits for all ranks.
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  int rank() const;
  int size() const;
  /// All ranks; null if there is only one. Valid as long as the session.
  Transport* world() const { return world_.get(); }
  /// Ends every rank of the job, including ranks that hang. Does not return if there are other ranks.
  void abort(int status);

 private:
  std::unique_ptr<Transport> world_;
};

}  // namespace natrix
