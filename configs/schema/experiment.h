// An experiment: every block of the YAML, with its defaults. Field names are the YAML keys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "configs/schema/data_entry.h"
#include "configs/schema/model.h"

namespace natrix {

struct RunConfig {
  std::string dir;         // default: runs/<config file's name>
  bool rank_logs = false;  // every rank logs to RUN/ranks/rank-003.log
};

enum class GradientMode { kExact, kTruncated };

struct SequenceConfig {
  int64_t length = 4096;  // tokens a row
  int64_t chunk = 512;    // tokens a segment; chunk == length is the monolithic step
  GradientMode gradient = GradientMode::kExact;
  int64_t boundary_memory = int64_t{1} << 30;  // bytes; "1GiB"
  bool carry_state = false;                    // the end state of a row starts the next batch's row
};

enum class DataOrder { kShuffled, kSequential };
enum class Documents { kPacked, kJoined };  // packed: states reset where a document starts

struct DataConfig {
  std::vector<DataEntry> train, eval;
  std::string batches;  // or: a safetensors file with "tokens" [steps, B, T + 1]
  std::string tokenizer = "bytes";
  std::string cache = "auto";  // directory of tokens that were made of text; auto: the user's
  DataOrder order = DataOrder::kShuffled;
  Documents documents = Documents::kPacked;
};

enum class OnNan { kStop, kSkip };  // skip: leave the step out and go on

struct TrainConfig {
  int64_t steps = 1000;
  int64_t batch_size = 8;                   // sequences of a whole step over all ranks
  std::optional<int64_t> micro_batch_size;  // auto
  int64_t eval_every = 100;
  int64_t eval_tokens = 65536;
  uint64_t seed = 1;
  OnNan on_nan = OnNan::kStop;
  int64_t max_skipped = 20;  // steps in a row that on_nan: skip leaves out
};

enum class LrSchedule { kConstant, kCosine, kWsd };

struct OptimizerConfig {
  std::string name = "adamw";
  double lr = 3e-4;
  double min_lr = 3e-5;
  LrSchedule schedule = LrSchedule::kCosine;
  int64_t warmup_steps = 100;
  int64_t decay_steps = 0;           // wsd: length of the final decay; 0: a fifth of the steps
  double beta1 = 0.9, beta2 = 0.95;  // YAML: betas: [0.9, 0.95]
  double eps = 1e-8;
  double weight_decay = 0.1;
  double clip_grad_norm = 1.0;  // 0: no clipping
};

enum class CarryLinkKind { kRelay, kScan };

struct ParallelConfig {
  std::optional<int64_t> dp;  // auto: what the other axes leave of the ranks
  int64_t cp = 1;
  int64_t ep = 1;
  CarryLinkKind cp_link = CarryLinkKind::kRelay;
  int64_t zero = 0;         // 1: ranks share out the optimizer's state
  int64_t bucket = 0;       // bytes of gradients that are summed at once; 0: distributed/grad_sync.h chooses
  double timeout = 300;     // seconds; "300s"
  bool share_gpus = false;  // where a machine has fewer than ranks
};

enum class DeviceBackend { kAuto, kReference, kCpu, kCuda };
enum class DeviceDtype { kFp32, kBf16, kFp64 };  // fp64: the reference backend only

struct DeviceConfig {
  DeviceBackend backend = DeviceBackend::kAuto;
  DeviceDtype dtype = DeviceDtype::kFp32;
  std::optional<int64_t> threads;  // auto: the processors this process may use
};

struct CheckpointConfig {
  int64_t every = 500;  // steps; 0: only at the end and on a signal
  int64_t keep = 3;
  bool resume = true;  // YAML: resume: auto | never
};

struct LogConfig {
  int64_t every = 10;
};

struct ExperimentConfig {
  RunConfig run;
  ModelConfig model;
  SequenceConfig sequence;
  DataConfig data;
  TrainConfig train;
  OptimizerConfig optimizer;
  ParallelConfig parallel;
  DeviceConfig device;
  CheckpointConfig checkpoint;
  LogConfig log;
};

}  // namespace natrix
