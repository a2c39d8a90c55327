#pragma once
// The queries of one leaf, their candidates, and the comparison with the points of another leaf: four queries at a
// time, one vector of points after the other. Distances are found in T; the lists hold a few candidates more than k,
// and float64 decides among them.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels.h"
#include "lanes.h"
#include "rows.h"

namespace gmvae::GMVAE_ISA {

constexpr int kQueries = 4;  // compared with one vector of points at a time

template <typename T>
constexpr T kLargest = std::numeric_limits<T>::max();

// Scratch of one thread, for the queries of one leaf.
template <typename T>
struct LeafQueries {
  T* soa;                  // [d, pad] coordinates
  T* rows;                 // [pad, d]
  T* squared;              // [pad] squared distance to the box looked at last
  T* reach;                // [pad] squared distance below which a point is a candidate; negative behind the last query
  T* slack;                // [pad] what rounding of the coordinates may add to it
  T* found;                // [pad, stride] squared distances of the candidates, ascending from `lead` on
  T* low;                  // [d] box of the queries
  T* high;                 // [d]
  double* exact;           // [capacity]
  std::int32_t* nodes;     // [pad, stride] places of the candidates in the tree's order, -1: none
  std::int32_t* places;    // [pad] of the queries
  std::int32_t* entering;  // [pad] queries that enter a leaf
  std::int64_t* stack;     // [2 levels + 2] nodes to visit
  std::int64_t leaves_read;
  std::int64_t count, pad, capacity, stride, lead;
  T largest_reach;

  T* list(std::int64_t query) const { return found + query * stride + lead; }
  std::int32_t* members(std::int64_t query) const { return nodes + query * stride + lead; }
};

// Hands out 64-byte aligned pieces; without memory it only adds up their sizes.
struct Pieces {
  unsigned char* memory;
  std::int64_t used;

