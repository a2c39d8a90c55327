// Self-tuned weights of the edges in neighbour lists.
#include <algorithm>
#include <atomic>
#include <limits>

#include "kernels.h"
#include "threads.h"
#include "vector_math.h"

namespace gmvae::GMVAE_ISA {
namespace {

// exp(-d² / (s t)) as exp(-(d / s) (d / t)), which stays in range whatever the unit. A scale of zero, where copies fill
// the list, is replaced by that of the other end; between two of them d = 0, and the weight is 1. Underflow is held at
// the smallest normal number, so that an edge stays an edge.
template <typename T>
GMVAE_HD Vec<T> self_tuned(Vec<T> length, Vec<T> s, Vec<T> t) {
  const Vec<T> first = s > T(0) ? s : t, second = t > T(0) ? t : s;
  const Vec<T> exponent = first > T(0) ? (length / first) * (length / second) : splat(T(0));
  const Vec<T> weight = vector_exp<T>(-exponent);
  return weight < std::numeric_limits<T>::min() ? splat(std::numeric_limits<T>::min()) : weight;  // NaN stays
}

}  // namespace

template <typename T>
bool self_tuned_weights(const SelfTunedArgs<T>& a, int threads) {
  constexpr std::int64_t kBlock = 512;  // entries: what a block gathers stays in the first cache
  constexpr int kWidth = Lanes<T>::width;
  std::atomic<bool> good{true};
  for_each_range(a.n, a.n * a.k, threads, [&](std::int64_t begin, std::int64_t end) {
    T lengths[kBlock], here[kBlock], there[kBlock], weights[kBlock];
    std::int64_t row = begin, slot = 0;
    for (std::int64_t first = begin * a.k; first < end * a.k; first += kBlock) {
      const std::int64_t size = std::min(kBlock, end * a.k - first);
      for (std::int64_t e = 0; e < size; ++e) {
        const std::int64_t node = a.nodes[first + e];
        if (node < 0 || node >= a.m) {
          good = false;
          return;
        }
        here[e] = a.here[row];
        there[e] = a.scales[node];
        if (++slot == a.k) {
          slot = 0;
          ++row;
        }
      }
      std::copy(a.lengths + first, a.lengths + first + size, lengths);
      const std::int64_t padded = (size + kWidth - 1) / kWidth * kWidth;
      for (T* const array : {lengths, here, there}) std::fill(array + size, array + padded, T(1));
      for (std::int64_t e = 0; e < padded; e += kWidth) {
        store(weights + e, self_tuned<T>(load(lengths + e), load(here + e), load(there + e)));
      }
      std::copy(weights, weights + size, a.weights + first);
    }
  });
  return good;
}

template bool self_tuned_weights<double>(const SelfTunedArgs<double>&, int);

}  // namespace gmvae::GMVAE_ISA
