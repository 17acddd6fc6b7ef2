#!/usr/bin/env bash
#SBATCH --job-name=natrix
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#
#   sbatch launch/sbatch.sh train CONFIG.yaml [section.key=value …]
#
# From the root of this tree. Two minutes before the time is over SLURM sends SIGUSR1 to this script, which hands it to
# mpirun; all ranks save and end with status 75, and the job goes back into the queue, where the same command goes on.
# `scancel --signal=USR1 --batch JOB` does it at any time. natrix, the data and run.dir lie on a file system that all
# nodes see.
set -uo pipefail
cd "${SLURM_SUBMIT_DIR:-.}" || exit
if [ ! -x launch/mpirun.sh ]; then
  echo "sbatch.sh: no launch/mpirun.sh in $PWD; submit from the root of the Natrix tree" >&2
  exit 2
fi

hosts=$(mktemp)
trap 'rm -f "$hosts"' EXIT
for host in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
  echo "$host slots=${SLURM_NTASKS_PER_NODE:-1}"
done >"$hosts"

launch/mpirun.sh -n "$SLURM_NTASKS" --hostfile "$hosts" --threads "${SLURM_CPUS_PER_TASK:-1}" "$@" &
job=$!
trap 'kill -USR1 $job' USR1
status=0
wait $job || status=$?
while kill -0 $job 2>/dev/null; do  # a signal ends the wait before the job has ended
  status=0
  wait $job || status=$?
done
if [ $status -eq 75 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit $status
