// Neighbour lists -> symmetric adjacency. The lists are transposed, and each row merges its own list with the
// one of those that name it, or mutual, takes what both hold.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <numeric>
#include <type_traits>
#include <vector>

#include "gmvae/graph.h"
#include "threads.h"

namespace gmvae {
namespace {

// One row of the lists, in the narrow type. kRoom is a capacity known when compiled, so that whole rows are compared in
// vector registers, or 0 for any length.
template <int kRoom, typename Index>
struct Row {
  std::conditional_t<kRoom == 0, std::vector<Index>, std::array<Index, kRoom>> list, place;
  std::int64_t k;

  explicit Row(std::int64_t k) : k(k) {
    if constexpr (kRoom == 0) {
      list.resize(static_cast<std::size_t>(k));
      place.resize(static_cast<std::size_t>(k));
    }
    std::fill(list.begin(), list.end(), Index(-1));  // beyond k: no node
  }

  void read(const NeighborGraphArgs<Index>& a, std::int64_t row) {
    const std::int64_t* const source = a.neighbors + row * k;
    for (std::int64_t e = 0; e < k; ++e) list[e] = static_cast<Index>(source[e]);
  }

  // The place of an entry in ascending order is the number of those before it: quadratic in k, but without a branch to
  // mispredict, and faster than sorting up to hundreds of neighbours.
  void sort() {
    count(list.data(), list.data() + k, [](auto other, auto mine) { return other < mine; });
  }

  // Whether the sorted list names different nodes, not its own: what sizes and merging rely on.
  bool valid(std::int64_t row) const {
    std::int64_t below = 0, self = 0;
    for (std::size_t e = 0; e < list.size(); ++e) {
      below += place[e];
      self += list[e] == static_cast<Index>(row);
    }
    return self == 0 && below == k * (k - 1) / 2;
  }

  // How many of the partners [begin, end) are in the list, which holds every node once.
  std::int64_t common(const Index* begin, const Index* end) {
    count(begin, end, [](auto other, auto mine) { return other == mine; });
    return std::accumulate(place.begin(), place.end(), std::int64_t(0));
  }

