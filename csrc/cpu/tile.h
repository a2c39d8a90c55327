#pragma once
// A tile: `rows` data rows held column by column, so that each vector instruction serves many rows.
// Tile arrays are [columns][stride], stride a multiple of two vectors; rows beyond `rows` are padding.
#include "gmvae/mixture_math.h"
#include "vector_math.h"

namespace gmvae::GMVAE_ISA {

// The mixture as the inner loops want it.
template <typename T>
struct Tables {
  const T* mu;       // [k, d]
  const T* inv_var;  // [k, d]
  const T* offset;   // [k] log pi_c - 1/2 sum_j log var_cj, less their largest
  T base;            // that largest
  std::int64_t k, d;
};

// Working arrays of one thread, carved from one allocation.
template <typename T>
struct Scratch {
  T* x;                 // [d][stride] means (or points)
  T* log_var;           // [d][stride]
  T* s2;                // [d][stride] variances
  T* z;                 // [d][stride] assignment points
  T* out0;              // [d][stride]
  T* out1;              // [d][stride]
  T* gamma;             // [k][stride]
  T* other;             // [k][stride]
  T* row0;              // [stride]
  T* row1;              // [stride]
  T* shift;             // [stride] taken off all energies of a row in gamma
  T* shift1;            // [stride] the same for `other`
  double* wide_energy;  // [k][2 width], where wide_sums(d)
  T* diff;              // [d][2 width], dense covariances only
  T* white;             // [d][2 width]
  double* wide;         // running moments, [sets][moments_size][kWideLanes], where the operation wants them
};

// `rows` rounded up to whole pairs of vectors: the stride of a tile that holds them.
template <typename T>
inline std::int64_t padded_rows(std::int64_t rows) {
  constexpr std::int64_t unit = 2 * Lanes<T>::width;
  return (rows + unit - 1) / unit * unit;
}

#ifndef GMVAE_TILE_KIB
#define GMVAE_TILE_KIB 128
#endif
constexpr std::int64_t kTileBytes = GMVAE_TILE_KIB * 1024;

// Most rows per tile: small enough for the second-level cache, large enough to amortise the sums over lanes.
template <typename T>
inline std::int64_t tile_stride(std::int64_t k, std::int64_t d) {
  constexpr std::int64_t unit = 2 * Lanes<T>::width;
  constexpr std::int64_t budget = kTileBytes / static_cast<std::int64_t>(sizeof(T));
  const std::int64_t fit = budget / (3 * d + k + 1) / unit;
  // An odd number of vector pairs: columns a power of two apart would share a few sets of the first-level cache.
  const std::int64_t odd = fit % 2 ? fit : fit - 1;
  const std::int64_t most = 256 / unit - 1;
  return unit * (odd < 1 ? 1 : (odd > most ? most : odd));
}

template <typename T>
inline std::int64_t scratch_size(std::int64_t k, std::int64_t d) {
  constexpr std::int64_t width = Lanes<T>::width;
  const std::int64_t wide = 2 * width * k * static_cast<std::int64_t>(sizeof(double) / sizeof(T));
  return (6 * d + 2 * k + 4) * tile_stride<T>(k, d) + 4 * d * width + wide + width;  // the last for alignment
}

template <typename T>
inline Scratch<T> carve_scratch(T* base, std::int64_t k, std::int64_t d) {
  const std::int64_t s = tile_stride<T>(k, d);
  const auto misaligned = reinterpret_cast<std::uintptr_t>(base) % kVectorBytes;
  if (misaligned) base += (kVectorBytes - misaligned) / sizeof(T);
  Scratch<T> w;
  T** const columns[] = {&w.x, &w.log_var, &w.s2, &w.z, &w.out0, &w.out1};
  for (T** p : columns) {
    *p = base;
    base += d * s;
  }
  w.gamma = base;
  w.other = w.gamma + k * s;
  w.row0 = w.other + k * s;
  w.row1 = w.row0 + s;
  w.shift = w.row1 + s;
  w.shift1 = w.shift + s;
  w.diff = w.shift1 + s;
  w.white = w.diff + 2 * d * Lanes<T>::width;
  w.wide_energy = reinterpret_cast<double*>(w.white + 2 * d * Lanes<T>::width);
  return w;
}

template <typename T, int D>
GMVAE_HD void load_fixed(const T* x, std::int64_t rows, std::int64_t stride, T* tile) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (int j = 0; j < D; ++j) tile[j * stride + r] = x[r * D + j];
  }
}

