// The Mamba-2 recurrence backward (docs/math/ssd.md, "Backwards"), in all tiles at once from the state that each begins with
// and the gradient of the state that it ends with. Sums over heads and tokens run in a fixed order, without
// atomics. With a_t the sum of the exponents up to t, x'_j and y'_i what passes through decays:
//
//   y'_i = exp(a_i) S₀ C_i + Σ_{j<i} M_ij x_j                 x'_j = exp(a_Q − a_j) R B_j + Σ_{i>j} M_ij dy_i / Δ_j
//   dx_j = Δ_j (x'_j + (C_j·B_j) dy_j) + D dy_j
//   gradient of a_t = dy_t · y'_t − Δ_t x_t · x'_t, and of a_Q in addition ⟨R, S_Q⟩
#include "kernels/base/functions.h"
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/ssd_tiles.h"

namespace natrix::cuda {
namespace {

/// What the kernels of backward read.
struct SsdGradientInputs {
  SsdSizes s;
  SsdSteps steps;
  Rows<float> x, B, C, dy;
  const float *states, *gradients;  // [B, tiles, H, P, N]: S₀ and R of each tile
  const float* products;            // C Bᵀ

  /// M_ij / Δ_j of head h, i and j counted from the tile's first row.
  __device__ float mixed(const float* CB, int64_t row, int64_t h, int64_t i, int64_t j) const {
    return CB[i * kSsdTile + j] * steps.between(row + i, row + j, h);
  }
  __device__ const float* of_tile(const float* matrices, int64_t b, int64_t tile, int64_t h) const {
    return matrices + ((b * s.tiles() + tile) * s.heads + h) * s.matrix();
  }
  __device__ const float* products_of(int64_t b, int64_t tile, int64_t h) const {
    return products +
           ((b * s.tiles() + tile) * s.groups + s.group_column(h) / s.states) * kSsdTile * kSsdTile;
  }
};

/// Dot products of each token and head, [B·T, H].
struct SsdDots {
  float *outputs, *inputs, *same;  // dy·y', x·x', dy·x
};

__global__ void __launch_bounds__(kProductThreads) output_dots_kernel(SsdGradientInputs in, SsdDots dots) {
  __shared__ ProductScratch scratch;
  __shared__ float sums[kSsdTile];
  const SsdSizes& s = in.s;
  const int64_t tile = blockIdx.x, h = blockIdx.y, b = blockIdx.z, n = s.length(tile), row = s.row(b, tile);
  const int64_t column = s.group_column(h), first = h * s.channels;
  const float *S = in.of_tile(in.states, b, tile, h), *CB = in.products_of(b, tile, h);
  if (threadIdx.x < kSsdTile) sums[threadIdx.x] = 0;
  __syncthreads();
  block_product<Along::kTerms>(
      scratch, n, s.channels, s.states + n,
      [&](int64_t i, int64_t k) {
        if (k < s.states) return in.steps.from_start(row + i, h) * in.C[row + i][column + k];
        const int64_t j = k - s.states;
        return j < i ? in.mixed(CB, row, h, i, j) * in.steps.at(row + j, h) : 0.0f;
      },
      [&](int64_t k, int64_t p) {
        return k < s.states ? S[p * s.states + k] : in.x[row + k - s.states][first + p];
      },
      [&](int64_t i, int64_t p, float sum) { return in.dy[row + i][first + p] * sum; }, sums);
  if (threadIdx.x < n) dots.outputs[(row + threadIdx.x) * s.heads + h] = sums[threadIdx.x];
}

__global__ void __launch_bounds__(kProductThreads)
    dx_kernel(SsdGradientInputs in, Rows<float> D, SsdDots dots, Rows<float> dx) {
  __shared__ ProductScratch scratch;
  __shared__ float sums[kSsdTile];
  const SsdSizes& s = in.s;
  const int64_t tile = blockIdx.x, h = blockIdx.y, b = blockIdx.z, n = s.length(tile), row = s.row(b, tile);
  const int64_t column = s.group_column(h), first = h * s.channels, last = row + n - 1;
  const float *R = in.of_tile(in.gradients, b, tile, h), *CB = in.products_of(b, tile, h);
  const float skip = D ? D.data[h] : 0.0f;
  if (threadIdx.x < kSsdTile) sums[threadIdx.x] = 0;
  __syncthreads();
  block_product<Along::kTerms>(
      scratch, n, s.channels, s.states + n,
      [&](int64_t j, int64_t k) {
        if (k < s.states) return in.steps.between(last, row + j, h) * in.B[row + j][column + k];
        const int64_t i = k - s.states;
        return i > j ? in.mixed(CB, row, h, i, j) : 0.0f;
      },
      [&](int64_t k, int64_t p) {
        return k < s.states ? R[p * s.states + k] : in.dy[row + k - s.states][first + p];
      },
      [&](int64_t j, int64_t p, float sum) {
        const float dy = in.dy[row + j][first + p], x = in.x[row + j][first + p];
        dx[row + j][first + p] = in.steps.at(row + j, h) * (sum + CB[j * kSsdTile + j] * dy) + skip * dy;
        return x * sum;
      },
      sums);
  if (threadIdx.x < n) dots.inputs[(row + threadIdx.x) * s.heads + h] = sums[threadIdx.x];
}

/// sums[i][j] = E_ij of a group: Σ over its heads of exp(a_i − a_j) Δ_j (dy_i · x_j), for j ≤ i.
__global__ void __launch_bounds__(kProductThreads) pair_sums_kernel(SsdGradientInputs in, float* sums) {
  __shared__ ProductScratch scratch;
  const SsdSizes& s = in.s;
  const int64_t tile = blockIdx.x, g = blockIdx.y, b = blockIdx.z, n = s.length(tile), row = s.row(b, tile);
  const int64_t heads = s.heads / s.groups;
  float* to = sums + ((b * s.tiles() + tile) * s.groups + g) * kSsdTile * kSsdTile;
  for (int64_t h = g * heads; h < (g + 1) * heads; ++h) {
    block_product<Along::kTerms>(
        scratch, n, n, s.channels, [&](int64_t i, int64_t p) { return in.dy[row + i][h * s.channels + p]; },
        [&](int64_t p, int64_t j) { return in.x[row + j][h * s.channels + p]; },
        [&](int64_t i, int64_t j, float sum) {
          const float before = h == g * heads ? 0.0f : to[i * kSsdTile + j];
          const float own =
              j <= i ? in.steps.between(row + i, row + j, h) * in.steps.at(row + j, h) * sum : 0.0f;
          to[i * kSsdTile + j] = before + own;
          return 0.0f;
        });
  }
}

/// dC = Σ_h diag(exp(a)) dy S₀ + E B, as one product over the channels of all heads of the group and the tokens.
__global__ void __launch_bounds__(kProductThreads)
    dC_kernel(SsdGradientInputs in, const float* pair_sums, Rows<float> dC) {
  __shared__ ProductScratch scratch;
  const SsdSizes& s = in.s;
  const int64_t tile = blockIdx.x, g = blockIdx.y, b = blockIdx.z, n = s.length(tile), row = s.row(b, tile);
  const int64_t heads = s.heads / s.groups, channels = heads * s.channels;
  const float* E = pair_sums + ((b * s.tiles() + tile) * s.groups + g) * kSsdTile * kSsdTile;
  const float* S = in.of_tile(in.states, b, tile, g * heads);  // the heads of a group follow one another
  block_product<Along::kTerms>(
      scratch, n, s.states, channels + n,
      [&](int64_t i, int64_t k) {
        if (k >= channels) return E[i * kSsdTile + k - channels];
        return in.steps.from_start(row + i, g * heads + k / s.channels) * in.dy[row + i][g * channels + k];
      },
      [&](int64_t k, int64_t m) {
        return k < channels ? S[k * s.states + m] : in.B[row + k - channels][g * s.states + m];
      },
      [&](int64_t i, int64_t m, float sum) {
        dC[row + i][g * s.states + m] = sum;
        return 0.0f;
      });
}

/// dB = Σ_h diag(exp(a_Q − a) Δ) x R + Eᵀ C
__global__ void __launch_bounds__(kProductThreads)
    dB_kernel(SsdGradientInputs in, const float* pair_sums, Rows<float> dB) {
  __shared__ ProductScratch scratch;
  const SsdSizes& s = in.s;
  const int64_t tile = blockIdx.x, g = blockIdx.y, b = blockIdx.z, n = s.length(tile), row = s.row(b, tile);
  const int64_t heads = s.heads / s.groups, channels = heads * s.channels, last = row + n - 1;
  const float* E = pair_sums + ((b * s.tiles() + tile) * s.groups + g) * kSsdTile * kSsdTile;
  const float* R = in.of_tile(in.gradients, b, tile, g * heads);
  block_product<Along::kTerms>(
      scratch, n, s.states, channels + n,
      [&](int64_t j, int64_t k) {
        if (k >= channels) return E[(k - channels) * kSsdTile + j];
        const int64_t h = g * heads + k / s.channels;
        return in.steps.between(last, row + j, h) * in.steps.at(row + j, h) * in.x[row + j][g * channels + k];
      },
      [&](int64_t k, int64_t m) {
        return k < channels ? R[k * s.states + m] : in.C[row + k - channels][g * s.states + m];
      },
      [&](int64_t j, int64_t m, float sum) {
        dB[row + j][g * s.states + m] = sum;
        return 0.0f;
      });
}

/// ⟨R, S_Q⟩ of every tile and head, [B·tiles, H]. S_Q is the state that the next tile begins with; `end`: that of the
/// last tile.
void find_state_dots(Context& ctx, const SsdGradientInputs& in, const float* end, float* dots) {
  const SsdSizes s = in.s;
  for_warps(ctx, s.batch * s.tiles() * s.heads, [=] __device__(int64_t i, int lane) {
    const int64_t h = i % s.heads, tile = i / s.heads % s.tiles(), b = i / s.heads / s.tiles();
    const float* R = in.of_tile(in.gradients, b, tile, h);
    const float* S =
        tile + 1 < s.tiles() ? in.of_tile(in.states, b, tile + 1, h) : end + (b * s.heads + h) * s.matrix();
    float sum = 0;
    for (int64_t e = lane; e < s.matrix(); e += 32) sum += R[e] * S[e];
    sum = warp_sum(sum);
    if (lane == 0) dots[i] = sum;
  });
}

/// dy · x of every token and head.
void find_same_dots(Context& ctx, const SsdGradientInputs& in, float* dots) {
  const SsdSizes s = in.s;
  for_warps(ctx, s.batch * s.tokens * s.heads, [=] __device__(int64_t i, int lane) {
    const int64_t row = i / s.heads, first = i % s.heads * s.channels;
    float sum = 0;
    for (int64_t p = lane; p < s.channels; p += 32) sum += in.dy[row][first + p] * in.x[row][first + p];
    sum = warp_sum(sum);
    if (lane == 0) dots[i] = sum;
  });
}

/// Sums of a tile's tokens, [B·tiles, H] each.
struct SsdPartialSums {
  Rows<float> A, step, D;
};

/// ddt, and each tile's part of dA, ddt_bias and dD: one thread per tile and head walks back through the tile.
void find_step_gradients(Context& ctx, const SsdGradientInputs& in, const SsdBackward& a, const SsdDots& dots,
                         const float* state_dots, const SsdPartialSums& parts) {
  const SsdSizes s = in.s;
  const Rows<float> dt(a.dt), bias(a.dt_bias), A_log(a.A_log), ddt(a.ddt);
  const auto least = static_cast<float>(a.dt_min), most = static_cast<float>(a.dt_max);
  for_cells(ctx, s.batch * s.tiles(), s.heads, [=] __device__(int64_t bt, int64_t h) {
    const int64_t tile = bt % s.tiles(), b = bt / s.tiles(), row = s.row(b, tile), n = s.length(tile);
    const float A = -expf(A_log.data[h]), add = bias ? bias.data[h] : 0.0f;
    const float* CB = in.products_of(b, tile, h);
    double passing = state_dots[bt * s.heads + h], of_A = 0, of_step = 0, of_D = 0;  // passing: p_k
    for (int64_t k = n - 1; k >= 0; --k) {
      const int64_t t = row + k, at = t * s.heads + h;
      const float step = in.steps.step[at];
      passing += static_cast<double>(dots.outputs[at]) -
                 static_cast<double>(step) * static_cast<double>(dots.inputs[at]);
      const int32_t document = in.steps.document[t], before = k > 0 ? in.steps.document[t - 1] : 0;
      if (document != before) passing = 0;  // nothing passes the start of a document
      const auto dstep = static_cast<float>(static_cast<double>(A) * passing) + dots.inputs[at] +
                         CB[k * kSsdTile + k] * dots.same[at];
      const float unlimited = softplus(dt[t][h] + add);
      const float d = unlimited < least || unlimited > most ? 0.0f : dstep * softplus_derivative(unlimited);
      ddt[t][h] = d;
      of_step += static_cast<double>(d);
      of_A += passing * static_cast<double>(step);
      of_D += static_cast<double>(dots.same[at]);
    }
    parts.A[bt][h] = static_cast<float>(of_A) * A;  // dA/dA_log = A
    parts.step[bt][h] = static_cast<float>(of_step);
    parts.D[bt][h] = static_cast<float>(of_D);
  });
}

void add_parts(Context& ctx, const SsdSizes& s, Rows<float> parts, View to) {
  if (!to) return;
  add_column_sums(ctx, s.batch * s.tiles(), s.heads, {}, to, [=] __device__(int64_t r, auto columns) {
    return each([&](int k) { return columns.has(k) ? parts[r][columns.first + k] : 0.0f; });
  });
}

}  // namespace

void ssd_backward(Context& ctx, const SsdBackward& a) {
  const SsdSizes s(a.dt, a.x, a.B, a.groups);
  Arena::Frame frame(ctx.arena());
  const auto take = [&](int64_t rows, int64_t cols) { return ctx.arena().take(Dtype::kF32, {rows, cols}); };
  const int64_t tiles = s.batch * s.tiles(), tokens = s.batch * s.tokens, square = kSsdTile * kSsdTile;
  const SsdSteps steps = find_steps(ctx, s, SsdStepArgs(a));

  // The state after the last tile is that of the segment; forward need not have left it.
  View again = take(tiles * s.heads, s.matrix()),
       end = ctx.arena().take(Dtype::kF32, {s.batch, s.heads, s.channels, s.states});
  summarise_tiles(ctx, s, steps, InTime::kForward, a.x, a.B, again.as<float>());
  prefix_tiles(ctx, s, steps, InTime::kForward, a.state_in, again.as<float>(), end);
  View gradients = take(tiles * s.heads, s.matrix());
  summarise_tiles(ctx, s, steps, InTime::kBackward, a.dy, a.C, gradients.as<float>());
  prefix_tiles(ctx, s, steps, InTime::kBackward, a.dstate_out, gradients.as<float>(), a.dstate_in);
  float* products = take(tiles * s.groups, square).as<float>();
  multiply_vectors(ctx, s, a.B, a.C, products);

  const SsdGradientInputs in{s,
                             steps,
                             Rows<float>(a.x),
                             Rows<float>(a.B),
                             Rows<float>(a.C),
                             Rows<float>(a.dy),
                             again.as<float>(),
                             gradients.as<float>(),
                             products};
  const SsdDots dots{take(tokens, s.heads).as<float>(), take(tokens, s.heads).as<float>(),
                     take(tokens, s.heads).as<float>()};
  float *pair_sums = take(tiles * s.groups, square).as<float>(),
        *state_dots = take(tiles, s.heads).as<float>();
  const auto per_head = ssd_grid(s, s.heads), per_group = ssd_grid(s, s.groups);
  const auto stream = stream_of(ctx);
  find_same_dots(ctx, in, dots.same);
  find_state_dots(ctx, in, end.as<float>(), state_dots);
  launch(output_dots_kernel, per_head, kProductThreads, 0, stream, in, dots);
  launch(pair_sums_kernel, per_group, kProductThreads, 0, stream, in, pair_sums);
  launch(dC_kernel, per_group, kProductThreads, 0, stream, in, pair_sums, Rows<float>(a.dC));
  launch(dB_kernel, per_group, kProductThreads, 0, stream, in, pair_sums, Rows<float>(a.dB));
  launch(dx_kernel, per_head, kProductThreads, 0, stream, in, Rows<float>(a.D), dots, Rows<float>(a.dx));

  const SsdPartialSums parts{Rows<float>(take(tiles, s.heads)), Rows<float>(take(tiles, s.heads)),
                             Rows<float>(take(tiles, s.heads))};
  find_step_gradients(ctx, in, a, dots, state_dots, parts);
  add_parts(ctx, s, parts.A, a.dA_log);
  add_parts(ctx, s, parts.step, a.ddt_bias);
  add_parts(ctx, s, parts.D, a.dD);
}

}  // namespace natrix::cuda
