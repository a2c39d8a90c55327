#pragma once
// Row loops shared by the operations: tables of the mixture, chunks over threads, tiles over a chunk.
#if defined(_OPENMP)
#include <omp.h>
#endif
#include <cmath>

#include "dense.h"
#include "kernels.h"

namespace gmvae::GMVAE_ISA {

inline int thread_index() {
#if defined(_OPENMP)
  return omp_get_thread_num();
#else
  return 0;
#endif
}

// offset [k] from wide_offset, less the largest, which is returned.
template <typename T>
T settle_offsets(const Workspace<T>& w, std::int64_t k) {
  double largest = w.wide_offset[0];
  for (std::int64_t c = 1; c < k; ++c) largest = w.wide_offset[c] > largest ? w.wide_offset[c] : largest;
  const T base = std::isfinite(largest) ? static_cast<T>(largest) : T(0);  // no weight at all: offsets stay -inf
  for (std::int64_t c = 0; c < k; ++c) w.offset[c] = static_cast<T>(w.wide_offset[c] - static_cast<double>(base));
  return base;
}

template <typename T>
DenseTables<T> make_dense_tables(const MixtureView<T>& m, const Workspace<T>& w) {
  DenseTables<T> t{
      {m.means, w.inv_var, w.offset, T(0), m.k, m.d}, m.whitening, m.covariance == Covariance::kFull ? m.d * m.d : 0};
  for (std::int64_t c = 0; c < m.k; ++c) {
    const T* const factor = t.factor(c);
    double log_diagonal = 0;
    for (std::int64_t j = 0; j < m.d; ++j) {
      double precision = 0;
      for (std::int64_t i = j; i < m.d; ++i)
        precision += static_cast<double>(factor[i * m.d + j]) * factor[i * m.d + j];
      w.inv_var[c * m.d + j] = static_cast<T>(precision);
      log_diagonal += std::log(static_cast<double>(factor[j * m.d + j]));
    }
    w.wide_offset[c] = math::component_offset(static_cast<double>(m.log_weights[c]), -2 * log_diagonal);
  }
  t.base = settle_offsets(w, m.k);
  return t;
}

template <typename T>
Tables<T> make_diagonal_tables(const MixtureView<T>& m, const Workspace<T>& w) {
  constexpr int W = Lanes<T>::width;
  const std::int64_t size = m.k * m.d;
  std::int64_t i = 0;
  for (; i + W <= size; i += W) store(w.inv_var + i, vector_exp<T>(-load(m.log_vars + i)));
  if (i < size) {
    T tail[W] = {};
    for (std::int64_t u = i; u < size; ++u) tail[u - i] = -m.log_vars[u];
    store(tail, vector_exp<T>(load(tail)));
    for (std::int64_t u = i; u < size; ++u) w.inv_var[u] = tail[u - i];
  }
  for (std::int64_t c = 0; c < m.k; ++c) {
    double sum = 0;
    for (std::int64_t j = 0; j < m.d; ++j) sum += static_cast<double>(m.log_vars[c * m.d + j]);
    w.wide_offset[c] = math::component_offset(static_cast<double>(m.log_weights[c]), sum);
  }
  return {m.means, w.inv_var, w.offset, settle_offsets(w, m.k), m.k, m.d};
}

// Calls run(tables) with the tables that fit the mixture's covariances.
template <typename T, class Run>
void with_tables(const MixtureView<T>& m, const Workspace<T>& w, const Run& run) {
  if (m.covariance == Covariance::kDiagonal) {
    run(make_diagonal_tables(m, w));
  } else {
    run(make_dense_tables(m, w));
  }
}

// Calls body(scratch, first row, rows, stride) for every tile and done(scratch, chunk) after a chunk's last tile;
// a chunk stays on one thread. `sums`: values that a chunk adds up (launch.h). `wide` is zeroed at the start of each
// chunk.
template <typename T, class Body, class Done>
void for_each_tile(std::int64_t n, std::int64_t k, std::int64_t d, std::int64_t sums, const Workspace<T>& w,
                   const Body& body, const Done& done) {
  const std::int64_t per_chunk = chunk_rows(n, sums), chunks = chunk_count(n, sums), most = tile_stride<T>(k, d);
#if defined(_OPENMP)
#pragma omp parallel for schedule(static) num_threads(w.threads) if (w.threads > 1)
#endif
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    Scratch<T> scratch = carve_scratch(w.scratch + thread_index() * w.scratch_stride, k, d);
    scratch.wide = w.wide ? w.wide + thread_index() * w.wide_stride : nullptr;
    if (scratch.wide) std::memset(scratch.wide, 0, sizeof(double) * w.wide_stride);
    const std::int64_t begin = chunk * per_chunk;
    const std::int64_t end = begin + per_chunk < n ? begin + per_chunk : n;
    for (std::int64_t first = begin; first < end; first += most) {
      const std::int64_t rows = end - first < most ? end - first : most;
      body(scratch, first, rows, padded_rows<T>(rows));
    }
    done(scratch, chunk);
  }
}

template <typename T, class Body>
void for_each_tile(std::int64_t n, std::int64_t k, std::int64_t d, const Workspace<T>& w, const Body& body) {
  for_each_tile(n, k, d, 0, w, body, [](const Scratch<T>&, std::int64_t) {});
}