template <typename T, int D>
GMVAE_HD void store_fixed(const T* tile, std::int64_t rows, std::int64_t stride, T* x) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (int j = 0; j < D; ++j) x[r * D + j] = tile[j * stride + r];
  }
}

// [rows, d] -> [d][stride]; padding becomes `pad`.
template <typename T>
inline void load_tile(const T* x, std::int64_t rows, std::int64_t d, std::int64_t stride, T pad, T* tile) {
  switch (d) {
    case 1: load_fixed<T, 1>(x, rows, stride, tile); break;
    case 2: load_fixed<T, 2>(x, rows, stride, tile); break;
    case 3: load_fixed<T, 3>(x, rows, stride, tile); break;
    case 4: load_fixed<T, 4>(x, rows, stride, tile); break;
    case 8: load_fixed<T, 8>(x, rows, stride, tile); break;
    case 16: load_fixed<T, 16>(x, rows, stride, tile); break;
    default:
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t j = 0; j < d; ++j) tile[j * stride + r] = x[r * d + j];
      }
  }
  if (rows < stride) {
    for (std::int64_t j = 0; j < d; ++j) {
      for (std::int64_t r = rows; r < stride; ++r) tile[j * stride + r] = pad;
    }
  }
}

// [d][stride] -> [rows, d]
template <typename T>
inline void store_tile(const T* tile, std::int64_t rows, std::int64_t d, std::int64_t stride, T* x) {
  switch (d) {
    case 1: store_fixed<T, 1>(tile, rows, stride, x); break;
    case 2: store_fixed<T, 2>(tile, rows, stride, x); break;
    case 3: store_fixed<T, 3>(tile, rows, stride, x); break;
    case 4: store_fixed<T, 4>(tile, rows, stride, x); break;
    case 8: store_fixed<T, 8>(tile, rows, stride, x); break;
    case 16: store_fixed<T, 16>(tile, rows, stride, x); break;
    default:
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t j = 0; j < d; ++j) x[r * d + j] = tile[j * stride + r];
      }
  }
}

template <typename T>
inline void exp_columns(const T* x, std::int64_t count, T* out) {
  for (std::int64_t i = 0; i < count; i += Lanes<T>::width) store(out + i, vector_exp<T>(load(x + i)));
}

// Sums over `count` coordinates of C components' energies, for two vectors of rows, in registers.
template <typename T, int C, bool kVariance>
GMVAE_HD void energy_sums(const T* x, const T* s2, const T* mu, const T* inv_var, std::int64_t count, std::int64_t d,
                          std::int64_t stride, Vec<T> (&a)[C], Vec<T> (&b)[C]) {
  constexpr int W = Lanes<T>::width;
  for (std::int64_t j = 0; j < count; ++j) {
    const Vec<T> xa = load(x + j * stride), xb = load(x + j * stride + W);
    Vec<T> va{}, vb{};
    if (kVariance) va = load(s2 + j * stride), vb = load(s2 + j * stride + W);
    for (int u = 0; u < C; ++u) {
      const T m = mu[u * d + j], iv = inv_var[u * d + j];
      a[u] += kVariance ? math::energy_term(xa, va, m, iv) : math::energy_term(xa, m, iv);
      b[u] += kVariance ? math::energy_term(xb, vb, m, iv) : math::energy_term(xb, m, iv);
    }
  }
}

