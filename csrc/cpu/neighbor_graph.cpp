// Neighbour lists -> symmetric adjacency. The lists are transposed, and each row merges its own list with the
// one of those that name it, or mutual, takes what both hold.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "gmvae/graph.h"
#include "threads.h"

namespace gmvae {
namespace {

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

constexpr int kBucketBits = 11;  // rows of a bucket: their lists fit in the second cache

// Transposes the lists: the partners of row j are the rows that name it, in ascending order, with the weights that they
// give. Scattering entries to rows all over memory would wait for it; so they first go to buckets of rows, which is
// as many streams, and are put in their rows bucket by bucket, in the caches. Every thread takes its own range of
// sources, and within a bucket ranges follow each other, so the order never depends on threads. False, with nothing
// done, if a node or a weight is out of range.
template <bool Weighted, typename Index>
NeighborGraphStatus transpose(const NeighborGraphArgs<Index>& a, int threads) {
  constexpr int kMostParts = 64;
  constexpr std::int64_t kRows = std::int64_t(1) << kBucketBits;
  const int parts = std::min(parts_for(a.n * a.k, threads), kMostParts);
  const std::int64_t buckets = (a.n + kRows - 1) >> kBucketBits;
  const auto begin_of = [&](int part) { return a.n * part / parts; };
  std::vector<std::int64_t> places(static_cast<std::size_t>(parts * buckets), 0);
  std::atomic<bool> nodes{true}, weights{true};
  for_each_part(parts, [&](int part) {
    std::int64_t* const count = places.data() + part * buckets;
    const std::int64_t begin = begin_of(part) * a.k, end = begin_of(part + 1) * a.k;
    for (std::int64_t e = begin; e < end; ++e) {
      if (a.neighbors[e] < 0 || a.neighbors[e] >= a.n) {
        nodes = false;
        return;
      }
      ++count[a.neighbors[e] >> kBucketBits];
    }
    if constexpr (Weighted) {
      int wrong = 0;  // an int, for a loop of vectors
      for (std::int64_t e = begin; e < end; ++e) {
        wrong |= !(a.weights[e] > 0 && a.weights[e] <= std::numeric_limits<double>::max());
      }
      if (wrong) weights = false;
    }
  });
  if (!nodes) return NeighborGraphStatus::kNodeOutOfRange;
  if (!weights) return NeighborGraphStatus::kBadWeight;
  std::vector<std::int64_t> first(static_cast<std::size_t>(buckets + 1), 0);
  std::int64_t total = 0, largest = 0;
  for (std::int64_t bucket = 0; bucket < buckets; ++bucket) {
    first[bucket] = total;
    for (int part = 0; part < parts; ++part) {  // counts become the place of the range's next entry
      std::int64_t& place = places[static_cast<std::size_t>(part * buckets + bucket)];
      const std::int64_t count = place;
      place = total;
      total += count;
    }
    largest = std::max(largest, total - first[bucket]);
  }
  first[buckets] = total;
  for_each_part(parts, [&](int part) {
    std::int64_t* const next = places.data() + part * buckets;
    for (std::int64_t row = begin_of(part); row < begin_of(part + 1); ++row) {
      for (std::int64_t e = row * a.k; e < (row + 1) * a.k; ++e) {
        const std::int64_t place = next[a.neighbors[e] >> kBucketBits]++;
        a.partners[place] = static_cast<Index>(row);
        a.places[place] = static_cast<std::uint16_t>(a.neighbors[e] & (kRows - 1));
        if constexpr (Weighted) a.partner_weights[place] = a.weights[e];
      }
    }
  });
  for_each_part(parts, [&](int part) {
    const std::unique_ptr<Index[]> sources(new Index[static_cast<std::size_t>(largest)]);
    const std::unique_ptr<double[]> values(new double[static_cast<std::size_t>(Weighted ? largest : 0)]);
    std::int64_t next[kRows + 1];
    for (std::int64_t bucket = buckets * part / parts; bucket < buckets * (part + 1) / parts; ++bucket) {
      const std::int64_t begin = first[bucket], size = first[bucket + 1] - begin, row = bucket << kBucketBits;
      const std::uint16_t* const place = a.places + begin;
      std::copy(a.partners + begin, a.partners + begin + size, sources.get());
      if constexpr (Weighted) std::copy(a.partner_weights + begin, a.partner_weights + begin + size, values.get());
      std::fill(next, next + kRows + 1, 0);
      for (std::int64_t e = 0; e < size; ++e) ++next[place[e] + 1];
      next[0] = begin;
      for (std::int64_t r = 0; r < kRows && row + r < a.n; ++r) {
        next[r + 1] += next[r];
        a.partner_starts[row + r] = static_cast<Index>(next[r]);
      }
      for (std::int64_t e = 0; e < size; ++e) {
        const std::int64_t to = next[place[e]]++;
        a.partners[to] = sources[e];
        if constexpr (Weighted) a.partner_weights[to] = values[e];
      }
    }
  });
  a.partner_starts[a.n] = static_cast<Index>(total);
  return NeighborGraphStatus::kGood;
}

// A row of the union holds its own list and the partners that are not in it; of the intersection, those that are. False
// if a list is not valid.
template <typename Index>
bool lengths(const NeighborGraphArgs<Index>& a, std::int64_t begin, std::int64_t end) {
  Row<false, Index> own(a.k);
  const Index* const list = own.list.get();
  for (std::int64_t row = begin; row < end; ++row) {
    own.read(a, row);
    if (!own.valid(row, a.k)) return false;
    std::int64_t both = 0;
    for (std::int64_t p = a.partner_starts[row]; p < a.partner_starts[row + 1]; ++p) {
      const Index source = a.partners[p];
      Index found = 0;
      for (std::int64_t e = 0; e < a.k; ++e) found |= list[e] == source;
      both += found;
    }
    const std::int64_t partners = a.partner_starts[row + 1] - a.partner_starts[row];
    a.starts[row + 1] = static_cast<Index>(a.mutual ? both : a.k + partners - both);
  }
  return true;
}

// Merges both lists of a row. Which one comes next is a coin toss: selected, not branched upon.
template <bool Weighted, typename Index>
void union_entries(const NeighborGraphArgs<Index>& a, std::int64_t begin, std::int64_t end) {
  Row<Weighted, Index> sorted(a.k);
  const Index* const columns = sorted.columns.get();
  const double* const weights = sorted.weights.get();
  for (std::int64_t row = begin; row < end; ++row) {
    sorted.read(a, row);
    sorted.sort(a, row);
    std::int64_t at = a.starts[row], own = 0, in = a.partner_starts[row];
    const std::int64_t in_end = a.partner_starts[row + 1];
    const auto put = [&](Index column, double weight) {
      a.columns[at] = column;
      a.values[at++] = weight;
    };
    while (own < a.k && in < in_end) {
      const Index mine = columns[own], theirs = a.partners[in];
      double weight = 1.0;
      if constexpr (Weighted) {
        weight = std::max(mine <= theirs ? weights[own] : 0.0, theirs <= mine ? a.partner_weights[in] : 0.0);
      }
      put(std::min(mine, theirs), weight);
      own += mine <= theirs;
      in += theirs <= mine;
    }
    for (; own < a.k; ++own) put(columns[own], weights[own]);
    for (; in < in_end; ++in) put(a.partners[in], Weighted ? a.partner_weights[in] : 1.0);
  }
}

// What both lists of a row hold. Partners ascend, so their order is that of the result.
template <bool Weighted, typename Index>
void mutual_entries(const NeighborGraphArgs<Index>& a, std::int64_t begin, std::int64_t end) {
  Row<Weighted, Index> own(a.k);
  const Index* const list = own.list.get();
  for (std::int64_t row = begin; row < end; ++row) {
    own.read(a, row);
    std::int64_t at = a.starts[row];
    for (std::int64_t p = a.partner_starts[row]; p < a.partner_starts[row + 1]; ++p) {
      const Index source = a.partners[p];
      Index place = -1;
      for (std::int64_t e = 0; e < a.k; ++e) place = list[e] == source ? static_cast<Index>(e) : place;
      if (place < 0) continue;
      a.columns[at] = source;
      a.values[at++] = Weighted ? std::min(a.weights[row * a.k + place], a.partner_weights[p]) : 1.0;
    }
  }
}

}  // namespace

template <typename Index>
NeighborGraphStatus neighbor_graph_starts_cpu(const NeighborGraphArgs<Index>& a, int threads) {
  const NeighborGraphStatus status = a.weights ? transpose<true>(a, threads) : transpose<false>(a, threads);
  if (status != NeighborGraphStatus::kGood) return status;
  std::atomic<bool> valid{true};
  for_each_range(a.n, a.n * a.k, threads, [&](std::int64_t begin, std::int64_t end) {
    if (!lengths(a, begin, end)) valid = false;
  });
  if (!valid) return NeighborGraphStatus::kBadList;
  accumulate(a.n, a.starts);
  return NeighborGraphStatus::kGood;
}

template <typename Index>
void neighbor_graph_entries_cpu(const NeighborGraphArgs<Index>& a, int threads) {
  for_each_range(a.n, a.n * a.k, threads, [&](std::int64_t begin, std::int64_t end) {
    if (a.mutual) return a.weights ? mutual_entries<true>(a, begin, end) : mutual_entries<false>(a, begin, end);
    a.weights ? union_entries<true>(a, begin, end) : union_entries<false>(a, begin, end);
  });
}

template NeighborGraphStatus neighbor_graph_starts_cpu<std::int32_t>(const NeighborGraphArgs<std::int32_t>&, int);
template NeighborGraphStatus neighbor_graph_starts_cpu<std::int64_t>(const NeighborGraphArgs<std::int64_t>&, int);
template void neighbor_graph_entries_cpu<std::int32_t>(const NeighborGraphArgs<std::int32_t>&, int);
template void neighbor_graph_entries_cpu<std::int64_t>(const NeighborGraphArgs<std::int64_t>&, int);

}  // namespace gmvae
