// Neighbour lists -> symmetric adjacency. Union: the lists are transposed, and each row merges its own list with the
// one of those that name it. Mutual: each entry is looked up in the list of its other end.
#include <algorithm>
#include <atomic>
#include <memory>
#include <stdexcept>

#include "gmvae/graph.h"
#include "prefetch.h"
#include "threads.h"

namespace gmvae {
namespace {

constexpr std::int64_t kAhead = 16;  // entries between a prefetch and its use

// One row of the lists, as it stands and in ascending order. In the narrow type: it is what makes counting fast.
template <bool Weighted, typename Index>
struct Row {
  std::unique_ptr<Index[]> list;      // [k]
  std::unique_ptr<Index[]> columns;   // [k] sorted
  std::unique_ptr<double[]> weights;  // [k] in the order of columns

  explicit Row(std::int64_t k)
      : list(new Index[static_cast<std::size_t>(k)]),
        columns(new Index[static_cast<std::size_t>(k)]),
        weights(new double[static_cast<std::size_t>(k)]) {
    std::fill(weights.get(), weights.get() + k, 1.0);
  }

  void read(const NeighborGraphArgs<Index>& a, std::int64_t row) {
    const std::int64_t* const source = a.neighbors + row * a.k;
    for (std::int64_t e = 0; e < a.k; ++e) list[e] = static_cast<Index>(source[e]);
  }

  // Whether the list names different nodes, not its own: what sizes and merging rely on.
  bool valid(std::int64_t row, std::int64_t k) const {
    std::int64_t below = 0;
    for (std::int64_t e = 0; e < k; ++e) {
      Index count = 0;
      for (std::int64_t other = 0; other < k; ++other) count += list[other] < list[e];
      below += list[e] == row ? k * k : count;
    }
    return below == k * (k - 1) / 2;
  }