template <typename T, int C, bool kVariance>
GMVAE_HD void energy_block(const T* x, const T* s2, const T* mu, const T* inv_var, std::int64_t d, std::int64_t stride,
                           T* energy) {
  Vec<T> a[C] = {}, b[C] = {};
  energy_sums<T, C, kVariance>(x, s2, mu, inv_var, d, d, stride, a, b);
  for (int u = 0; u < C; ++u) {
    store(energy + u * stride, a[u]);
    store(energy + u * stride + Lanes<T>::width, b[u]);
  }
}

// Long float32 sums lose digits that decide between components: a responsibility's relative error is the absolute
// error of its energy. Rows of more than twice this many coordinates are summed in float64 from partial sums of so
// many.
constexpr std::int64_t kFloatTerms = 8;

template <typename T>
constexpr bool wide_sums(std::int64_t d) {
  return sizeof(T) < sizeof(double) && d > 2 * kFloatTerms;
}

inline void add_wide(double* wide, Vec<float> v) {
  typedef float Half __attribute__((vector_size(kVectorBytes / 2)));
  Half half[2];
  std::memcpy(half, &v, sizeof(v));
  store(wide, load(wide) + __builtin_convertvector(half[0], Wide));
  store(wide + kWideLanes, load(wide + kWideLanes) + __builtin_convertvector(half[1], Wide));
}

inline void add_wide(double*, Vec<double>) {}  // never asked for

// wide [C][2 width]
template <typename T, int C, bool kVariance>
GMVAE_HD void wide_energy_block(const T* x, const T* s2, const T* mu, const T* inv_var, std::int64_t d,
                                std::int64_t stride, double* wide) {
  constexpr int W = Lanes<T>::width;
  for (std::int64_t j = 0; j < d; j += kFloatTerms) {
    const std::int64_t count = d - j < kFloatTerms ? d - j : kFloatTerms;
    Vec<T> a[C] = {}, b[C] = {};
    energy_sums<T, C, kVariance>(x + j * stride, s2 + j * stride, mu + j, inv_var + j, count, d, stride, a, b);
    for (int u = 0; u < C; ++u) {
      add_wide(wide + 2 * W * u, a[u]);
      add_wide(wide + 2 * W * u + W, b[u]);
    }
  }
}

// energy [k][stride] from wide [k][2 width], less the row's smallest, which goes to shift.
template <typename T>
GMVAE_HD void settle_energies(const double* wide, std::int64_t k, std::int64_t stride, T* energy, T* shift) {
  constexpr int W = 2 * Lanes<T>::width;
  for (int r = 0; r < W; ++r) {
    double smallest = wide[r];
    for (std::int64_t c = 1; c < k; ++c) smallest = wide[c * W + r] < smallest ? wide[c * W + r] : smallest;
    shift[r] = static_cast<T>(smallest);
  }
  for (std::int64_t c = 0; c < k; ++c) {
    for (int r = 0; r < W; ++r)
      energy[c * stride + r] = static_cast<T>(wide[c * W + r] - static_cast<double>(shift[r]));
  }
}

// energy [k][stride] of every component, less shift [stride]; s2 may be null (points).
template <typename T, bool kVariance>
inline void energies(const Scratch<T>& s, const T* x, const T* s2, const Tables<T>& t, std::int64_t stride, T* energy,
                     T* shift) {
  constexpr int W = 2 * Lanes<T>::width;
  const std::int64_t d = t.d;
  if (!wide_sums<T>(d)) std::memset(shift, 0, sizeof(T) * stride);
  for (std::int64_t r = 0; r < stride; r += W) {
    std::int64_t c = 0;
    if (wide_sums<T>(d)) {
      std::memset(s.wide_energy, 0, sizeof(double) * t.k * W);
      for (; c + 4 <= t.k; c += 4) {
        wide_energy_block<T, 4, kVariance>(x + r, s2 + r, t.mu + c * d, t.inv_var + c * d, d, stride,
                                           s.wide_energy + c * W);
      }
      for (; c < t.k; ++c) {
        wide_energy_block<T, 1, kVariance>(x + r, s2 + r, t.mu + c * d, t.inv_var + c * d, d, stride,
                                           s.wide_energy + c * W);
      }
      settle_energies(s.wide_energy, t.k, stride, energy + r, shift + r);
      continue;
    }
    for (; c + 4 <= t.k; c += 4) {
      energy_block<T, 4, kVariance>(x + r, s2 + r, t.mu + c * d, t.inv_var + c * d, d, stride, energy + c * stride + r);
    }
    for (; c < t.k; ++c) {
      energy_block<T, 1, kVariance>(x + r, s2 + r, t.mu + c * d, t.inv_var + c * d, d, stride, energy + c * stride + r);
    }
  }
}

