#pragma once
// Moments of dense covariances: stage 1 of mixture_statistics.h with second moments of coordinate pairs. Threads own
// patches of kPatchEdge x kPatchEdge pairs of one component. The same weights, columns, order and stage 2.
#include "dense_rows.h"
#include "mixture_statistics.h"

namespace gmvae::gpu {

constexpr int kPatchEdge = 4;

GMVAE_HD constexpr std::int64_t triangle(std::int64_t edge) { return edge * (edge + 1) / 2; }

template <typename T>
struct PairSum {
  T weight = 0, first[kPatchEdge] = {}, second[kPatchEdge][kPatchEdge] = {};
};

// Calls action(value of a, value of b) for every sum of a patch.
template <typename S, typename T, class Action>
GMVAE_DEVICE void for_pairs(PairSum<S>& a, const PairSum<T>& b, const Action& action) {
  action(a.weight, b.weight);
  GMVAE_UNROLL
  for (int i = 0; i < kPatchEdge; ++i) {
    action(a.first[i], b.first[i]);
    GMVAE_UNROLL
    for (int e = 0; e < kPatchEdge; ++e) action(a.second[i][e], b.second[i][e]);
  }
}

// Component c of the tile; coordinates u0 + i * u_step of one chunk against v0 + e * v_step of another. Strided, so
// that neighbouring patches read neighbouring columns. `diagonal`: both are the same coordinates.
struct PairPlace {
  int c, u0, u_step, v0, v_step;
  bool diagonal;
};

// Which coordinates meet: chunks that begin at u_first and v_first <= u_first. A chunk with itself needs each unordered
// pair of its residue classes once.
struct ChunkPair {
  std::int64_t u_first, v_first;
  int u_width, v_width;

  GMVAE_DEVICE bool same() const { return u_first == v_first; }
  GMVAE_DEVICE int u_blocks() const { return (u_width + kPatchEdge - 1) / kPatchEdge; }
  GMVAE_DEVICE int v_blocks() const { return (v_width + kPatchEdge - 1) / kPatchEdge; }
  GMVAE_DEVICE int patches() const { return same() ? static_cast<int>(triangle(u_blocks())) : u_blocks() * v_blocks(); }

