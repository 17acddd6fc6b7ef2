// TensorRule: how one tensor of a Hugging Face family lies in a GGUF file: under which name, in which shape and
// with which values.
//
// Shapes here are as in Hugging Face: the contiguous dimension comes last. GGUF lists extents the other way.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/base/view.h"

namespace natrix {

/// A factor of consecutive rows.
struct RowFactor {
  int64_t rows = 0;
  double factor = 1;
};

struct TensorRule {
  enum class Form {
    kSame,         // as it is
    kConv,         // [C, 1, K] as [C, K]
    kColumn,       // [H] as [H, 1]
    kGroups,       // [D] as [G, D / G]
    kDecay,        // A_log as A = -exp(A_log)
    kDecayColumn,  // the same, and [H] as [H, 1]
    kTurned,       // of each head the rows that turn: pairs (j, j + n / 2) as neighbours (2 j, 2 j + 1)
    kExperts,      // a tensor an expert, "#" in the name, as one of a further leading dimension
    kGate,         // the first half of the rows of a matrix, or of each of several
    kUp            // the second half
  };

  std::string gguf;  // after "blk.N.", or the whole name if `once`
  std::string hf;    // after "….layers.N.", or the whole name if `once`
  Form form = Form::kSame;
  bool once = false;                    // a tensor of the model and not of a layer
  int64_t groups = 1;                   // of kGroups
  int64_t heads = 0, turning = 0;       // of kTurned: the heads, and channels of a head that turn
  std::vector<RowFactor> factors = {};  // the values in the GGUF file are multiplied by these; empty: by 1
  /// Only written: llama.cpp needs the tensor, and natrix has it from another.
  bool derived = false;

  /// Whether values are the same bits in both, in the same order (of what the rule covers).
  bool keeps_values() const;
  /// Whether HF values follow from GGUF values only up to rounding.
  bool rounds() const { return form == Form::kDecay || form == Form::kDecayColumn || !factors.empty(); }
};

/// The shape of the whole GGUF tensor that a HF tensor of this shape is (part of). `experts`: how many there
/// are. InputError without a file's name if the shape does not fit the rule.
Shape gguf_shape(const TensorRule& rule, const Shape& hf, int64_t experts);
/// The shape of the HF tensor that a GGUF tensor of this shape is (part of); the reverse. For kGate and kUp that
/// of both halves.
Shape hf_shape(const TensorRule& rule, const Shape& gguf);

/// A contiguous range that both tensors have.
struct TensorRun {
  int64_t hf = 0, gguf = 0;  // the first element in each
  int64_t count = 0;
};
/// `hf` is the HF tensor's shape.
std::vector<TensorRun> runs_of(const TensorRule& rule, const Shape& hf, int64_t expert);

/// Turns values of a whole HF tensor into those of GGUF, and back, in place. Only rules of a single run change
/// values.
void to_gguf_values(const TensorRule& rule, const Shape& hf, float* values);
void to_hf_values(const TensorRule& rule, const Shape& hf, float* values);

}  // namespace natrix
