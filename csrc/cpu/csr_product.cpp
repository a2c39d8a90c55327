// Sparse matrix times a block of vectors. Bound by memory: the block is gathered row by row, far beyond the caches.
#include <algorithm>

#include "columns.h"
#include "gmvae/graph.h"
#include "prefetch.h"
#include "threads.h"

namespace gmvae {
namespace {

constexpr std::int64_t kAhead = 24;        // entries between a prefetch and its use
constexpr std::int64_t kCached = 1 << 19;  // values of a block that a core's cache holds: prefetching only costs
constexpr int kLine = 8;                   // values in a cache line

// What becomes of the sums of a row, W adjacent columns from `first`: the product itself, ...
template <int W, typename Index>
struct Store {
  double* result;
  Store(const CsrProductArgs<Index>& a, std::int64_t first) : result(a.result + first) {}
  void row(std::int64_t place, const double* sum) { std::copy(sum, sum + W, result + place); }
  void end_chunk(std::int64_t) {}
};

// ... or a combination with the rows of x and y.
template <int W, typename Index>
struct Combine {
  const double* x;
  double* y;
  double* sums;
  std::int64_t width;
  double of_product[W], of_x[W], of_y[W], dot[W] = {};

  Combine(const CsrRecurrenceArgs<Index>& a, std::int64_t first)
      : x(a.x + first), y(a.y + first), sums(a.sums ? a.sums + first : nullptr), width(a.width) {
    const double* const c = a.coefficients + first;
    std::copy(c, c + W, of_product);
    std::copy(c + width, c + width + W, of_x);
    std::copy(c + 2 * width, c + 2 * width + W, of_y);
  }
  void row(std::int64_t place, const double* sum) {
    const double* const here = x + place;
    double* const there = y + place;
    for (int c = 0; c < W; ++c) {
      const double value = of_product[c] * sum[c] + of_x[c] * here[c] + of_y[c] * there[c];
      there[c] = value;
      dot[c] += value * here[c];
    }
  }
  void end_chunk(std::int64_t chunk) {
    if (sums) std::copy(dot, dot + W, sums + chunk * width);
    std::fill(dot, dot + W, 0.0);
  }
};

template <typename Index>
const double* gathered(const CsrProductArgs<Index>& a) {
  return a.block;
}

template <typename Index>
const double* gathered(const CsrRecurrenceArgs<Index>& a) {
  return a.x;
}

// Rows times W adjacent columns of the block; Stride is its width, or 0 where only args.width says it.
template <template <int, typename> class Finish, int W, int Stride, bool Ahead, class Args, typename Index>
void columns(const Args& a, const CsrView<Index>& m, std::int64_t begin, std::int64_t end, std::int64_t first) {
  const std::int64_t stride = Stride ? Stride : a.width, last = m.starts[m.rows];
  const double* const block = gathered(a) + first;
  Finish<W, Index> finish(a, first);
  std::int64_t e = m.starts[begin];
  for (std::int64_t row = begin; row < end;) {
    const std::int64_t chunk = row / kSumRows;
    for (const std::int64_t border = std::min(end, (chunk + 1) * kSumRows); row < border; ++row) {
      const std::int64_t stop = m.starts[row + 1];
      double sum[W] = {};
      for (; e < stop; ++e) {
        if constexpr (Ahead) {
          const double* const next = block + m.columns[std::min(e + kAhead, last - 1)] * stride;
          for (int c = 0; c < W; c += kLine) prefetch(next + c);
          if constexpr (W > 1) prefetch(next + W - 1);  // it may straddle two cache lines
        }
        const double value = m.values[e];
        const double* const x = block + m.columns[e] * stride;
        for (int c = 0; c < W; ++c) sum[c] += value * x[c];
      }
      finish.row(row * stride, sum);
    }
    finish.end_chunk(chunk);
  }
}

template <template <int, typename> class Finish, int W, bool Ahead, class Args>
void columns_of(const Args& a, std::int64_t begin, std::int64_t end, std::int64_t first) {
  if (a.width == W) return columns<Finish, W, W, Ahead>(a, a.matrix, begin, end, first);
  columns<Finish, W, 0, Ahead>(a, a.matrix, begin, end, first);
}

template <template <int, typename> class Finish, bool Ahead, class Args>
void rows(const Args& a, std::int64_t begin, std::int64_t end) {
  for_column_groups(a.width, [&](auto group, std::int64_t first) {
    columns_of<Finish, decltype(group)::value, Ahead>(a, begin, end, first);
  });
}

// `granule`: rows that must stay together.
template <template <int, typename> class Finish, class Args, typename Index>
void in_parts(const Args& a, const CsrView<Index>& m, std::int64_t granule, int threads) {
  if (m.rows == 0 || a.width == 0) return;
  const std::int64_t entries = m.starts[m.rows];
  const int parts = parts_for((entries + m.rows) * a.width, threads);
  const auto border = [&](int part) -> std::int64_t {  // equal numbers of entries: rows of hubs are long
    if (part == parts) return m.rows;
    const auto entry = static_cast<Index>(entries / parts * part);
    const std::int64_t row = std::lower_bound(m.starts, m.starts + m.rows, entry) - m.starts;
    return row / granule * granule;
  };
  const bool ahead = m.rows * a.width >= kCached;
  for_each_part(parts, [&](int part) {
    const std::int64_t begin = part == 0 ? 0 : border(part), end = border(part + 1);
    ahead ? rows<Finish, true>(a, begin, end) : rows<Finish, false>(a, begin, end);
  });
}

}  // namespace

template <typename Index>
void csr_product_cpu(const CsrProductArgs<Index>& a, int threads) {
  in_parts<Store>(a, a.matrix, 1, threads);
}

template <typename Index>
void csr_recurrence_cpu(const CsrRecurrenceArgs<Index>& a, int threads) {
  in_parts<Combine>(a, a.matrix, kSumRows, threads);
}

template void csr_product_cpu<std::int32_t>(const CsrProductArgs<std::int32_t>&, int);
template void csr_product_cpu<std::int64_t>(const CsrProductArgs<std::int64_t>&, int);
template void csr_recurrence_cpu<std::int32_t>(const CsrRecurrenceArgs<std::int32_t>&, int);
template void csr_recurrence_cpu<std::int64_t>(const CsrRecurrenceArgs<std::int64_t>&, int);

}  // namespace gmvae
