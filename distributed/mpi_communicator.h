// Ranks that mpirun started. mpi.h stays in the .cpp: nothing else in the tree knows MPI.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "distributed/transport.h"

namespace natrix {

/// Whether this build can talk to other ranks.
bool built_with_mpi();

/// How many processes a launcher (mpirun, srun) says it has started, this one among them; 1 without one.
int launched_ranks();
/// Of those, on this host.
int launched_ranks_on_host();

/// MPI from start to end; at most one in a process. Without a launcher, or with one process, MPI is not even
/// initialised and the world is a null pointer.
class MpiSession {
 public:
  /// What is longer than most_bytes travels in several messages: MPI counts their bytes with an int. RunError
  /// where several ranks were launched and this build has no MPI.
  explicit MpiSession(int64_t most_bytes = int64_t{1} << 30);
  /// Ends MPI, which waits for all ranks.
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  int rank() const;
  int size() const;
  /// All ranks; null if there is only one. Lives as long as the session.
  Transport* world() const { return world_.get(); }
  /// Ends every rank of the job, those that hang too. Does not return where there are others.
  void abort(int status);

 private:
  std::unique_ptr<Transport> world_;
};

}  // namespace natrix
