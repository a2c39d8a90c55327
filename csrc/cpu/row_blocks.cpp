// Products of a few rows with many, and their subtraction: tall and narrow, where a general matrix product packs more
// than it multiplies. Both stream the basis once; the block's piece of kBlockColumns columns stays in the second cache.
#include <algorithm>

#include "kernels.h"
#include "lanes.h"

namespace gmvae::GMVAE_ISA {
namespace {

template <typename T>
std::int64_t chunk_total(const RowBlockArgs<T>& a) {
  return (a.n + kBlockColumns - 1) / kBlockColumns;
}

// Rows taken together: the more, the fewer times the block is read, as long as all sums lie in registers. 64 rows of
// 1e5, one thread on AVX-512: products 27 ms for 2 rows, 17 ms for 4, 16 ms for 6.
constexpr int kProductRows = kVectorBytes == 64 ? 6 : 2;
constexpr int kSubtractRows = 8;

// Products of R rows of the basis with the block, over columns [begin, end).
template <int R, typename T>
void products(const RowBlockArgs<T>& a, std::int64_t first, std::int64_t begin, std::int64_t end, T* out) {
  constexpr int w = Lanes<T>::width;
  Vec<T> sum[R][kBlockRows] = {};
  std::int64_t j = begin;
  for (; j + w <= end; j += w) {
    Vec<T> y[kBlockRows];
    for (int b = 0; b < kBlockRows; ++b) y[b] = load(a.block + b * a.n + j);
    for (int r = 0; r < R; ++r) {
      const Vec<T> x = load(a.basis + (first + r) * a.n + j);
      for (int b = 0; b < kBlockRows; ++b) sum[r][b] += x * y[b];
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int b = 0; b < kBlockRows; ++b) {
      T lanes[w];
      store(lanes, sum[r][b]);
      T total = 0;
      for (int l = 0; l < w; ++l) total += lanes[l];
      for (std::int64_t k = j; k < end; ++k) total += a.basis[(first + r) * a.n + k] * a.block[b * a.n + k];
      out[(first + r) * kBlockRows + b] = total;
    }
  }
}

// block -= R rows of the basis times their coefficients, over columns [begin, end).
template <int R, typename T>
void subtract(const RowBlockArgs<T>& a, std::int64_t first, std::int64_t begin, std::int64_t end) {
  constexpr int w = Lanes<T>::width;
  const T* const c = a.coefficients + first * kBlockRows;
  std::int64_t j = begin;
  for (; j + w <= end; j += w) {
    Vec<T> x[R];
    for (int r = 0; r < R; ++r) x[r] = load(a.basis + (first + r) * a.n + j);
    for (int b = 0; b < kBlockRows; ++b) {
      T* const y = a.block + b * a.n + j;
      Vec<T> value = load(y);
      for (int r = 0; r < R; ++r) value -= c[r * kBlockRows + b] * x[r];
      store(y, value);
    }
  }
  for (; j < end; ++j) {
    for (int b = 0; b < kBlockRows; ++b) {
      for (int r = 0; r < R; ++r) a.block[b * a.n + j] -= c[r * kBlockRows + b] * a.basis[(first + r) * a.n + j];
    }
  }
}

}  // namespace

template <typename T>
void row_products(const RowBlockArgs<T>& a, int threads) {
  const std::int64_t chunks = chunk_total(a), size = a.m * kBlockRows;
#if defined(_OPENMP)
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && chunks > 1)
#endif
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    const std::int64_t begin = chunk * kBlockColumns, end = std::min(a.n, begin + kBlockColumns);
    T* const out = a.partial + chunk * size;
    std::int64_t row = 0;
    for (; row + kProductRows <= a.m; row += kProductRows) products<kProductRows>(a, row, begin, end, out);
    for (; row < a.m; ++row) products<1>(a, row, begin, end, out);
  }
  std::fill(a.coefficients, a.coefficients + size, T(0));
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    for (std::int64_t i = 0; i < size; ++i) a.coefficients[i] += a.partial[chunk * size + i];
  }
}

template <typename T>
void subtract_rows(const RowBlockArgs<T>& a, int threads) {
  const std::int64_t chunks = chunk_total(a);
#if defined(_OPENMP)
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1 && chunks > 1)
#endif
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    const std::int64_t begin = chunk * kBlockColumns, end = std::min(a.n, begin + kBlockColumns);
    std::int64_t row = 0;
    for (; row + kSubtractRows <= a.m; row += kSubtractRows) subtract<kSubtractRows>(a, row, begin, end);
    for (; row < a.m; ++row) subtract<1>(a, row, begin, end);
  }
}

template void row_products<double>(const RowBlockArgs<double>&, int);
template void subtract_rows<double>(const RowBlockArgs<double>&, int);

}  // namespace gmvae::GMVAE_ISA
