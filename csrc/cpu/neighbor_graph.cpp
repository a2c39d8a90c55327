// Neighbour lists -> symmetric adjacency. Union: the lists are transposed, and each row merges its own list with the
// one of those that name it. Mutual: each entry is looked up in the list of its other end.
#include <algorithm>

#include "gmvae/graph.h"
#include "prefetch.h"
#include "threads.h"

namespace gmvae {
namespace {

constexpr std::int64_t kAhead = 16;  // entries between a prefetch and its use

// Copies the rows in ascending order. The place of an entry is the number of those before it: quadratic in k, but
// without a branch to mispredict, and faster than sorting up to hundreds of neighbours.
template <typename Index>
void sort_rows(const NeighborGraphArgs<Index>& a, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t first = row * a.k;
    const std::int64_t* const list = a.neighbors + first;
    for (std::int64_t e = 0; e < a.k; ++e) {
      std::int64_t place = first;
      for (std::int64_t other = 0; other < e; ++other) place += list[other] <= list[e];
      for (std::int64_t other = e + 1; other < a.k; ++other) place += list[other] < list[e];
      a.sorted[place] = static_cast<Index>(list[e]);
      if (a.weights) a.sorted_weights[place] = a.weights[first + e];
    }
  }
}

// Transposes the lists: the partners of row j are the edges that end there, in order of their sources, each given by
// its position in `sorted` if there are weights to look up, else by its source alone. Every thread reads all lists
// and serves its own range of targets: no counters to share or to add up, and the order never depends on threads.
template <typename Index>
void transpose(const NeighborGraphArgs<Index>& a, int threads) {
  const std::int64_t edges = a.n * a.k;
  Index* const starts = a.partner_starts;
  for_each_range(a.n, edges, threads, [&](std::int64_t begin, std::int64_t end) {
    std::fill(starts + begin, starts + end, Index(0));
    for (std::int64_t e = 0; e < edges; ++e) {
      if (a.sorted[e] >= begin && a.sorted[e] < end) ++starts[a.sorted[e]];
    }
  });
  for (std::int64_t row = 1; row < a.n; ++row) starts[row] += starts[row - 1];  // now where each row ends
  starts[a.n] = static_cast<Index>(edges);
  for_each_range(a.n, edges, threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = a.n; row-- > 0;) {
      for (std::int64_t e = (row + 1) * a.k; e-- > row * a.k;) {
        if (a.sorted[e] < begin || a.sorted[e] >= end) continue;
        a.partners[--starts[a.sorted[e]]] = static_cast<Index>(a.weights ? e : row);
      }
    }
  });
}

template <bool Weighted, typename Index>
Index source_of(const NeighborGraphArgs<Index>& a, Index partner) {
  return Weighted ? static_cast<Index>(partner / static_cast<Index>(a.k)) : partner;
}

// A row holds its own list and the partners that are not in it.
template <bool Weighted, typename Index>
void union_lengths(const NeighborGraphArgs<Index>& a, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) {
    const Index* const own = a.sorted + row * a.k;
    std::int64_t length = a.k;
    for (std::int64_t p = a.partner_starts[row]; p < a.partner_starts[row + 1]; ++p) {
      const Index source = source_of<Weighted>(a, a.partners[p]);
      int found = 0;
      for (std::int64_t e = 0; e < a.k; ++e) found |= own[e] == source;
      length += 1 - found;
    }
    a.starts[row + 1] = static_cast<Index>(length);
  }
}