 private:
  // place[e] = number of others in [begin, end) with test(other, list[e]).
  template <class Test>
  void count(const Index* begin, const Index* end, const Test& test) {
    if constexpr (kRoom == 0) {
      for (std::int64_t e = 0; e < k; ++e) {
        Index sum = 0;
        for (const Index* other = begin; other < end; ++other) sum += test(*other, list[e]);
        place[e] = sum;
      }
    } else {
      constexpr int kLanes = 16 / sizeof(Index), kVectors = kRoom / kLanes;
      typedef Index Lanes __attribute__((vector_size(16)));
      Lanes mine[kVectors], sums[kVectors]{};
      std::memcpy(mine, list.data(), sizeof(mine));
      for (const Index* other = begin; other < end; ++other) {
        const Lanes value = *other - Lanes{};
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) sums[v] -= test(value, mine[v]);  // true is -1
      }
      std::memcpy(place.data(), sums, sizeof(sums));
    }
  }
};

// Rows of a bucket, as a power of two. So few buckets that the ends of all fit in the first cache (with 489 instead of
// 245 scattering took 2.5 times as long), but so few rows that their lists fit in the second.
int bucket_bits(std::int64_t n) {
  constexpr std::int64_t kMostBuckets = 256;
  int bits = 11;
  while (bits < 16 && (n >> bits) >= kMostBuckets) ++bits;  // 16 bits are what a place has
  return bits;
}

// Transposes the lists: the partners of row j are the rows that name it, in ascending order, with the weights that they
// give. Scattering entries to rows all over memory would wait for it; so they first go to buckets of rows, which is
// as many streams, and are put in their rows bucket by bucket, in the caches. Every thread takes its own range of
// sources, and within a bucket ranges follow each other, so the order never depends on threads. Not kGood if a node or
// a weight is out of range; what has been written is then without meaning.
template <bool Weighted, typename Index>
NeighborGraphStatus transpose(const NeighborGraphArgs<Index>& a, int threads) {
  constexpr int kMostParts = 64;
  const int bits = bucket_bits(a.n);
  const std::int64_t rows = std::int64_t(1) << bits;
  const int parts = std::min(parts_for(a.n * a.k, threads), kMostParts);
  const std::int64_t buckets = (a.n + rows - 1) >> bits;
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
      ++count[a.neighbors[e] >> bits];
    }
  });
  if (!nodes) return NeighborGraphStatus::kNodeOutOfRange;
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
    bool good = true;
    for (std::int64_t row = begin_of(part); row < begin_of(part + 1); ++row) {
      for (std::int64_t e = row * a.k; e < (row + 1) * a.k; ++e) {
        const std::int64_t place = next[a.neighbors[e] >> bits]++;
        a.partners[place] = static_cast<Index>(row);
        a.places[place] = static_cast<std::uint16_t>(a.neighbors[e] & (rows - 1));
        if constexpr (Weighted) {
          const double weight = a.weights[e];
          good &= weight > 0 && weight <= std::numeric_limits<double>::max();
          a.partner_weights[place] = weight;
        }
      }
    }
    if (!good) weights = false;
  });
  if (!weights) return NeighborGraphStatus::kBadWeight;
  for_each_part(parts, [&](int part) {
    const std::unique_ptr<Index[]> sources(new Index[static_cast<std::size_t>(largest)]);
    const std::unique_ptr<double[]> values(new double[static_cast<std::size_t>(Weighted ? largest : 0)]);
    std::vector<std::int64_t> next(static_cast<std::size_t>(rows + 1));
    for (std::int64_t bucket = buckets * part / parts; bucket < buckets * (part + 1) / parts; ++bucket) {
      const std::int64_t begin = first[bucket], size = first[bucket + 1] - begin, row = bucket << bits;
      const std::uint16_t* const place = a.places + begin;
      std::copy(a.partners + begin, a.partners + begin + size, sources.get());
      if constexpr (Weighted) std::copy(a.partner_weights + begin, a.partner_weights + begin + size, values.get());
      std::fill(next.begin(), next.end(), 0);
      for (std::int64_t e = 0; e < size; ++e) ++next[place[e] + 1];
      next[0] = begin;
      for (std::int64_t r = 0; r < rows && row + r < a.n; ++r) {
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
template <int kRoom, typename Index>
bool lengths(const NeighborGraphArgs<Index>& a, std::int64_t begin, std::int64_t end) {
  Row<kRoom, Index> own(a.k);
  for (std::int64_t row = begin; row < end; ++row) {
    own.read(a, row);
    own.sort();
    if (!own.valid(row)) return false;
    const std::int64_t first = a.partner_starts[row], last = a.partner_starts[row + 1];
    const std::int64_t both = own.common(a.partners + first, a.partners + last);
    a.starts[row + 1] = static_cast<Index>(a.mutual ? both : a.k + last - first - both);
  }
  return true;
}

// Merges both lists of a row. Which one comes next is a coin toss: selected, not branched upon. How many entries come
// out is known, so that nothing else ends the loop.
template <bool Weighted, bool Mutual, int kRoom, typename Index>
void entries(const NeighborGraphArgs<Index>& a, std::int64_t begin, std::int64_t end) {
  constexpr Index kNone = std::numeric_limits<Index>::max();  // after the last of either list
  Row<kRoom, Index> own(a.k);
  const std::unique_ptr<Index[]> columns(new Index[static_cast<std::size_t>(a.k + 1)]);
  const std::unique_ptr<double[]> weights(new double[static_cast<std::size_t>(a.k + 1)]);
  columns[a.k] = kNone;
  weights[a.k] = 0;
  for (std::int64_t row = begin; row < end; ++row) {
    own.read(a, row);
    own.sort();
    for (std::int64_t e = 0; e < a.k; ++e) {
      columns[own.place[e]] = own.list[e];
      if constexpr (Weighted) weights[own.place[e]] = a.weights[row * a.k + e];
    }
    std::int64_t mine = 0, in = a.partner_starts[row], at = a.starts[row];
    const std::int64_t in_end = a.partner_starts[row + 1], at_end = a.starts[row + 1];
    while (at < at_end) {
      const bool more = in < in_end;
      const std::int64_t place = more ? in : 0;
      const Index here = columns[mine], partner = a.partners[place], there = more ? partner : kNone;
      a.columns[at] = std::min(here, there);
      double weight = 1.0;
      if constexpr (Weighted) {
        const double ours = weights[mine], theirs = a.partner_weights[place];
        weight = Mutual ? std::min(ours, theirs) : std::max(here <= there ? ours : 0.0, there <= here ? theirs : 0.0);
      }
      a.values[at] = weight;
      at += Mutual ? here == there : 1;
      mine += here <= there;
      in += there <= here;
    }
  }
}

// Calls function with the capacity of a row of k entries.
template <class Function>
auto with_room(std::int64_t k, const Function& function) {
  if (k <= 8) return function(std::integral_constant<int, 8>());
  if (k <= 12) return function(std::integral_constant<int, 12>());
  if (k <= 16) return function(std::integral_constant<int, 16>());
  if (k <= 32) return function(std::integral_constant<int, 32>());
  return function(std::integral_constant<int, 0>());
}

}  // namespace

template <typename Index>
NeighborGraphStatus neighbor_graph_starts_cpu(const NeighborGraphArgs<Index>& a, int threads) {
  const NeighborGraphStatus status = a.weights ? transpose<true>(a, threads) : transpose<false>(a, threads);
  if (status != NeighborGraphStatus::kGood) return status;
  std::atomic<bool> valid{true};
  for_each_range(a.n, a.n * a.k, threads, [&](std::int64_t begin, std::int64_t end) {
    if (!with_room(a.k, [&](auto room) { return lengths<room()>(a, begin, end); })) valid = false;
  });
  if (!valid) return NeighborGraphStatus::kBadList;
  accumulate(a.n, a.starts);
  return NeighborGraphStatus::kGood;
}

template <typename Index>
void neighbor_graph_entries_cpu(const NeighborGraphArgs<Index>& a, int threads) {
  for_each_range(a.n, a.n * a.k, threads, [&](std::int64_t begin, std::int64_t end) {
    with_room(a.k, [&](auto room) {
      constexpr int kRoom = room();
      if (a.mutual)
        return a.weights ? entries<true, true, kRoom>(a, begin, end) : entries<false, true, kRoom>(a, begin, end);
      a.weights ? entries<true, false, kRoom>(a, begin, end) : entries<false, false, kRoom>(a, begin, end);
    });
  });
}

template NeighborGraphStatus neighbor_graph_starts_cpu<std::int32_t>(const NeighborGraphArgs<std::int32_t>&, int);
template NeighborGraphStatus neighbor_graph_starts_cpu<std::int64_t>(const NeighborGraphArgs<std::int64_t>&, int);
template void neighbor_graph_entries_cpu<std::int32_t>(const NeighborGraphArgs<std::int32_t>&, int);
template void neighbor_graph_entries_cpu<std::int64_t>(const NeighborGraphArgs<std::int64_t>&, int);

}  // namespace gmvae