  template <typename U>
  U* take(std::int64_t size) {
    U* const piece = reinterpret_cast<U*>(memory ? memory + used : nullptr);
    used += (size * static_cast<std::int64_t>(sizeof(U)) + 63) / 64 * 64;
    return piece;
  }
};

template <typename T>
LeafQueries<T> lay_out(const KdSearchArgs<T>& a, Pieces& pieces) {
  constexpr std::int64_t W = Lanes<T>::width;
  const KdTree<T>& t = a.tree;
  LeafQueries<T> q{};
  q.pad = t.pad;
  q.lead = W;  // an insertion reads the entry before the list
  q.capacity = (a.k + a.spare + W - 1) / W * W;
  q.stride = q.lead + q.capacity;
  q.soa = pieces.take<T>(t.d * t.pad);
  q.rows = pieces.take<T>(t.pad * t.d);
  q.squared = pieces.take<T>(t.pad);
  q.reach = pieces.take<T>(t.pad);
  q.slack = pieces.take<T>(t.pad);
  q.found = pieces.take<T>(t.pad * q.stride);
  q.low = pieces.take<T>(t.d);
  q.high = pieces.take<T>(t.d);
  q.exact = pieces.take<double>(q.capacity);
  q.nodes = pieces.take<std::int32_t>(t.pad * q.stride);
  q.places = pieces.take<std::int32_t>(t.pad);
  q.entering = pieces.take<std::int32_t>(t.pad);
  q.stack = pieces.take<std::int64_t>(2 * t.levels + 2);
  return q;
}

// The squared distance below which candidates are taken: the k-th so far, and as much more as rounding could hide.
// With u the epsilon of T, coordinates are off by u/2 of themselves, so a true distance r appears as at most
// (r + u (2 |x| + r)) (1 + (d + 4) u); squared, with 2 r s <= r² / 1000 + 1000 s² for the cross term. It ends where the
// list does.
template <typename T>
T reach_of(const LeafQueries<T>& q, std::int64_t query, std::int64_t k, std::int64_t d) {
  const T* const list = q.list(query);
  constexpr T eps = std::numeric_limits<T>::epsilon();
  const T wide = list[k - 1] * (T(1.001) + 4 * static_cast<T>(d + 6) * eps) + q.slack[query];
  return wide < list[q.capacity - 1] ? wide : list[q.capacity - 1];
}

// Puts (value, node) in its place in an ascending list, off whose end the last one falls. Without branches: entry i
// becomes the middle one of what it is, the entry before it and the new value.
template <typename T>
inline void insert(T* list, std::int32_t* members, std::int64_t capacity, T value, std::int32_t node) {
  constexpr int W = Lanes<T>::width;
  typedef std::int32_t Members __attribute__((vector_size(W * sizeof(std::int32_t))));
  const Vec<T> all = splat(value);
  for (std::int64_t i = capacity - W; i >= 0; i -= W) {
    const Vec<T> here = load(list + i), before = load(list + i - 1);
    const auto stays = here <= all, follows = before <= all;
    store<T>(list + i, stays ? here : (follows ? all : before));
    Members mine, previous;
    std::memcpy(&mine, members + i, sizeof(mine));
    std::memcpy(&previous, members + i - 1, sizeof(previous));
    const Members keep = __builtin_convertvector(stays, Members), put = __builtin_convertvector(follows, Members);
    const Members chosen = keep ? mine : (put ? Members{} + node : previous);
    std::memcpy(members + i, &chosen, sizeof(chosen));
  }
}

// Compares Q of them.
template <typename T, int Q>
inline void scan(const KdSearchArgs<T>& a, LeafQueries<T>& q, const std::int32_t* queries, std::int64_t leaf) {
  constexpr int W = Lanes<T>::width;
  const KdTree<T>& t = a.tree;
  const T* const block = t.leaves + leaf * t.d * t.pad;
  const std::int64_t first = t.begin(leaf), size = t.begin(leaf + 1) - first;
  const T* row[Q];
  T reach[Q];
  for (int i = 0; i < Q; ++i) {
    row[i] = q.rows + queries[i] * t.d;
    reach[i] = q.reach[queries[i]];
  }
  for (std::int64_t p = 0; p < size; p += W) {
    Vec<T> sum[Q] = {};
    for (std::int64_t j = 0; j < t.d; ++j) {
      const Vec<T> x = load(block + j * t.pad + p);
      for (int i = 0; i < Q; ++i) {
        const Vec<T> difference = x - row[i][j];
        sum[i] += difference * difference;
      }
    }
    unsigned near[Q], any = 0;
    for (int i = 0; i < Q; ++i) any |= near[i] = lane_mask(sum[i] < splat(reach[i]));
    if (__builtin_expect(any == 0, 1)) continue;
    for (int i = 0; i < Q; ++i) {
      if (!near[i]) continue;
      T values[W];
      store<T>(values, sum[i]);
      for (unsigned left = near[i]; left; left &= left - 1) {
        const int lane = __builtin_ctz(left);
        const auto node = static_cast<std::int32_t>(first + p + lane);
        if (!(values[lane] < reach[i]) || node == q.places[queries[i]]) continue;
        insert(q.list(queries[i]), q.members(queries[i]), q.capacity, values[lane], node);
        reach[i] = reach_of(q, queries[i], a.k, t.d);
      }
    }
  }
  for (int i = 0; i < Q; ++i) q.reach[queries[i]] = reach[i];
}

// Compares queries of the scratch with the points of a leaf.
template <typename T>
void compare(const KdSearchArgs<T>& a, LeafQueries<T>& q, const std::int32_t* queries, std::int64_t count,
             std::int64_t leaf) {
  std::int64_t i = 0;
  for (; i + kQueries <= count; i += kQueries) scan<T, kQueries>(a, q, queries + i, leaf);
  if (i + 2 <= count) scan<T, 2>(a, q, queries + i, leaf), i += 2;
  if (i < count) scan<T, 1>(a, q, queries + i, leaf);
  q.leaves_read += count;
}

// The points of a leaf whose neighbours are wanted.
template <typename T>
void gather(const KdSearchArgs<T>& a, LeafQueries<T>& q, std::int64_t leaf) {
  constexpr int W = Lanes<T>::width;
  constexpr T eps = std::numeric_limits<T>::epsilon();
  const KdTree<T>& t = a.tree;
  const T* const block = t.leaves + leaf * t.d * t.pad;
  q.count = 0;
  for (std::int64_t i = t.begin(leaf); i < t.begin(leaf + 1); ++i) {
    if (a.slots && a.slots[t.order[i]] < 0) continue;
    const std::int64_t query = q.count++;
    T norm = 0;
    for (std::int64_t j = 0; j < t.d; ++j) {
      const T x = block[j * t.pad + i - t.begin(leaf)];
      q.rows[query * t.d + j] = q.soa[j * t.pad + query] = x;
      q.low[j] = query == 0 || x < q.low[j] ? x : q.low[j];
      q.high[j] = query == 0 || x > q.high[j] ? x : q.high[j];
      norm += x * x;
    }
    q.places[query] = static_cast<std::int32_t>(i);
    q.squared[query] = 0;
    q.reach[query] = kLargest<T>;
    q.slack[query] = T(1001) * 16 * eps * eps * norm + static_cast<T>(t.d) * std::numeric_limits<T>::min();
    for (std::int64_t c = -q.lead; c < q.capacity; ++c) {
      q.list(query)[c] = c < 0 ? -kLargest<T> : kLargest<T>;
      q.members(query)[c] = -1;
    }
  }
  for (std::int64_t query = q.count; query % W != 0; ++query) {
    for (std::int64_t j = 0; j < t.d; ++j) q.soa[j * t.pad + query] = q.high[j];
    q.reach[query] = -1;
  }
}

// Decides among a query's candidates in float64.
template <typename T>
void settle(const KdSearchArgs<T>& a, LeafQueries<T>& q, std::int64_t query) {
  const KdTree<T>& t = a.tree;
  const std::int64_t point = t.order[q.places[query]], row = a.slots ? a.slots[point] : point;
  std::int64_t* const indices = a.indices + row * a.k;
  double* const squared = q.exact;
  std::int64_t found = 0;
  for (std::int64_t c = 0; c < q.capacity && q.members(query)[c] >= 0; ++c) {
    const std::int64_t other = t.order[q.members(query)[c]];
    double sum = 0;
    for (std::int64_t j = 0; j < t.d; ++j) {
      const double m = a.points[other * t.d + j] - a.points[point * t.d + j];
      sum += m * m;
    }
    std::int64_t place = found < a.k ? found++ : a.k;
    const auto before = [&](std::int64_t i) { return sum < squared[i] || (sum == squared[i] && other < indices[i]); };
    if (place == a.k && !before(--place)) continue;
    for (; place > 0 && before(place - 1); --place) {
      squared[place] = squared[place - 1];
      indices[place] = indices[place - 1];
    }
    squared[place] = sum;
    indices[place] = other;
  }
  for (std::int64_t i = 0; i < a.k; ++i) {
    if (i >= found) indices[i] = t.n;
    a.distances[row * a.k + i] = i < found ? std::sqrt(squared[i]) : std::numeric_limits<double>::infinity();
  }
  if (a.doubtful) {  // the list was too short for all that rounding makes candidates
    const bool full = q.members(query)[q.capacity - 1] >= 0;
    a.doubtful[row] = full && q.list(query)[q.capacity - 1] <= q.reach[query] && squared[a.k - 1] > 0;
  }
}

}  // namespace gmvae::GMVAE_ISA