// Responsibilities below exp(logit) count as zero. Smaller float32 values would make denormal products, which cost
// a processor assist each: an EM sweep over well separated clusters took 3.5 times as long.
template <typename T>
struct Negligible;
template <>
struct Negligible<float> {
  static constexpr float logit = -64.0f;  // 1.6e-28
};
template <>
struct Negligible<double> {
  static constexpr double logit = -690.0;  // 1e-300
};

// energy [k][stride] -> responsibilities in place; lse [stride] = logsumexp_c(offset_c - energy_c / 2), relative to the
// tables' base and the energies' shift: see absolute_lse.
template <typename T>
inline void softmax(const Tables<T>& t, std::int64_t stride, T* energy, T* lse) {
  constexpr int W = Lanes<T>::width;
  for (std::int64_t r = 0; r < stride; r += W) {
    Vec<T> top = splat(std::numeric_limits<T>::lowest());  // finite: all weights zero gives -inf, not NaN
    for (std::int64_t c = 0; c < t.k; ++c) {
      const Vec<T> a = math::component_logit(t.offset[c], load(energy + c * stride + r));
      store(energy + c * stride + r, a);
      top = a > top ? a : top;
    }
    Vec<T> sum{};
    for (std::int64_t c = 0; c < t.k; ++c) {
      const Vec<T> a = load(energy + c * stride + r) - top;
      const Vec<T> e = a < Negligible<T>::logit ? Vec<T>{} : vector_exp<T>(a < Negligible<T>::logit ? Vec<T>{} : a);
      store(energy + c * stride + r, e);
      sum += e;
    }
    const Vec<T> scale = T(1) / sum;
    for (std::int64_t c = 0; c < t.k; ++c) store(energy + c * stride + r, load(energy + c * stride + r) * scale);
    store(lse + r, top + vector_log<T>(sum));
  }
}

template <typename T>
inline void absolute_lse(const Tables<T>& t, std::int64_t stride, const T* shift, T* lse) {
  for (std::int64_t r = 0; r < stride; r += Lanes<T>::width) {
    store(lse + r, load(lse + r) + math::component_logit(t.base, load(shift + r)));
  }
}

template <typename T, int J, bool kPrecision>
GMVAE_HD void pull_block(const T* x, const T* w, const T* mu, const T* inv_var, std::int64_t k, std::int64_t d,
                         std::int64_t stride, T* pull, T* precision) {
  Vec<T> xs[J], g[J] = {}, p[J] = {};
  for (int u = 0; u < J; ++u) xs[u] = load(x + u * stride);
  for (std::int64_t c = 0; c < k; ++c) {
    const Vec<T> wc = load(w + c * stride);
    for (int u = 0; u < J; ++u) {
      const Vec<T> t = wc * inv_var[c * d + u];
      g[u] += t * (xs[u] - mu[c * d + u]);
      if (kPrecision) p[u] += t;
    }
  }
  for (int u = 0; u < J; ++u) {
    store(pull + u * stride, g[u]);
    if (kPrecision) store(precision + u * stride, p[u]);
  }
}

