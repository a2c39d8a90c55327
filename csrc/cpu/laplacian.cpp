// Adjacency -> Laplacian, and the check that an adjacency is symmetric.
#include <algorithm>
#include <cmath>
#include <vector>

#include "gmvae/graph.h"
#include "prefetch.h"
#include "threads.h"

namespace gmvae {

template <typename Index>
void laplacian_starts_cpu(const LaplacianArgs<Index>& a, int threads) {
  const CsrView<Index> w = a.adjacency;
  for_each_range(w.rows, w.starts[w.rows], threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const Index size = w.starts[row + 1] - w.starts[row];
      a.starts[row + 1] = size + (size > 0 ? 1 : 0);  // an isolated node has no entry
      if (!a.symmetric) continue;
      double sum = 0;
      for (std::int64_t e = w.starts[row]; e < w.starts[row + 1]; ++e) sum += w.values[e];
      a.inverse_root[row] = size > 0 ? 1.0 / std::sqrt(sum) : 0.0;
    }
  });
  accumulate(w.rows, a.starts);
}

template <typename Index>
void laplacian_entries_cpu(const LaplacianArgs<Index>& a, int threads) {
  constexpr std::int64_t kAhead = 32;  // entries
  const CsrView<Index> w = a.adjacency;
  const std::int64_t entries = w.starts[w.rows];
  for_each_range(w.rows, entries, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      if (w.starts[row] == w.starts[row + 1]) continue;
      // An entry goes where it was in its row, behind the diagonal one place further.
      std::int64_t shift = a.starts[row] - w.starts[row], below = 0;
      double degree = 0;
      for (std::int64_t e = w.starts[row]; e < w.starts[row + 1]; ++e) {
        const Index column = w.columns[e];
        const std::int64_t behind = column > row, to = e + shift + behind;
        double value = w.values[e];
        degree += value;
        below += 1 - behind;
        if (a.symmetric) {  // one product of two factors, whichever triangle it is in: exactly symmetric
          prefetch(a.inverse_root + w.columns[std::min(e + kAhead, entries - 1)]);
          value *= a.inverse_root[row] * a.inverse_root[column];
        }
        a.columns[to] = column;
        a.values[to] = -value;
      }
      const std::int64_t diagonal = a.starts[row] + below;
      a.columns[diagonal] = static_cast<Index>(row);
      a.values[diagonal] = a.symmetric ? 1.0 : degree;
    }
  });
}

// Value of entry (row, column), 0 where there is none. Short rows are counted through, without a branch to mispredict.
template <typename Index>
static double value_at(const CsrView<Index>& m, Index row, Index column) {
  constexpr std::int64_t kShort = 64;
  const std::int64_t begin = m.starts[row], end = m.starts[row + 1];
  std::int64_t place = begin;
  if (end - begin <= kShort) {
    for (std::int64_t e = begin; e < end; ++e) place += m.columns[e] < column;
  } else {
    place = std::lower_bound(m.columns + begin, m.columns + end, column) - m.columns;
  }
  return place < end && m.columns[place] == column ? m.values[place] : 0.0;
}

template <typename Index>
double asymmetry_cpu(const CsrView<Index>& m, int threads) {
  constexpr std::int64_t kFar = 24, kNear = 8;  // entries ahead: first where a row starts, then the row itself
  const std::int64_t entries = m.starts[m.rows];
  const int parts = parts_for(entries, threads);
  std::vector<double> largest(static_cast<std::size_t>(parts), 0.0);
  for_each_part(parts, [&](int part) {
    double worst = 0;
    for (std::int64_t row = m.rows * part / parts; row < m.rows * (part + 1) / parts; ++row) {
      for (std::int64_t e = m.starts[row]; e < m.starts[row + 1]; ++e) {
        prefetch(m.starts + m.columns[std::min(e + kFar, entries - 1)]);
        const std::int64_t next = m.starts[m.columns[std::min(e + kNear, entries - 1)]];
        prefetch(m.columns + next);
        prefetch(m.values + next);
        const double opposite = value_at(m, m.columns[e], static_cast<Index>(row));
        worst = std::max(worst, std::abs(m.values[e] - opposite));
      }
    }
    largest[static_cast<std::size_t>(part)] = worst;
  });
  return *std::max_element(largest.begin(), largest.end());
}

template void laplacian_starts_cpu<std::int32_t>(const LaplacianArgs<std::int32_t>&, int);
template void laplacian_starts_cpu<std::int64_t>(const LaplacianArgs<std::int64_t>&, int);
template void laplacian_entries_cpu<std::int32_t>(const LaplacianArgs<std::int32_t>&, int);
template void laplacian_entries_cpu<std::int64_t>(const LaplacianArgs<std::int64_t>&, int);
template double asymmetry_cpu<std::int32_t>(const CsrView<std::int32_t>&, int);
template double asymmetry_cpu<std::int64_t>(const CsrView<std::int64_t>&, int);

}  // namespace gmvae
