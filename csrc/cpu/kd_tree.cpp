// Points -> the order of a k-d tree's leaves, and the tree's arrays.
#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>

#include "gmvae/neighbors.h"
#include "threads.h"

namespace gmvae {
namespace {

constexpr std::int64_t kSample = 512;  // points of a node whose variance decides along which coordinate it is split

// The coordinate along which a sample of order [size] varies most. scratch: [2 d].
std::int64_t widest(const double* points, std::int64_t d, const std::int32_t* order, std::int64_t size,
                    double* scratch) {
  double* const sum = scratch;
  double* const squares = scratch + d;
  std::fill(scratch, scratch + 2 * d, 0.0);
  const double* const origin = points + order[0] * d;  // sums of squares about a point of the node: no cancellation
  const std::int64_t step = std::max<std::int64_t>(1, size / kSample);
  double count = 0;
  for (std::int64_t i = 0; i < size; i += step, ++count) {
    const double* const point = points + order[i] * d;
    for (std::int64_t j = 0; j < d; ++j) {
      const double x = point[j] - origin[j];
      sum[j] += x;
      squares[j] += x * x;
    }
  }
  for (std::int64_t j = 0; j < d; ++j) squares[j] -= sum[j] * sum[j] / count;
  return std::max_element(squares, squares + d) - squares;
}

}  // namespace

void kd_order_cpu(const double* points, std::int64_t n, std::int64_t d, std::int64_t levels, std::int32_t* order,
                  int threads) {
  using Key = std::pair<double, std::int32_t>;  // copies are told apart by their number: one partition everywhere
  const std::unique_ptr<Key[]> keys(new Key[static_cast<std::size_t>(n)]);
  const std::unique_ptr<double[]> scratch(new double[static_cast<std::size_t>(threads * 2 * d)]);
  std::iota(order, order + n, 0);
  for (std::int64_t level = 0; level < levels; ++level) {
    for_each_item(std::int64_t(1) << level, threads, [&](std::int64_t node, int thread) {
      const std::int64_t begin = (n * node) >> level, end = (n * (node + 1)) >> level;
      const std::int64_t middle = (n * (2 * node + 1)) >> (level + 1);
      const std::int64_t j = widest(points, d, order + begin, end - begin, scratch.get() + thread * 2 * d);
      for (std::int64_t i = begin; i < end; ++i) keys[i] = {points[order[i] * d + j], order[i]};
      std::nth_element(keys.get() + begin, keys.get() + middle, keys.get() + end);
      for (std::int64_t i = begin; i < end; ++i) order[i] = keys[i].second;
    });
  }
  // Within a leaf nth_element's order is the library's choice.
  const std::int64_t leaves = std::int64_t(1) << levels;
  for_each_range(leaves, n, threads, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t leaf = first; leaf < last; ++leaf) {
      std::sort(order + ((n * leaf) >> levels), order + ((n * (leaf + 1)) >> levels));
    }
  });
}

template <typename T>
void kd_fill_cpu(const KdTree<T>& t, const double* points, const double* centre, int threads) {
  const std::int64_t leaves = t.leaf_count(), d = t.d;
  T* const low = t.low;
  T* const high = t.high;
  std::fill(t.means, t.means + d * t.means_pad(), std::numeric_limits<T>::infinity());
  for_each_range(leaves, t.n * d, threads, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t leaf = first; leaf < last; ++leaf) {
      const std::int64_t begin = t.begin(leaf), size = t.begin(leaf + 1) - begin;
      for (std::int64_t j = 0; j < d; ++j) {
        T* const row = t.leaves + (leaf * d + j) * t.pad;
        for (std::int64_t i = 0; i < size; ++i) {
          row[i] = static_cast<T>(points[t.order[begin + i] * d + j] - centre[j]);
        }
        std::fill(row + size, row + t.pad, std::numeric_limits<T>::infinity());
        if (size == 0) {  // a box that nobody enters
          low[(leaves + leaf) * d + j] = std::numeric_limits<T>::infinity();
          high[(leaves + leaf) * d + j] = -std::numeric_limits<T>::infinity();
          continue;
        }
        const auto [least, most] = std::minmax_element(row, row + size);
        low[(leaves + leaf) * d + j] = *least;
        high[(leaves + leaf) * d + j] = *most;
        t.means[t.mean(leaf, j)] = static_cast<T>(std::accumulate(row, row + size, 0.0) / size);
      }
    }
  });
  for (std::int64_t node = leaves - 1; node > 0; --node) {
    for (std::int64_t j = 0; j < d; ++j) {
      low[node * d + j] = std::min(low[2 * node * d + j], low[(2 * node + 1) * d + j]);
      high[node * d + j] = std::max(high[2 * node * d + j], high[(2 * node + 1) * d + j]);
    }
  }
}

template void kd_fill_cpu<float>(const KdTree<float>&, const double*, const double*, int);
template void kd_fill_cpu<double>(const KdTree<double>&, const double*, const double*, int);

}  // namespace gmvae