// Folds `count` running moments into partial[0..count).
inline void fold_lanes(const double* wide, std::int64_t count, double* partial) {
  for (std::int64_t i = 0; i < count; ++i) partial[i] = lane_sum(wide + i * kWideLanes);
}

// Adds the chunks' partial sums in order.
inline void reduce_chunks(const double* partial, std::int64_t chunks, std::int64_t size, double* out) {
  for (std::int64_t i = 0; i < size; ++i) out[i] = 0;
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    for (std::int64_t i = 0; i < size; ++i) out[i] += partial[chunk * size + i];
  }
}

// w_c <- scale_r w_c for every row, zero on padding; scale null means 1.
template <typename T>
void weight_rows(const T* scale, std::int64_t rows, std::int64_t k, std::int64_t stride, T* w) {
  for (std::int64_t c = 0; c < k; ++c) {
    T* const wc = w + c * stride;
    if (scale) {
      for (std::int64_t r = 0; r < rows; ++r) wc[r] *= scale[r];
    }
    for (std::int64_t r = rows; r < stride; ++r) wc[r] = T(0);
  }
}

// gamma and energies with gradient weights of a given assignment point:
//   on entry gamma holds energies of the assignment point and other those of (m, s2), less their shifts;
//   on return gamma holds responsibilities, other the weights d KL_mix / d logit_c, row0 the logsumexp, and row1 the
//   row's KL_mix without its entropy and normaliser terms, which are the caller's.
template <typename T>
void assigned_rows(const Tables<T>& t, const Scratch<T>& s, std::int64_t stride) {
  constexpr int W = Lanes<T>::width;
  T *const gamma = s.gamma, *const kl_energy = s.other;
  for (std::int64_t c = 0; c < t.k; ++c) {
    for (std::int64_t r = 0; r < stride; r += W) {
      T* const p = kl_energy + c * stride + r;
      store(p, math::density_gap(load(p), load(gamma + c * stride + r)));
    }
  }
  softmax(t, stride, gamma, s.row0);
  absolute_lse(t, stride, s.shift, s.row0);
  for (std::int64_t r = 0; r < stride; r += W) {
    Vec<T> mean{};
    for (std::int64_t c = 0; c < t.k; ++c) mean += load(gamma + c * stride + r) * load(kl_energy + c * stride + r);
    for (std::int64_t c = 0; c < t.k; ++c) {
      T* const p = kl_energy + c * stride + r;
      store(p, math::responsibility_gradient(load(gamma + c * stride + r), load(p), mean));
    }
    const Vec<T> shifts = math::density_gap(load(s.shift1 + r), load(s.shift + r));
    store(s.row1 + r, mean + shifts - load(s.row0 + r));
  }
}

// Loads a tile's rows and fills gamma with responsibilities and row0 with logsumexp_c(offset_c - energy_c / 2). For a
// given assignment point also `other` and row1, as in assigned_rows. Returns the tile of the assignment's point.
// Args has mean, log_var (null: points), z and assignment.
template <typename T, class Args, class TablesOfT>
const T* assign_tile(const Args& a, const TablesOfT& t, const Scratch<T>& s, std::int64_t first, std::int64_t rows,
                     std::int64_t stride) {
  const std::int64_t d = t.d;
  load_tile(a.mean + first * d, rows, d, stride, T(0), s.x);
  if (a.log_var) {
    load_tile(a.log_var + first * d, rows, d, stride, T(0), s.log_var);
    exp_columns(s.log_var, d * stride, s.s2);
  }
  const bool exact = a.assignment == Assignment::kExact;
  T* const energy = exact ? s.gamma : s.other;
  T* const shift = exact ? s.shift : s.shift1;
  if (a.log_var) {
    energies<T, true>(s, s.x, s.s2, t, stride, energy, shift);
  } else {
    energies<T, false>(s, s.x, nullptr, t, stride, energy, shift);
  }
  if (exact) {
    softmax(t, stride, s.gamma, s.row0);
    absolute_lse(t, stride, s.shift, s.row0);
    return s.x;
  }
  const T* point = s.x;
  if (a.assignment == Assignment::kSampled) {
    load_tile(a.z + first * d, rows, d, stride, T(0), s.z);
    point = s.z;
  }
  energies<T, false>(s, point, nullptr, t, stride, s.gamma, s.shift);
  assigned_rows(t, s, stride);
  return point;
}

// Adds a tile's moments to the running ones: of gamma, and of `other` about the assignment's point where there is a
// second set. gamma and other are scaled by the row weights (null: 1) in place; dense tables overwrite out0 and out1.
template <typename T, class Args, class TablesOfT>
void add_assigned_moments(const Args& a, const TablesOfT& t, const Scratch<T>& s, const T* point, const T* row_weight,
                          std::int64_t rows, std::int64_t stride) {
  if (moment_sets(a.assignment, a.detach) == 2) {
    const std::int64_t size = moments_size(t.k, t.d, a.mixture.covariance);
    weight_rows(row_weight, rows, t.k, stride, s.other);
    add_moments<T, false>(s, point, nullptr, s.other, t, stride, s.wide + size * kWideLanes);
  }
  weight_rows(row_weight, rows, t.k, stride, s.gamma);
  if (a.log_var) {
    add_moments<T, true>(s, s.x, s.s2, s.gamma, t, stride, s.wide);
  } else {
    add_moments<T, false>(s, s.x, nullptr, s.gamma, t, stride, s.wide);
  }
}

}  // namespace gmvae::GMVAE_ISA
