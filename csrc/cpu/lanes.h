#pragma once
// A vector of rows. The width follows the instruction set this file is compiled for; GCC's and Clang's vector
// types make the same code serve AVX-512, AVX2, SSE2, NEON and processors without vectors.
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "gmvae/host_device.h"

#ifndef GMVAE_ISA
#error "GMVAE_ISA names the namespace of this build: baseline, avx2 or avx512"
#endif

namespace gmvae::GMVAE_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <typename T>
struct Lanes;

template <>
struct Lanes<float> {
  static constexpr int width = kVectorBytes / sizeof(float);
  typedef float V __attribute__((vector_size(kVectorBytes)));
  typedef std::int32_t I __attribute__((vector_size(kVectorBytes)));
};

template <>
struct Lanes<double> {
  static constexpr int width = kVectorBytes / sizeof(double);
  typedef double V __attribute__((vector_size(kVectorBytes)));
  typedef std::int64_t I __attribute__((vector_size(kVectorBytes)));
};

template <typename T>
using Vec = typename Lanes<T>::V;

template <typename T>
GMVAE_HD Vec<T> load(const T* p) {
  Vec<T> v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

template <typename T>
GMVAE_HD void store(T* p, Vec<T> v) {
  std::memcpy(p, &v, sizeof(v));
}

template <typename T>
GMVAE_HD Vec<T> splat(T x) {
  return x - Vec<T>{};  // x - 0 is x for every x, but 0 + x is not for -0: compilers keep that addition
}

// Correctly rounded square roots.
GMVAE_HD Vec<float> square_root(Vec<float> v) {
#if defined(__AVX512F__)
  return _mm512_sqrt_ps(v);
#elif defined(__AVX2__)
  return _mm256_sqrt_ps(v);
#elif defined(__SSE2__)
  return _mm_sqrt_ps(v);
#else
  for (int l = 0; l < Lanes<float>::width; ++l) v[l] = std::sqrt(v[l]);
  return v;
#endif
}

GMVAE_HD Vec<double> square_root(Vec<double> v) {
#if defined(__AVX512F__)
  return _mm512_sqrt_pd(v);
#elif defined(__AVX2__)
  return _mm256_sqrt_pd(v);
#elif defined(__SSE2__)
  return _mm_sqrt_pd(v);
#else
  for (int l = 0; l < Lanes<double>::width; ++l) v[l] = std::sqrt(v[l]);
  return v;
#endif
}

// Bit l is set where lane l of a comparison holds.
GMVAE_HD unsigned lane_mask(Lanes<float>::I m) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(m));
#elif defined(__AVX2__)
  return static_cast<unsigned>(_mm256_movemask_ps(reinterpret_cast<__m256>(m)));
#elif defined(__SSE2__)
  return static_cast<unsigned>(_mm_movemask_ps(reinterpret_cast<__m128>(m)));
#else
  unsigned bits = 0;
  for (int l = 0; l < Lanes<float>::width; ++l) bits |= (m[l] != 0 ? 1u : 0u) << l;
  return bits;
#endif
}

GMVAE_HD unsigned lane_mask(Lanes<double>::I m) {
#if defined(__AVX512F__)
  return _mm512_movepi64_mask(reinterpret_cast<__m512i>(m));
#elif defined(__AVX2__)
  return static_cast<unsigned>(_mm256_movemask_pd(reinterpret_cast<__m256d>(m)));
#elif defined(__SSE2__)
  return static_cast<unsigned>(_mm_movemask_pd(reinterpret_cast<__m128d>(m)));
#else
  unsigned bits = 0;
  for (int l = 0; l < Lanes<double>::width; ++l) bits |= (m[l] != 0 ? 1u : 0u) << l;
  return bits;
#endif
}

// float64 lanes of one vector register: running sums of float or double vectors stay this wide until a chunk ends.
typedef double Wide __attribute__((vector_size(kVectorBytes)));
constexpr int kWideLanes = kVectorBytes / sizeof(double);

GMVAE_HD Wide widen(Vec<double> v) { return v; }

GMVAE_HD Wide widen(Vec<float> v) {
  typedef float Half __attribute__((vector_size(kVectorBytes / 2)));
  Half half[2];
  std::memcpy(half, &v, sizeof(v));
  return __builtin_convertvector(half[0], Wide) + __builtin_convertvector(half[1], Wide);
}

// wide[kWideLanes] += v, folded to float64 lanes.
template <typename T>
GMVAE_HD void add_lanes(double* wide, Vec<T> v) {
  store(wide, load(wide) + widen(v));
}

// Sum of the float64 lanes, pairwise.
GMVAE_HD double lane_sum(const double* wide) {
  double s[kWideLanes];
  std::memcpy(s, wide, sizeof(s));
  for (int half = kWideLanes / 2; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) s[l] += s[l + half];
  }
  return s[0];
}

}  // namespace gmvae::GMVAE_ISA