// pull_j = sum_c w_c (x_j - mu_cj) iv_cj and, if asked, precision_j = sum_c w_c iv_cj, for every row.
template <typename T, bool kPrecision>
inline void pull_rows(const Scratch<T>&, const T* x, const T* w, const Tables<T>& t, std::int64_t stride, T* pull,
                      T* precision) {
  for (std::int64_t r = 0; r < stride; r += Lanes<T>::width) {
    std::int64_t j = 0;
    for (; j + 4 <= t.d; j += 4) {
      pull_block<T, 4, kPrecision>(x + j * stride + r, w + r, t.mu + j, t.inv_var + j, t.k, t.d, stride,
                                   pull + j * stride + r, precision + j * stride + r);
    }
    for (; j < t.d; ++j) {
      pull_block<T, 1, kPrecision>(x + j * stride + r, w + r, t.mu + j, t.inv_var + j, t.k, t.d, stride,
                                   pull + j * stride + r, precision + j * stride + r);
    }
  }
}

// Moments of C components x J coordinates: each loaded vector serves a whole block of accumulators.
// first and second hold kWideLanes running sums per entry.
template <typename T, int C, int J, bool kVariance>
GMVAE_HD void moment_block(const T* x, const T* s2, const T* w, const T* mu, std::int64_t d, std::int64_t stride,
                           double* first, double* second) {
  Vec<T> f[C][J] = {}, q[C][J] = {};
  for (std::int64_t r = 0; r < stride; r += Lanes<T>::width) {
    Vec<T> wv[C];
    for (int u = 0; u < C; ++u) wv[u] = load(w + u * stride + r);
    for (int v = 0; v < J; ++v) {
      const Vec<T> xv = load(x + v * stride + r);
      Vec<T> sv{};
      if (kVariance) sv = load(s2 + v * stride + r);
      for (int u = 0; u < C; ++u) {
        const Vec<T> diff = xv - mu[u * d + v];
        f[u][v] += wv[u] * diff;
        q[u][v] += wv[u] * (kVariance ? diff * diff + sv : diff * diff);
      }
    }
  }
  for (int u = 0; u < C; ++u) {
    for (int v = 0; v < J; ++v) {
      add_lanes<T>(first + (u * d + v) * kWideLanes, f[u][v]);
      add_lanes<T>(second + (u * d + v) * kWideLanes, q[u][v]);
    }
  }
}

template <typename T, int C, bool kVariance>
inline void moment_rows(const T* x, const T* s2, const T* w, const T* mu, std::int64_t d, std::int64_t stride,
                        double* first, double* second) {
  std::int64_t j = 0;
  for (; j + 4 <= d; j += 4) {
    moment_block<T, C, 4, kVariance>(x + j * stride, s2 + j * stride, w, mu + j, d, stride, first + j * kWideLanes,
                                     second + j * kWideLanes);
  }
  for (; j < d; ++j) {
    moment_block<T, C, 1, kVariance>(x + j * stride, s2 + j * stride, w, mu + j, d, stride, first + j * kWideLanes,
                                     second + j * kWideLanes);
  }
}

// Adds the tile's moments of w about mu to weight [k], first [k, d], second [k, d], each kWideLanes wide.
// Padding rows must have w = 0. A tile's sums run in T over at most tile_stride / width terms, the rest in float64.
template <typename T, bool kVariance>
inline void add_moments(const Scratch<T>&, const T* x, const T* s2, const T* w, const Tables<T>& t, std::int64_t stride,
                        double* wide) {
  double* const first = wide + t.k * kWideLanes;
  double* const second = first + t.k * t.d * kWideLanes;
  for (std::int64_t c = 0; c < t.k; ++c) {
    Vec<T> total{};
    for (std::int64_t r = 0; r < stride; r += Lanes<T>::width) total += load(w + c * stride + r);
    add_lanes<T>(wide + c * kWideLanes, total);
  }
  std::int64_t c = 0;
  for (; c + 2 <= t.k; c += 2) {
    const std::int64_t at = c * t.d;
    moment_rows<T, 2, kVariance>(x, s2, w + c * stride, t.mu + at, t.d, stride, first + at * kWideLanes,
                                 second + at * kWideLanes);
  }
  for (; c < t.k; ++c) {
    const std::int64_t at = c * t.d;
    moment_rows<T, 1, kVariance>(x, s2, w + c * stride, t.mu + at, t.d, stride, first + at * kWideLanes,
                                 second + at * kWideLanes);
  }
}

}  // namespace gmvae::GMVAE_ISA
