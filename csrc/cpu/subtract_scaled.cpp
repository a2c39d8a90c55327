// One pass over two blocks of vectors, and the norms of what it leaves.
#include <algorithm>

#include "columns.h"
#include "gmvae/graph.h"
#include "threads.h"

namespace gmvae {
namespace {

template <int W>
void subtract_columns(const SubtractArgs& a, std::int64_t chunk, std::int64_t first) {
  double scale[W], sum[W] = {};
  std::copy(a.coefficients + first, a.coefficients + first + W, scale);
  const std::int64_t end = std::min(a.rows, (chunk + 1) * kSumRows);
  for (std::int64_t row = chunk * kSumRows; row < end; ++row) {
    const double* const x = a.x + row * a.width + first;
    double* const y = a.y + row * a.width + first;
    for (int c = 0; c < W; ++c) {
      const double value = y[c] - scale[c] * x[c];
      y[c] = value;
      sum[c] += value * value;
    }
  }
  std::copy(sum, sum + W, a.sums + chunk * a.width + first);
}

}  // namespace

void subtract_scaled_cpu(const SubtractArgs& a, int threads) {
  const std::int64_t chunks = (a.rows + kSumRows - 1) / kSumRows;
  for_each_range(chunks, a.rows * a.width, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t chunk = begin; chunk < end; ++chunk) {
      for_column_groups(
          a.width, [&](auto group, std::int64_t first) { subtract_columns<decltype(group)::value>(a, chunk, first); });
    }
  });
}

}  // namespace gmvae
