#pragma once
// A vector of rows. The width follows the instruction set this file is compiled for; GCC's and Clang's vector
// types make the same code serve AVX-512, AVX2, SSE2, NEON and processors without vectors.
#include <cstdint>
#include <cstring>

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
  return Vec<T>{} + x;
}

// Sum of the lanes, in float64, pairwise.
template <typename T>
GMVAE_HD double lane_sum(Vec<T> v) {
  double s[Lanes<T>::width];
  for (int l = 0; l < Lanes<T>::width; ++l) s[l] = static_cast<double>(v[l]);
  for (int half = Lanes<T>::width / 2; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) s[l] += s[l + half];
  }
  return s[0];
}

}  // namespace gmvae::GMVAE_ISA
