// The causal convolution as its formula says, in double. Gradients: docs/math/conv.md.
// Storage is f32 or f64, arithmetic is double.
#include "kernels/conv.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/base/functions.h"

namespace natrix::reference {
namespace {

using Doubles = std::vector<double>;

struct Sizes {
  int64_t batch, tokens, channels, taps;  // B, T, I, K

  Sizes(View x, View weight)
      : batch(x.extent(0)), tokens(x.extent(1)), channels(x.extent(2)), taps(weight.extent(1)) {}
};

bool starts_document(View doc_start, int64_t b, int64_t t) {
  return doc_start && doc_start.row<uint8_t>(b)[t] != 0;
}

/// Row t of [tail_in; x], where t counts from −(K−1). Null where there is no tail, which reads as zero.
template <class T>
const T* input_row(View x, View tail_in, int64_t b, int64_t t, const Sizes& size) {
  if (t >= 0) return x.row<T>(b * size.tokens + t);
  return tail_in ? tail_in.row<T>((b + 1) * (size.taps - 1) + t) : nullptr;
}

/// The first token of each token's document, or −(K−1) where the document began before this segment.
std::vector<int64_t> document_begins(View doc_start, int64_t b, const Sizes& size) {
  std::vector<int64_t> begins(static_cast<size_t>(size.tokens));
  int64_t begin = -(size.taps - 1);
  for (int64_t t = 0; t < size.tokens; ++t) {
    if (starts_document(doc_start, b, t)) begin = t;
    begins[static_cast<size_t>(t)] = begin;
  }
  return begins;
}

/// c_t of one channel. Tap k reads token t − (K−1) + k, unless that lies before `begin`.
template <class T>
double pre_activation(View x, View weight, View bias, View tail_in, int64_t b, int64_t t, int64_t i,
                      int64_t begin, const Sizes& size) {
  double c = bias ? static_cast<double>(bias.as<T>()[i]) : 0.0;
  for (int64_t s = std::max(begin, t - (size.taps - 1)); s <= t; ++s) {
    if (const T* row = input_row<T>(x, tail_in, b, s, size)) {
      c += static_cast<double>(weight.row<T>(i)[s - t + size.taps - 1]) * static_cast<double>(row[i]);
    }
  }
  return c;
}

template <class T>
void forward(const ConvSiluForward& a) {
  const Sizes size(a.x, a.weight);
  for (int64_t b = 0; b < size.batch; ++b) {
    const auto begins = document_begins(a.doc_start, b, size);
    for (int64_t t = 0; t < size.tokens; ++t) {
      for (int64_t i = 0; i < size.channels; ++i) {
        const double c = pre_activation<T>(a.x, a.weight, a.bias, a.tail_in, b, t, i,
                                           begins[static_cast<size_t>(t)], size);
        a.y.row<T>(b * size.tokens + t)[i] = static_cast<T>(c * sigmoid(c));
      }
    }
    for (int64_t r = 0; a.tail_out && r < size.taps - 1; ++r) {
      const T* from = input_row<T>(a.x, a.tail_in, b, size.tokens - (size.taps - 1) + r, size);
      T* to = a.tail_out.row<T>(b * (size.taps - 1) + r);
      for (int64_t i = 0; i < size.channels; ++i) to[i] = from != nullptr ? from[i] : T{0};
    }
  }
}

/// One channel of one sequence: its input gradients from token −(K−1) on, and its share of dweight and dbias.
template <class T>
Doubles backward_channel(const ConvSiluBackward& a, const Sizes& size, const std::vector<int64_t>& begins,
                         int64_t b, int64_t i, double* dweight, double& dbias) {
  const int64_t tail = size.taps - 1;
  Doubles dinput(static_cast<size_t>(size.tokens + tail), 0.0);
  for (int64_t r = 0; a.dtail_out && r < tail; ++r) {  // the last K−1 inputs are the following segment's tail
    dinput[static_cast<size_t>(size.tokens + r)] = static_cast<double>(a.dtail_out.row<T>(b * tail + r)[i]);
  }
  for (int64_t t = 0; t < size.tokens; ++t) {
    const int64_t begin = begins[static_cast<size_t>(t)];
    const double c = pre_activation<T>(a.x, a.weight, a.bias, a.tail_in, b, t, i, begin, size);
    const double dc = static_cast<double>(a.dy.row<T>(b * size.tokens + t)[i]) * silu_derivative(c);
    dbias += dc;
    for (int64_t s = std::max(begin, t - tail); s <= t; ++s) {
      const int64_t k = s - t + tail;
      dinput[static_cast<size_t>(s + tail)] += dc * static_cast<double>(a.weight.row<T>(i)[k]);
      if (const T* row = input_row<T>(a.x, a.tail_in, b, s, size))
        dweight[k] += dc * static_cast<double>(row[i]);
    }
  }
  return dinput;
}

template <class T>
void backward(const ConvSiluBackward& a) {
  const Sizes size(a.x, a.weight);
  const int64_t tail = size.taps - 1;
  Doubles dweight(static_cast<size_t>(size.channels * size.taps), 0.0);
  Doubles dbias(static_cast<size_t>(size.channels), 0.0);
  for (int64_t b = 0; b < size.batch; ++b) {
    const auto begins = document_begins(a.doc_start, b, size);
    for (int64_t i = 0; i < size.channels; ++i) {
      const Doubles dinput = backward_channel<T>(a, size, begins, b, i, dweight.data() + i * size.taps,
                                                 dbias[static_cast<size_t>(i)]);
      for (int64_t r = 0; a.dtail_in && r < tail; ++r) {
        a.dtail_in.row<T>(b * tail + r)[i] = static_cast<T>(dinput[static_cast<size_t>(r)]);
      }
      for (int64_t t = 0; t < size.tokens; ++t) {
        a.dx.row<T>(b * size.tokens + t)[i] = static_cast<T>(dinput[static_cast<size_t>(t + tail)]);
      }
    }
  }
  for (size_t w = 0; w < dweight.size(); ++w) a.dweight.as<T>()[w] += static_cast<T>(dweight[w]);
  for (size_t i = 0; a.dbias && i < dbias.size(); ++i) a.dbias.as<T>()[i] += static_cast<T>(dbias[i]);
}

template <class T>
void mask_tail(const MaskConvTail& a) {
  const int64_t batch = a.doc_start.extent(0), tokens = a.doc_start.extent(1), tail = a.tail.extent(1);
  for (int64_t b = 0; b < batch; ++b) {
    int64_t last_start = tokens;  // of a document; `tokens` if there is none, then nothing is cleared
    for (int64_t t = tokens - 1; t >= 0 && last_start == tokens; --t) {
      if (starts_document(a.doc_start, b, t)) last_start = t;
    }
    if (last_start == tokens) continue;
    for (int64_t r = 0; r < tail && tokens - tail + r < last_start; ++r) {  // row r holds token T − (K−1) + r
      T* row = a.tail.row<T>(b * tail + r);
      std::fill(row, row + a.tail.cols(), T{0});
    }
  }
}

}  // namespace

void conv_silu_forward(Context&, const ConvSiluForward& args) {
  for_float(args.x.dtype, [&](auto zero) { forward<decltype(zero)>(args); });
}

void conv_silu_backward(Context&, const ConvSiluBackward& args) {
  for_float(args.x.dtype, [&](auto zero) { backward<decltype(zero)>(args); });
}

void mask_conv_tail(Context&, const MaskConvTail& args) {
  for_float(args.tail.dtype, [&](auto zero) { mask_tail<decltype(zero)>(args); });
}

}  // namespace natrix::reference
