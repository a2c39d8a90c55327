#pragma once
// The approximate way through a k-d tree: every query reads the leaves whose means are nearest to it, a fixed number of
// them. The leaves serve as inverted lists; their means cost no training.
#include "leaf_queries.h"

namespace gmvae::GMVAE_ISA {

// Scratch of one thread.
template <typename T>
struct LeafQueues {
  T* squared;            // [kQueries, means_pad] squared distances to the means
  std::int32_t* queue;   // [leaves, pad] queries that read a leaf
  std::int32_t* length;  // [leaves]
};

template <typename T>
LeafQueues<T> lay_out_queues(const KdSearchArgs<T>& a, Pieces& pieces) {
  const std::int64_t leaves = a.tree.leaf_count();
  return {pieces.take<T>(kQueries * a.tree.means_pad()), pieces.take<std::int32_t>(leaves * a.tree.pad),
          pieces.take<std::int32_t>(leaves)};
}

// Squared distances [Q, means_pad] of rows [Q, d] to all means.
template <typename T, int Q>
inline void to_means(const KdTree<T>& t, const T* rows, T* squared) {
  constexpr int W = Lanes<T>::width;
  const std::int64_t stride = t.means_pad();
  for (std::int64_t p = 0; p < stride; p += W) {
    Vec<T> sum[Q] = {};
    const T* const block = t.means + t.mean(p, 0);
    for (std::int64_t j = 0; j < t.d; ++j) {
      const Vec<T> x = load(block + j * kLeafMultiple);
      for (int i = 0; i < Q; ++i) {
        const Vec<T> difference = x - rows[i * t.d + j];
        sum[i] += difference * difference;
      }
    }
    for (int i = 0; i < Q; ++i) store<T>(squared + i * stride + p, sum[i]);
  }
}

// Where the smallest of the values is first.
template <typename T>
std::int64_t place_of_least(const T* values, std::int64_t size) {
  constexpr int W = Lanes<T>::width;
  Vec<T> least = load(values);
  for (std::int64_t p = W; p < size; p += W) {
    const Vec<T> here = load(values + p);
    least = here < least ? here : least;
  }
  T value = least[0];
  for (int l = 1; l < W; ++l) value = least[l] < value ? least[l] : value;
  std::int64_t place = 0;
  while (values[place] != value) ++place;
  return place;
}

template <typename T>
void assign_leaf(const KdTree<T>& t, std::int64_t leaf, T* scratch, std::int32_t* assigned) {
  const std::int64_t first = t.begin(leaf), size = t.begin(leaf + 1) - first, stride = t.means_pad();
  const T* const block = t.leaves + leaf * t.d * t.pad;
  T* const rows = scratch + kQueries * stride;
  for (std::int64_t i = 0; i < size; i += kQueries) {
    const std::int64_t some = std::min<std::int64_t>(kQueries, size - i);
    for (std::int64_t r = 0; r < kQueries; ++r) {
      for (std::int64_t j = 0; j < t.d; ++j) rows[r * t.d + j] = block[j * t.pad + i + std::min(r, some - 1)];
    }
    to_means<T, kQueries>(t, rows, scratch);
    for (std::int64_t r = 0; r < some; ++r) {
      assigned[t.order[first + i + r]] = static_cast<std::int32_t>(place_of_least(scratch + r * stride, stride));
    }
  }
}

template <typename T>
std::int64_t count_below(const T* values, std::int64_t size, T limit) {
  constexpr int W = Lanes<T>::width;
  const Vec<T> all = splat(limit);
  typename Lanes<T>::I below{};
  for (std::int64_t p = 0; p < size; p += W) below -= load(values + p) < all;
  std::int64_t count = 0;
  for (int l = 0; l < W; ++l) count += below[l];
  return count;
}

// A value with at least `wanted` of the others below it, and few more: at most a sixteenth unless many are equal. The
// search begins at `guess`; counts grow like the power d/2 of a squared distance.
template <typename T>
T limit_for(const T* values, std::int64_t size, std::int64_t wanted, std::int64_t d, T guess) {
  constexpr int kMostSteps = 40;
  T low = 0, high = kLargest<T>;
  for (int step = 0; step < kMostSteps; ++step) {
    const std::int64_t count = count_below(values, size, guess);
    if (count >= wanted && count <= wanted + wanted / 16) return guess;
    (count < wanted ? low : high) = guess;
    const T ratio = (static_cast<T>(wanted) * T(1.03)) / static_cast<T>(count > 0 ? count : 1);
    const T power = guess * std::pow(ratio, T(2) / static_cast<T>(d));
    const bool inside = step < kMostSteps / 2 && power > low && power < high;
    guess = inside ? power : high < kLargest<T> ? (low + high) / 2 : 2 * guess + std::numeric_limits<T>::min();
  }
  return high;
}

template <typename T>
void search_nearest_leaves(const KdSearchArgs<T>& a, LeafQueries<T>& q, const LeafQueues<T>& queues,
                           std::int64_t leaf) {
  constexpr int W = Lanes<T>::width;
  const KdTree<T>& t = a.tree;
  gather(a, q, leaf);
  if (q.count == 0) return;
  const std::int64_t leaves = t.leaf_count(), stride = t.means_pad();
  std::fill(queues.length, queues.length + leaves, 0);
  T limit = 0;
  for (std::int64_t i = 0; i < q.count; ++i) {
    T* const squared = queues.squared + i % kQueries * stride;
    if (i % kQueries == 0) {
      if (q.count - i >= kQueries) {
        to_means<T, kQueries>(t, q.rows + i * t.d, squared);
      } else {
        for (std::int64_t r = i; r < q.count; ++r) to_means<T, 1>(t, q.rows + r * t.d, squared + (r - i) * stride);
      }
    }
    if (i == 0) limit = squared[leaf];
    limit = limit_for(squared, stride, a.nearest, t.d, limit);
    for (std::int64_t p = 0; p < stride; p += W) {
      for (unsigned near = lane_mask(load(squared + p) < splat(limit)); near; near &= near - 1) {
        const std::int64_t other = p + __builtin_ctz(near);
        queues.queue[other * t.pad + queues.length[other]++] = static_cast<std::int32_t>(i);
      }
    }
  }
  for (std::int64_t i = 0; i < q.count; ++i) q.entering[i] = static_cast<std::int32_t>(i);
  compare(a, q, q.entering, q.count, leaf);  // first, so that most of what follows is too far
  for (std::int64_t other = 0; other < leaves; ++other) {
    if (other != leaf && queues.length[other] > 0) {
      compare(a, q, queues.queue + other * t.pad, queues.length[other], other);
    }
  }
  for (std::int64_t i = 0; i < q.count; ++i) settle(a, q, i);
}

}  // namespace gmvae::GMVAE_ISA