  // The place of an entry is the number of those before it: quadratic in k, but without a branch to mispredict, and
  // faster than sorting up to hundreds of neighbours.
  void sort(const NeighborGraphArgs<Index>& a, std::int64_t row) {
    for (std::int64_t e = 0; e < a.k; ++e) {
      const Index column = list[e];
      Index place = 0;
      for (std::int64_t other = 0; other < a.k; ++other) place += list[other] < column;
      columns[place] = column;
      if constexpr (Weighted) weights[place] = a.weights[row * a.k + e];
    }
  }
};

// Transposes the lists: the partners of row j are the entries that name it, in order of their sources, each given by
// its position in the lists if there are weights to look up, else by its source alone. Every thread counts and places
// its own range of sources; within a row ranges follow each other, so the order never depends on threads.
template <typename Index>
void transpose(const NeighborGraphArgs<Index>& a, int threads) {
  constexpr int kMostParts = 8;  // each has n counters
  const int parts = std::min(parts_for(a.n * a.k, threads), kMostParts);
  const std::unique_ptr<Index[]> counters(new Index[static_cast<std::size_t>(parts * a.n)]);
  for_each_part(parts, [&](int part) {
    Index* const count = counters.get() + part * a.n;
    std::fill(count, count + a.n, Index(0));
    const std::int64_t stop = a.n * (part + 1) / parts * a.k;
    for (std::int64_t e = a.n * part / parts * a.k; e < stop; ++e) ++count[a.neighbors[e]];
  });
  Index total = 0;
  for (std::int64_t row = 0; row < a.n; ++row) {
    a.partner_starts[row] = total;
    for (int part = 0; part < parts; ++part) {  // counts become the place of the range's next entry
      const Index count = counters[part * a.n + row];
      counters[part * a.n + row] = total;
      total += count;
    }
  }
  a.partner_starts[a.n] = total;
  for_each_part(parts, [&](int part) {
    Index* const next = counters.get() + part * a.n;
    for (std::int64_t row = a.n * part / parts; row < a.n * (part + 1) / parts; ++row) {
      for (std::int64_t e = row * a.k; e < (row + 1) * a.k; ++e) {
        a.partners[next[a.neighbors[e]]++] = static_cast<Index>(a.weights ? e : row);
      }
    }
  });
}

template <bool Weighted, typename Index>
Index source_of(const NeighborGraphArgs<Index>& a, Index partner) {
  return Weighted ? static_cast<Index>(partner / static_cast<Index>(a.k)) : partner;
}

// A row holds its own list and the partners that are not in it. False if a list is not valid.
template <bool Weighted, typename Index>
bool union_lengths(const NeighborGraphArgs<Index>& a, std::int64_t begin, std::int64_t end) {
  Row<Weighted, Index> own(a.k);
  const Index* const list = own.list.get();
  for (std::int64_t row = begin; row < end; ++row) {
    own.read(a, row);
    if (!own.valid(row, a.k)) return false;
    std::int64_t length = a.k;
    for (std::int64_t p = a.partner_starts[row]; p < a.partner_starts[row + 1]; ++p) {
      const Index source = source_of<Weighted>(a, a.partners[p]);
      Index found = 0;
      for (std::int64_t e = 0; e < a.k; ++e) found |= list[e] == source;
      length += 1 - found;
    }
    a.starts[row + 1] = static_cast<Index>(length);
  }
  return true;
}

// Merges both lists of a row. Which one comes next is a coin toss: selected, not branched upon.
template <bool Weighted, typename Index>
void union_entries(const NeighborGraphArgs<Index>& a, std::int64_t begin, std::int64_t end) {
  Row<Weighted, Index> sorted(a.k);
  const Index* const columns = sorted.columns.get();
  const double* const weights = sorted.weights.get();
  const std::int64_t last = a.partner_starts[end] - 1;
  for (std::int64_t row = begin; row < end; ++row) {
    sorted.read(a, row);
    sorted.sort(a, row);
    std::int64_t at = a.starts[row], own = 0, in = a.partner_starts[row];
    const std::int64_t in_end = a.partner_starts[row + 1];
    if constexpr (Weighted) {
      for (std::int64_t p = in; p < in_end; ++p) prefetch(a.weights + a.partners[std::min(p + 2 * kAhead, last)]);
    }
    const auto put = [&](Index column, double weight) {
      a.columns[at] = column;
      a.values[at++] = weight;
    };
    while (own < a.k && in < in_end) {
      const Index mine = columns[own], theirs = source_of<Weighted>(a, a.partners[in]);
      double weight = 1.0;
      if constexpr (Weighted) {
        weight = std::max(mine <= theirs ? weights[own] : 0.0, theirs <= mine ? a.weights[a.partners[in]] : 0.0);
      }
      put(std::min(mine, theirs), weight);
      own += mine <= theirs;
      in += theirs <= mine;
    }
    for (; own < a.k; ++own) put(columns[own], weights[own]);
    for (; in < in_end; ++in) {
      put(source_of<Weighted>(a, a.partners[in]), Weighted ? a.weights[a.partners[in]] : 1.0);
    }
  }
}

// Finds in the list of each neighbour the entry that names this row; partners hold its position, or -1. False if a list
// is not valid.
template <typename Index>
bool mutual_lengths(const NeighborGraphArgs<Index>& a, std::int64_t begin, std::int64_t end) {
  const std::int64_t last = end * a.k - 1;
  Row<false, Index> own(a.k);
  for (std::int64_t row = begin; row < end; ++row) {
    own.read(a, row);
    if (!own.valid(row, a.k)) return false;
    Index length = 0;
    for (std::int64_t e = row * a.k; e < (row + 1) * a.k; ++e) {
      const std::int64_t* const ahead = a.neighbors + a.neighbors[std::min(e + kAhead, last)] * a.k;
      prefetch(ahead);
      prefetch(ahead + a.k - 1);
      const std::int64_t first = a.neighbors[e] * a.k;
      std::int64_t place = -1;
      for (std::int64_t other = 0; other < a.k; ++other) place = a.neighbors[first + other] == row ? other : place;
      a.partners[e] = place < 0 ? Index(-1) : static_cast<Index>(first + place);
      length += place >= 0;
    }
    a.starts[row + 1] = length;
  }
  return true;
}

// The mutual entries of a row, sorted by insertion.
template <typename Index>
void mutual_entries(const NeighborGraphArgs<Index>& a, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) {
    const std::int64_t first = a.starts[row];
    std::int64_t stop = first;
    for (std::int64_t e = row * a.k; e < (row + 1) * a.k; ++e) {
      if (a.partners[e] < 0) continue;
      const auto column = static_cast<Index>(a.neighbors[e]);
      std::int64_t at = stop++;
      for (; at > first && a.columns[at - 1] > column; --at) {
        a.columns[at] = a.columns[at - 1];
        a.values[at] = a.values[at - 1];
      }
      a.columns[at] = column;
      a.values[at] = a.weights ? std::min(a.weights[e], a.weights[a.partners[e]]) : 1.0;
    }
  }
}

}  // namespace

template <typename Index>
void neighbor_graph_starts_cpu(const NeighborGraphArgs<Index>& a, int threads) {
  if (!a.mutual) transpose(a, threads);
  std::atomic<bool> valid{true};
  for_each_range(a.n, a.n * a.k, threads, [&](std::int64_t begin, std::int64_t end) {
    const bool good = a.mutual    ? mutual_lengths(a, begin, end)
                      : a.weights ? union_lengths<true>(a, begin, end)
                                  : union_lengths<false>(a, begin, end);
    if (!good) valid = false;
  });
  if (!valid) throw std::invalid_argument("neighbors must name different nodes in each row, and never the row's own");
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
