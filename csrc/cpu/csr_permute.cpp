// Renumbers the nodes of a graph.
#include <algorithm>
#include <utility>
#include <vector>

#include "gmvae/graph.h"
#include "threads.h"

namespace gmvae {

template <typename Index>
void csr_permute_cpu(const CsrPermuteArgs<Index>& a, int threads) {
  const CsrView<Index> m = a.matrix;
  for_each_range(a.n, a.starts[a.n], threads, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::pair<Index, double>> row;
    for (std::int64_t r = begin; r < end; ++r) {
      row.clear();
      const std::int64_t old = a.order[r], stop = m.starts[old + 1];
      for (std::int64_t e = m.starts[old]; e < stop; ++e) row.emplace_back(a.places[m.columns[e]], m.values[e]);
      std::sort(row.begin(), row.end(), [](const auto& one, const auto& other) { return one.first < other.first; });
      Index at = a.starts[r];
      for (const auto& [column, value] : row) {
        a.columns[at] = column;
        a.values[at++] = value;
      }
    }
  });
}

template void csr_permute_cpu<std::int32_t>(const CsrPermuteArgs<std::int32_t>&, int);
template void csr_permute_cpu<std::int64_t>(const CsrPermuteArgs<std::int64_t>&, int);

}  // namespace gmvae