  // Patch p of `count` components: neighbouring threads take neighbouring components and share the coordinates.
  GMVAE_DEVICE PairPlace place(int p, int count) const {
    const int blocks = p / count;
    int u = 0, v = blocks;
    if (same()) {
      while (v > u) v -= ++u;
    } else {
      u = blocks / v_blocks(), v = blocks % v_blocks();
    }
    return {p % count, u, u_blocks(), v, v_blocks(), same() && u == v};
  }
};

// Sums of one patch over a part of the tile's rows, a pack of rows at a time.
template <typename T>
GMVAE_DEVICE PairSum<T> add_pairs(const T* xu, const T* xv, const T* s2 /* or null */, const T* w, int stride, int rows,
                                  int part, int parts, const PairPlace& at, const ChunkPair& chunks,
                                  const T* mu /* [d] */) {
  constexpr int E = kPatchEdge, V = 16 / static_cast<int>(sizeof(T));
  const bool variance = s2 && at.diagonal;
  // Beyond the last coordinate the last one is read again; such sums are never stored.
  const T *us[E], *vs[E], *ss[E];
  T mu_u[E], mu_v[E];
  GMVAE_UNROLL
  for (int i = 0; i < E; ++i) {
    const int u = at.u0 + i * at.u_step, v = at.v0 + i * at.v_step;
    const int column_u = u < chunks.u_width ? u : chunks.u_width - 1;
    const int column_v = v < chunks.v_width ? v : chunks.v_width - 1;
    us[i] = xu + column_u * stride, vs[i] = xv + column_v * stride;
    ss[i] = variance ? s2 + column_u * stride : nullptr;
    mu_u[i] = mu[chunks.u_first + column_u], mu_v[i] = mu[chunks.v_first + column_v];
  }
  const T* const ws = w + at.c * stride;
  PairSum<T> sum;
  for (int r = part * V; r < rows; r += parts * V) {
    const auto wr = load_pack<T, V>(ws + r);
    Pack<T, V> xr[E];
    GMVAE_UNROLL
    for (int e = 0; e < E; ++e) xr[e] = load_pack<T, V>(vs[e] + r);
    GMVAE_UNROLL
    for (int q = 0; q < V; ++q) sum.weight += wr.v[q];
    GMVAE_UNROLL
    for (int i = 0; i < E; ++i) {
      const auto ur = load_pack<T, V>(us[i] + r);
      GMVAE_UNROLL
      for (int q = 0; q < V; ++q) {
        const T weighted = wr.v[q] * (ur.v[q] - mu_u[i]);
        sum.first[i] += weighted;
        GMVAE_UNROLL
        for (int e = 0; e < E; ++e) sum.second[i][e] += weighted * (xr[e].v[q] - mu_v[e]);
      }
      if (!variance) continue;
      const auto sr = load_pack<T, V>(ss[i] + r);
      GMVAE_UNROLL
      for (int q = 0; q < V; ++q) sum.second[i][i] += wr.v[q] * sr.v[q];
    }
  }
  return sum;
}

// Adds a patch's sums to weight [k], first [k, d], second [k, d (d + 1) / 2] of `sums`, or sets them.
GMVAE_DEVICE void store_pairs(const PairSum<double>& sum, const PairPlace& at, const ChunkPair& chunks, std::int64_t c,
                              std::int64_t k, std::int64_t d, bool add, double* sums) {
  const auto put = [add](double* target, double value) { *target = add ? *target + value : value; };
  double* const first = sums + k + c * d;
  double* const second = sums + k + k * d + c * triangle(d);
  if (at.diagonal && at.u0 == 0 && chunks.u_first == 0) put(sums + c, sum.weight);
  GMVAE_UNROLL
  for (int i = 0; i < kPatchEdge; ++i) {
    const int u = at.u0 + i * at.u_step;
    if (u >= chunks.u_width) continue;
    if (at.diagonal) put(first + chunks.u_first + u, sum.first[i]);
    GMVAE_UNROLL
    for (int e = 0; e < kPatchEdge; ++e) {
      const int v = at.v0 + e * at.v_step;
      if (v >= chunks.v_width || (at.diagonal && v > u)) continue;
      const std::int64_t a = chunks.u_first + u, b = chunks.v_first + v;
      put(second + (a > b ? triangle(a) + b : triangle(b) + a), sum.second[i][e]);
    }
  }
}

template <class Weights, class B>
GMVAE_DEVICE void dense_moments_partial(const B& block, const typename Weights::Args& a, const MomentsPlan& plan,
                                        int set, double* workspace /* [blocks, partial_size] */,
                                        typename Weights::T* shared) {
  using T = typename Weights::T;
  const std::int64_t k = a.mixture.k, d = a.mixture.d, size = partial_size(k, d, a.mixture.covariance);
  double* const partial = workspace + block.index() * size;
  double* const sums = plan.sums_at < 0 ? partial : reinterpret_cast<double*>(shared + plan.sums_at);
  T* const x = shared;
  T* const other = x + plan.chunk * plan.stride;  // variances for a chunk with itself, else the second chunk
  T* const w = shared + plan.weights_at;
  Weights weights(block, a, plan, set, shared);
  const T* const log_vars = weights.log_vars();
  const int part = block.thread() % plan.split;
  PairSum<double> sum;
  if (!plan.persistent) {
    for (std::int64_t i = block.thread(); i < size; i += block.threads()) sums[i] = 0;
  }

  const auto patches = [&](std::int64_t first, int count, const ChunkPair& chunks) {
    const int total = count * chunks.patches();
    for (int p = block.thread() / plan.split; p < total; p += block.threads() / plan.split) {
      const PairPlace at = chunks.place(p, count);
      const PairSum<T> tile =
          add_pairs(x, chunks.same() ? x : other, log_vars ? other : nullptr, w, plan.stride, plan.tile_rows, part,
                    plan.split, at, chunks, a.mixture.means + (first + at.c) * d);
      const auto add = [](double& total, T value) { total += static_cast<double>(value); };
      if (plan.persistent) {
        for_pairs(sum, tile, add);
      } else {
        PairSum<double> wide;
        for_pairs(wide, tile, add);
        store_pairs(wide, at, chunks, first + at.c, k, d, true, sums);
      }
    }
  };

  const auto width = [&](std::int64_t first) {
    return static_cast<int>(d - first < plan.chunk ? d - first : plan.chunk);
  };
  for (std::int64_t begin = block.index() * plan.tile_rows; begin < a.n; begin += block.count() * plan.tile_rows) {
    weights.prepare(block, begin, w);
    for (std::int64_t first = 0; first < k; first += plan.rows.tile) {
      const int count = static_cast<int>(k - first < plan.rows.tile ? k - first : plan.rows.tile);
      weights.fill(block, begin, first, w);
      for (std::int64_t u = 0; u < d; u += plan.chunk) {
        for (std::int64_t v = 0; v <= u; v += plan.chunk) {
          const ChunkPair chunks{u, v, width(u), width(v)};
          const T* const s2 = chunks.same() ? log_vars : nullptr;
          if (v == 0 || s2) load_columns(block, weights.points(), s2, a.n, d, begin, u, width(u), plan, x, other);
          if (v != u) load_columns(block, weights.points(), s2, a.n, d, begin, v, width(v), plan, other, x);
          block.sync();
          patches(first, count, chunks);
          block.sync();
        }
      }
    }
  }

  if (plan.persistent) {
    for_pairs(sum, sum, [&](double& value, const double&) { value = block.group_sum(value, plan.split); });
    const ChunkPair chunks{0, 0, static_cast<int>(d), static_cast<int>(d)};
    const int p = block.thread() / plan.split, count = static_cast<int>(k);
    if (p < count * chunks.patches() && part == 0) {
      const PairPlace at = chunks.place(p, count);
      store_pairs(sum, at, chunks, at.c, k, d, false, partial);
    }
  }
  const double evidence = block_sum(block, weights.evidence(), reinterpret_cast<double*>(shared));
  if (sums != partial) {
    for (std::int64_t i = block.thread(); i < size - 1; i += block.threads()) partial[i] = sums[i];
  }
  if (block.thread() == 0) partial[size - 1] = evidence;
}

// Stage 1 for either kind of covariance.
template <bool kDense, class Weights, class B>
GMVAE_DEVICE void add_moments(const B& block, const typename Weights::Args& a, const MomentsPlan& plan, int set,
                              double* workspace, typename Weights::T* shared) {
  if constexpr (kDense) {
    dense_moments_partial<Weights>(block, a, plan, set, workspace, shared);
  } else {
    moments_partial<Weights>(block, a, plan, set, workspace, shared);
  }
}

}  // namespace gmvae::gpu
