// Sparse matrix times a block of vectors. Bound by memory: the block is gathered row by row, far beyond the caches.
#include <algorithm>

#include "gmvae/graph.h"
#include "prefetch.h"
#include "threads.h"

namespace gmvae {
namespace {

constexpr std::int64_t kAhead = 24;        // entries between a prefetch and its use
constexpr std::int64_t kCached = 1 << 21;  // values of a block that the caches hold: prefetching only costs

// Rows times W adjacent columns of the block; Stride is its width, or 0 where only args.width says it.
template <int W, int Stride, bool Ahead, typename Index>
void multiply_columns(const CsrProductArgs<Index>& a, std::int64_t begin, std::int64_t end, std::int64_t first) {
  const CsrView<Index> m = a.matrix;
  const std::int64_t stride = Stride ? Stride : a.width, last = m.starts[end];
  const double* const block = a.block + first;
  std::int64_t e = m.starts[begin];
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t stop = m.starts[row + 1];
    double sum[W] = {};
    for (; e < stop; ++e) {
      if constexpr (Ahead) {
        const double* const next = block + m.columns[std::min(e + kAhead, last - 1)] * stride;
        prefetch(next);
        if constexpr (W > 1) prefetch(next + W - 1);  // it may straddle two cache lines
      }
      const double value = m.values[e];
      const double* const x = block + m.columns[e] * stride;
      for (int c = 0; c < W; ++c) sum[c] += value * x[c];
    }
    std::copy(sum, sum + W, a.result + row * stride + first);
  }
}

template <int W, bool Ahead, typename Index>
void multiply_width(const CsrProductArgs<Index>& a, std::int64_t begin, std::int64_t end, std::int64_t first) {
  if (a.width == W) return multiply_columns<W, W, Ahead>(a, begin, end, first);
  multiply_columns<W, 0, Ahead>(a, begin, end, first);
}

template <bool Ahead, typename Index>
void multiply_rows(const CsrProductArgs<Index>& a, std::int64_t begin, std::int64_t end) {
  std::int64_t first = 0;
  for (; first + 8 <= a.width; first += 8) multiply_width<8, Ahead>(a, begin, end, first);
  switch (a.width - first) {
    case 1: return multiply_width<1, Ahead>(a, begin, end, first);
    case 2: return multiply_width<2, Ahead>(a, begin, end, first);
    case 3: return multiply_width<3, Ahead>(a, begin, end, first);
    case 4: return multiply_width<4, Ahead>(a, begin, end, first);
    case 5: return multiply_width<5, Ahead>(a, begin, end, first);
    case 6: return multiply_width<6, Ahead>(a, begin, end, first);
    case 7: return multiply_width<7, Ahead>(a, begin, end, first);
    default: return;
  }
}

}  // namespace

template <typename Index>
void csr_product_cpu(const CsrProductArgs<Index>& a, int threads) {
  const std::int64_t rows = a.matrix.rows;
  if (rows == 0 || a.width == 0) return;
  const std::int64_t entries = a.matrix.starts[rows];
  const int parts = parts_for((entries + rows) * a.width, threads);
  const auto border = [&](int part) -> std::int64_t {  // equal numbers of entries: rows of hubs are long
    if (part == parts) return rows;
    const auto entry = static_cast<Index>(entries / parts * part);
    return std::lower_bound(a.matrix.starts, a.matrix.starts + rows, entry) - a.matrix.starts;
  };
  const bool ahead = rows * a.width >= kCached;
  for_each_part(parts, [&](int part) {
    const std::int64_t begin = part == 0 ? 0 : border(part), end = border(part + 1);
    ahead ? multiply_rows<true>(a, begin, end) : multiply_rows<false>(a, begin, end);
  });
}

template void csr_product_cpu<std::int32_t>(const CsrProductArgs<std::int32_t>&, int);
template void csr_product_cpu<std::int64_t>(const CsrProductArgs<std::int64_t>&, int);

}  // namespace gmvae
