#pragma once
// exp and log of a vector of rows, branch-free. Maximum error 2 ulp over the normal range
// (tests/ops/test_vector_math.py); exp gives exact 0 and inf outside the range, both keep NaN. The series are the plain
// Taylor and atanh series, taken far enough that truncation is below rounding.
#include <limits>

#include "lanes.h"

namespace gmvae::GMVAE_ISA {

template <typename T>
struct MathConst;

template <>
struct MathConst<float> {
  static constexpr int mantissa_bits = 23;
  static constexpr int bias = 127;
  static constexpr float exp_low = -104.0f;          // below: rounds to 0
  static constexpr float exp_high = 89.0f;           // above: rounds to inf
  static constexpr float round_magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr float ln2_hi = 0.693359375f;      // few bits: n * ln2_hi is exact
  static constexpr float ln2_lo = -2.12194440054690583e-4f;
  static constexpr float sqrt_half = 0.70710678118654752f;
};

template <>
struct MathConst<double> {
  static constexpr int mantissa_bits = 52;
  static constexpr int bias = 1023;
  static constexpr double exp_low = -746.0;
  static constexpr double exp_high = 710.0;
  static constexpr double round_magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double ln2_hi = 6.93147180369123816490e-01;
  static constexpr double ln2_lo = 1.90821492927058770002e-10;
  static constexpr double sqrt_half = 0.70710678118654752;
};

// 2^n for integer-valued n within the normal exponents. Adding the magic number leaves n in the low mantissa
// bits, which spares the conversion to integers that AVX2 lacks for 64 bits.
template <typename T>
GMVAE_HD Vec<T> power_of_two(Vec<T> n) {
  using I = typename Lanes<T>::I;
  const I exponent = reinterpret_cast<I>(n + MathConst<T>::round_magic) + MathConst<T>::bias;
  return reinterpret_cast<Vec<T>>(exponent << MathConst<T>::mantissa_bits);
}

// exp(r) for |r| <= ln(2)/2 by Taylor's series: remainder r^8/8! = 5e-9 (float), r^14/14! = 4e-18 (double).
GMVAE_HD Vec<float> exp_reduced(Vec<float> r) {
  Vec<float> p = splat(1.0f / 5040);
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  return (p * r * r + r) + 1.0f;
}

GMVAE_HD Vec<double> exp_reduced(Vec<double> r) {
  Vec<double> p = splat(1.0 / 6227020800.0);
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  return (p * r * r + r) + 1.0;
}

template <typename T>
GMVAE_HD Vec<T> vector_exp(Vec<T> x) {
  using C = MathConst<T>;
  constexpr T log2e = T(1.44269504088896340736);
  // Written so that a NaN fails both comparisons and stays.
  Vec<T> y = x < C::exp_low ? splat(C::exp_low) : x;
  y = y > C::exp_high ? splat(C::exp_high) : y;
  const Vec<T> n = (y * log2e + C::round_magic) - C::round_magic;
  const Vec<T> r = (y - n * C::ln2_hi) - n * C::ln2_lo;
  // Two factors, so that results below the smallest normal number and near the largest come out right.
  const Vec<T> half = (n * T(0.5) + C::round_magic) - C::round_magic;
  return exp_reduced(r) * power_of_two<T>(half) * power_of_two<T>(n - half);
}

// 2 atanh(s) / s - 2, with z = s^2 <= 0.0295: next term z^5 * 2/11 = 4e-9 (float), z^11 * 2/23 = 1.3e-18 (double).
GMVAE_HD Vec<float> atanh_series(Vec<float> z) {
  Vec<float> p = splat(2.0f / 9);
  p = p * z + 2.0f / 7;
  p = p * z + 2.0f / 5;
  p = p * z + 2.0f / 3;
  return p * z;
}

GMVAE_HD Vec<double> atanh_series(Vec<double> z) {
  Vec<double> p = splat(2.0 / 21);
  p = p * z + 2.0 / 19;
  p = p * z + 2.0 / 17;
  p = p * z + 2.0 / 15;
  p = p * z + 2.0 / 13;
  p = p * z + 2.0 / 11;
  p = p * z + 2.0 / 9;
  p = p * z + 2.0 / 7;
  p = p * z + 2.0 / 5;
  p = p * z + 2.0 / 3;
  return p * z;
}

// Natural logarithm of a positive normal number; 0 gives -inf, NaN stays.
template <typename T>
GMVAE_HD Vec<T> vector_log(Vec<T> x) {
  using C = MathConst<T>;
  using I = typename Lanes<T>::I;
  constexpr auto one_bits = decltype(I{}[0] + 0)(C::bias) << C::mantissa_bits;
  const I bits = reinterpret_cast<I>(x);
  const I fraction_mask = ((I{} + 1) << C::mantissa_bits) - 1;
  I exponent = (bits >> C::mantissa_bits) - C::bias;
  Vec<T> m = reinterpret_cast<Vec<T>>((bits & fraction_mask) | one_bits);  // [1, 2)
  const I high = m > T(2) * C::sqrt_half;                                  // all bits set where m > sqrt(2)
  m = high ? m * T(0.5) : m;                                               // [sqrt(1/2), sqrt(2)]
  exponent = exponent - high;                                              // minus -1 where high
  const I magic_bits = reinterpret_cast<I>(splat(C::round_magic));
  const Vec<T> e = reinterpret_cast<Vec<T>>(exponent + magic_bits) - C::round_magic;  // to floating point
  const Vec<T> f = m - T(1);
  const Vec<T> s = f / (f + T(2));
  // log(1+f) = f - s (f - series(s^2)) with 2 s = f - s f: the leading f is exact.
  const Vec<T> log1p = f - s * (f - atanh_series(s * s));
  const Vec<T> y = e * C::ln2_hi + (log1p + e * C::ln2_lo);
  const Vec<T> infinite = splat(std::numeric_limits<T>::infinity());
  return x > T(0) ? (x < infinite ? y : x) : (x == T(0) ? -infinite : x + x);
}

}  // namespace gmvae::GMVAE_ISA
