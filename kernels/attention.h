// Causal attention with grouped queries (arXiv 1706.03762, 2305.13245) of a segment of T queries over all keys
// of their sequence so far.
//
//   s_ij  = scale · q_i · k_j                     for the keys j that query i sees
//   p_ij  = exp(s_ij − lse_i)                     lse_i = log Σ_j exp(s_ij)
//   y_i   = Σ_j p_ij v_j
//
// Rows are counted from the beginning of the storage of keys and values. Query t of the segment is row
// i = first + t; its own key is already there. It sees key j if
//
//   begin_i ≤ j ≤ i                               begin_i: row at which the document of i begins
//   i − j < window                                if window > 0
//
// Shapes: B sequences, T queries, H query heads, G key heads (H is a multiple of G), D channels a head. q, y
// and their gradients are [B, T, H·D], with strided rows. Query head h reads key head h / (H / G). Keys and
// values lie in pages (kernels/key_value_pages.h). lse is [B, H, T], contiguous.
//
// doc_start [B, T] u8, or empty: a 1 marks the first token of a document. position [B] i64, or empty: index of
// the segment's first token in its document, so that its document begins at row max(0, first − position);
// at row 0 if empty. It does not matter where doc_start marks the first token.
//
// Dtypes: f32 on every backend, f64 on the reference only.
//
// Outputs do not depend on how a sequence is cut into segments, bit for bit (backend cpu). Keys that a query
// does not see change no bit of its output, as long as they are finite. No buffer of T × T elements exists.
#pragma once

#include "kernels/key_value_pages.h"

namespace natrix {

struct AttentionForward {
  View q;
  KeyValuePages history;  // length ≥ first + T: the segment's own rows included
  int64_t first = 0;
  View doc_start, position;  // optional
  double scale = 1;
  int64_t window = 0;  // 0: no limit
  View y;              // out (=); may alias q
  View lse;            // out (=), optional: for backward
};
void attention_forward(Context& ctx, const AttentionForward& args);
Cost cost(const AttentionForward& args);
int64_t scratch(Backend backend, const AttentionForward& args);

/// With dp_ij = dy_i · v_j and δ_i = dy_i · y_i:
///   ds_ij = p_ij (dp_ij − δ_i)
///   dq_i  = scale Σ_j ds_ij k_j        dk_j += scale Σ_i ds_ij q_i        dv_j += Σ_i p_ij dy_i
/// dk and dv reach every row that the segment sees, also those of earlier segments.
struct AttentionBackward {
  View q;
  KeyValuePages history;
  int64_t first = 0;
  View doc_start, position;
  double scale = 1;
  int64_t window = 0;
  View y, lse;  // from forward
  View dy;
  View dq;                 // out (=); may alias dy or q
  KeyValuePages dhistory;  // out (+=), of the form of history
};
void attention_backward(Context& ctx, const AttentionBackward& args);
Cost cost(const AttentionBackward& args);
int64_t scratch(Backend backend, const AttentionBackward& args);

/// The keys [begin, end) that a query sees.
struct KeyRange {
  int64_t begin, end;
};
/// The keys that query t of sequence b sees, for every t. Both passes use it.
void find_visible(const AttentionForward& args, int64_t b, std::span<KeyRange> of_query);
void find_visible(const AttentionBackward& args, int64_t b, std::span<KeyRange> of_query);

namespace reference {
void attention_forward(Context& ctx, const AttentionForward& args);
void attention_backward(Context& ctx, const AttentionBackward& args);
}  // namespace reference
namespace cpu {
void attention_forward(Context& ctx, const AttentionForward& args);
void attention_backward(Context& ctx, const AttentionBackward& args);
}  // namespace cpu
namespace cuda {
void attention_forward(Context& ctx, const AttentionForward& args);
void attention_backward(Context& ctx, const AttentionBackward& args);
}  // namespace cuda

}  // namespace natrix
