#pragma once
// Tiles against components with dense covariances: what tile.h does for diagonal ones. A = L^-1 is the whitening
// factor of a component (lower triangle), P = A'A its precision. Rows are taken two vectors at a time: `diff` and
// `white` hold x - mu and A (x - mu) of those rows, [d][2 width].
#include "tile.h"

namespace gmvae::GMVAE_ISA {

// inv_var holds the diagonals of P: all that the posterior variances meet.
template <typename T>
struct DenseTables : Tables<T> {
  const T* whitening;  // [k, d, d], or [d, d] with step 0
  std::int64_t step;

  const T* factor(std::int64_t c) const { return whitening + c * step; }
};

// R coordinates of A diff, from coordinate i on.
template <typename T, int R>
GMVAE_HD void whiten_block(const T* diff, const T* factor, std::int64_t i, std::int64_t d, T* white) {
  constexpr int W = Lanes<T>::width;
  const T* const rows = factor + i * d;
  Vec<T> a[R] = {}, b[R] = {};
  for (std::int64_t j = 0; j < i; ++j) {
    const Vec<T> xa = load(diff + 2 * W * j), xb = load(diff + 2 * W * j + W);
    for (int u = 0; u < R; ++u) {
      a[u] += rows[u * d + j] * xa;
      b[u] += rows[u * d + j] * xb;
    }
  }
  for (int v = 0; v < R; ++v) {
    const Vec<T> xa = load(diff + 2 * W * (i + v)), xb = load(diff + 2 * W * (i + v) + W);
    for (int u = v; u < R; ++u) {
      a[u] += rows[u * d + i + v] * xa;
      b[u] += rows[u * d + i + v] * xb;
    }
  }
  for (int u = 0; u < R; ++u) {
    store(white + 2 * W * (i + u), a[u]);
    store(white + 2 * W * (i + u) + W, b[u]);
  }
}

// diff = x - mu and white = A diff for two vectors of rows.
template <typename T>
inline void whiten(const T* x, const T* mu, const T* factor, std::int64_t d, std::int64_t stride, T* diff, T* white) {
  constexpr int W = Lanes<T>::width;
  for (std::int64_t j = 0; j < d; ++j) {
    store(diff + 2 * W * j, load(x + j * stride) - mu[j]);
    store(diff + 2 * W * j + W, load(x + j * stride + W) - mu[j]);
  }
  std::int64_t i = 0;
  for (; i + 4 <= d; i += 4) whiten_block<T, 4>(diff, factor, i, d, white);
  for (; i < d; ++i) whiten_block<T, 1>(diff, factor, i, d, white);
}

// R coordinates of A' white, times w, added to pull.
template <typename T, int R>
GMVAE_HD void unwhiten_block(const T* white, const T* factor, Vec<T> wa, Vec<T> wb, std::int64_t j, std::int64_t d,
                             std::int64_t stride, T* pull) {
  constexpr int W = Lanes<T>::width;
  Vec<T> a[R] = {}, b[R] = {};
  for (int v = 0; v < R; ++v) {
    const Vec<T> ya = load(white + 2 * W * (j + v)), yb = load(white + 2 * W * (j + v) + W);
    for (int u = 0; u <= v; ++u) {
      a[u] += factor[(j + v) * d + j + u] * ya;
      b[u] += factor[(j + v) * d + j + u] * yb;
    }
  }
  for (std::int64_t i = j + R; i < d; ++i) {
    const Vec<T> ya = load(white + 2 * W * i), yb = load(white + 2 * W * i + W);
    for (int u = 0; u < R; ++u) {
      a[u] += factor[i * d + j + u] * ya;
      b[u] += factor[i * d + j + u] * yb;
    }
  }
  for (int u = 0; u < R; ++u) {
    T* const out = pull + (j + u) * stride;
    store(out, load(out) + wa * a[u]);
    store(out + W, load(out + W) + wb * b[u]);
  }
}

// energy [k][stride] of every component; s2 is read with kVariance only.
template <typename T, bool kVariance>
inline void energies(const Scratch<T>& s, const T* x, const T* s2, const DenseTables<T>& t, std::int64_t stride,
                     T* energy, T* shift) {
  constexpr int W = Lanes<T>::width;
  std::memset(shift, 0, sizeof(T) * stride);
  for (std::int64_t c = 0; c < t.k; ++c) {  // outside: a factor stays in the first-level cache
    for (std::int64_t r = 0; r < stride; r += 2 * W) {
      whiten(x + r, t.mu + c * t.d, t.factor(c), t.d, stride, s.diff, s.white);
      Vec<T> a{}, b{};
      for (std::int64_t j = 0; j < t.d; ++j) {
        const Vec<T> ya = load(s.white + 2 * W * j), yb = load(s.white + 2 * W * j + W);
        a += math::dense_energy_term(ya);
        b += math::dense_energy_term(yb);
        if (kVariance) {
          a += math::dense_trace_term(load(s2 + j * stride + r), t.inv_var[c * t.d + j]);
          b += math::dense_trace_term(load(s2 + j * stride + r + W), t.inv_var[c * t.d + j]);
        }
      }
      store(energy + c * stride + r, a);
      store(energy + c * stride + r + W, b);
    }
  }
}

// pull = sum_c w_c P_c (x - mu_c) and, if asked, precision_j = sum_c w_c P_cjj, for every row.
template <typename T, bool kPrecision>
inline void pull_rows(const Scratch<T>& s, const T* x, const T* w, const DenseTables<T>& t, std::int64_t stride,
                      T* pull, T* precision) {
  constexpr int W = Lanes<T>::width;
  for (std::int64_t j = 0; j < t.d; ++j) {
    for (std::int64_t r = 0; r < stride; r += W) {
      store(pull + j * stride + r, Vec<T>{});
      if (!kPrecision) continue;
      Vec<T> sum{};
      for (std::int64_t c = 0; c < t.k; ++c) sum += load(w + c * stride + r) * t.inv_var[c * t.d + j];
      store(precision + j * stride + r, sum);
    }
  }
  for (std::int64_t c = 0; c < t.k; ++c) {
    for (std::int64_t r = 0; r < stride; r += 2 * W) {
      whiten(x + r, t.mu + c * t.d, t.factor(c), t.d, stride, s.diff, s.white);
      const Vec<T> wa = load(w + c * stride + r), wb = load(w + c * stride + r + W);
      std::int64_t j = 0;
      for (; j + 4 <= t.d; j += 4) unwhiten_block<T, 4>(s.white, t.factor(c), wa, wb, j, t.d, stride, pull + r);
      for (; j < t.d; ++j) unwhiten_block<T, 1>(s.white, t.factor(c), wa, wb, j, t.d, stride, pull + r);
    }
  }
}

// Products of I weighted and J plain coordinates, of which entries (i, j) with j <= i count.
template <typename T, int I, int J>
GMVAE_HD void product_block(const T* weighted, const T* diff, std::int64_t i, std::int64_t j, std::int64_t stride,
                            double* second) {
  Vec<T> sums[I][J] = {};
  for (std::int64_t r = 0; r < stride; r += Lanes<T>::width) {
    Vec<T> right[J];
    for (int v = 0; v < J; ++v) right[v] = load(diff + (j + v) * stride + r);
    for (int u = 0; u < I; ++u) {
      const Vec<T> left = load(weighted + (i + u) * stride + r);
      for (int v = 0; v < J; ++v) sums[u][v] += left * right[v];
    }
  }
  for (int u = 0; u < I; ++u) {
    for (int v = 0; v < J; ++v) {
      const std::int64_t row = i + u, column = j + v;
      if (column <= row) add_lanes<T>(second + (row * (row + 1) / 2 + column) * kWideLanes, sums[u][v]);
    }
  }
}

template <typename T, int I>
inline void product_rows(const T* weighted, const T* diff, std::int64_t i, std::int64_t stride, double* second) {
  std::int64_t j = 0;
  for (; j + 4 <= i + I; j += 4) product_block<T, I, 4>(weighted, diff, i, j, stride, second);
  for (; j < i + I; ++j) product_block<T, I, 1>(weighted, diff, i, j, stride, second);
}

// As add_moments of diagonal tables, with second [k, d (d + 1) / 2]. Overwrites out0 and out1.
template <typename T, bool kVariance>
inline void add_moments(const Scratch<T>& s, const T* x, const T* s2, const T* w, const DenseTables<T>& t,
                        std::int64_t stride, double* wide) {
  constexpr int W = Lanes<T>::width;
  const std::int64_t d = t.d, triangle = d * (d + 1) / 2;
  T *const diff = s.out0, *const weighted = s.out1;
  for (std::int64_t c = 0; c < t.k; ++c) {
    const T* const wc = w + c * stride;
    double* const first = wide + (t.k + c * d) * kWideLanes;
    double* const second = wide + (t.k + t.k * d + c * triangle) * kWideLanes;
    Vec<T> total{};
    for (std::int64_t r = 0; r < stride; r += W) total += load(wc + r);
    add_lanes<T>(wide + c * kWideLanes, total);
    for (std::int64_t j = 0; j < d; ++j) {
      const T mu = t.mu[c * d + j];
      Vec<T> sum{}, spread{};
      for (std::int64_t r = 0; r < stride; r += W) {
        const Vec<T> delta = load(x + j * stride + r) - mu;
        store(diff + j * stride + r, delta);
        store(weighted + j * stride + r, load(wc + r) * delta);
        sum += load(wc + r) * delta;
        if (kVariance) spread += load(wc + r) * load(s2 + j * stride + r);
      }
      add_lanes<T>(first + j * kWideLanes, sum);
      if (kVariance) add_lanes<T>(second + (j * (j + 1) / 2 + j) * kWideLanes, spread);
    }
    std::int64_t i = 0;
    for (; i + 2 <= d; i += 2) product_rows<T, 2>(weighted, diff, i, stride, second);
    for (; i < d; ++i) product_rows<T, 1>(weighted, diff, i, stride, second);
  }
}

}  // namespace gmvae::GMVAE_ISA