// Merges both lists of a row. Which one comes next is a coin toss: selected, not branched upon.
template <bool Weighted, typename Index>
void union_entries(const NeighborGraphArgs<Index>& a, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) {
    std::int64_t at = a.starts[row], own = row * a.k, in = a.partner_starts[row];
    const std::int64_t own_end = own + a.k, in_end = a.partner_starts[row + 1];
    const auto put = [&](Index column, double weight) {
      a.columns[at] = column;
      a.values[at++] = weight;
    };
    while (own < own_end && in < in_end) {
      const Index mine = a.sorted[own], theirs = source_of<Weighted>(a, a.partners[in]);
      double weight = 1.0;
      if constexpr (Weighted) {
        const double w_mine = a.sorted_weights[own], w_theirs = a.sorted_weights[a.partners[in]];
        weight = std::max(mine <= theirs ? w_mine : 0.0, theirs <= mine ? w_theirs : 0.0);
      }
      put(std::min(mine, theirs), weight);
      own += mine <= theirs;
      in += theirs <= mine;
    }
    for (; own < own_end; ++own) put(a.sorted[own], Weighted ? a.sorted_weights[own] : 1.0);
    for (; in < in_end; ++in) {
      put(source_of<Weighted>(a, a.partners[in]), Weighted ? a.sorted_weights[a.partners[in]] : 1.0);
    }
  }
}

// Partner of an entry: the position of the opposite edge, or -1.
template <typename Index>
void mutual_lengths(const NeighborGraphArgs<Index>& a, std::int64_t begin, std::int64_t end) {
  const std::int64_t last = end * a.k;
  for (std::int64_t row = begin; row < end; ++row) {
    Index length = 0;
    for (std::int64_t e = row * a.k; e < (row + 1) * a.k; ++e) {
      prefetch(a.sorted + a.sorted[std::min(e + kAhead, last - 1)] * a.k);
      const std::int64_t list = a.sorted[e] * a.k;
      std::int64_t place = list;
      for (std::int64_t other = list; other < list + a.k; ++other) place += a.sorted[other] < row;
      const bool both = place < list + a.k && a.sorted[place] == row;
      a.partners[e] = both ? static_cast<Index>(place) : Index(-1);
      length += both;
    }
    a.starts[row + 1] = length;
  }
}

template <typename Index>
void mutual_entries(const NeighborGraphArgs<Index>& a, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) {
    Index at = a.starts[row];
    for (std::int64_t e = row * a.k; e < (row + 1) * a.k; ++e) {
      if (a.partners[e] < 0) continue;
      a.columns[at] = a.sorted[e];
      a.values[at++] = a.weights ? std::min(a.sorted_weights[e], a.sorted_weights[a.partners[e]]) : 1.0;
    }
  }
}

}  // namespace

template <typename Index>
void neighbor_graph_starts_cpu(const NeighborGraphArgs<Index>& a, int threads) {
  const std::int64_t edges = a.n * a.k;
  for_each_range(a.n, edges, threads, [&](std::int64_t begin, std::int64_t end) { sort_rows(a, begin, end); });
  if (!a.mutual) transpose(a, threads);
  for_each_range(a.n, edges, threads, [&](std::int64_t begin, std::int64_t end) {
    if (a.mutual) return mutual_lengths(a, begin, end);
    a.weights ? union_lengths<true>(a, begin, end) : union_lengths<false>(a, begin, end);
  });
  accumulate(a.n, a.starts);
}

template <typename Index>
void neighbor_graph_entries_cpu(const NeighborGraphArgs<Index>& a, int threads) {
  for_each_range(a.n, a.n * a.k, threads, [&](std::int64_t begin, std::int64_t end) {
    if (a.mutual) return mutual_entries(a, begin, end);
    a.weights ? union_entries<true>(a, begin, end) : union_entries<false>(a, begin, end);
  });
}

template void neighbor_graph_starts_cpu<std::int32_t>(const NeighborGraphArgs<std::int32_t>&, int);
template void neighbor_graph_starts_cpu<std::int64_t>(const NeighborGraphArgs<std::int64_t>&, int);
template void neighbor_graph_entries_cpu<std::int32_t>(const NeighborGraphArgs<std::int32_t>&, int);
template void neighbor_graph_entries_cpu<std::int64_t>(const NeighborGraphArgs<std::int64_t>&, int);

}  // namespace gmvae
