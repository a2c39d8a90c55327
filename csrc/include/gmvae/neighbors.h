#pragma once
// Nearest neighbours among the rows of one array by a k-d tree whose leaves are searched together. Arrays are allocated
// by the caller.
#include <cstdint>

namespace gmvae {

// Points of a leaf, and leaves, are padded to a multiple of this, the widest vector.
constexpr std::int64_t kLeafMultiple = 16;

// A balanced k-d tree of n points in 2^levels leaves, each of n / 2^levels points, rounded up or down. Nodes are
// numbered as in a heap: 1 is the root, 2 i and 2 i + 1 are the halves of i, the leaves come last.
template <typename T>
struct KdTree {
  const std::int32_t* order;   // [n] points, leaf by leaf
  const std::int64_t* starts;  // [2^levels + 1] where leaves start in `order`; null: in equal parts
  T* leaves;                   // [2^levels, d, pad] coordinates, infinite behind a leaf's last point
  T* low;                      // [2^(levels + 1), d] boxes of the nodes
  T* high;
  T* means;  // [means_pad / kLeafMultiple, d, kLeafMultiple] of the leaves, infinite behind the last
  std::int64_t n, d, levels, pad;

  std::int64_t leaf_count() const { return std::int64_t(1) << levels; }
  std::int64_t means_pad() const { return (leaf_count() + kLeafMultiple - 1) / kLeafMultiple * kLeafMultiple; }
  std::int64_t mean(std::int64_t leaf, std::int64_t j) const {
    return (leaf / kLeafMultiple * d + j) * kLeafMultiple + leaf % kLeafMultiple;
  }
  std::int64_t begin(std::int64_t leaf) const { return starts ? starts[leaf] : (n * leaf) >> levels; }
};

// Fills order [n]: every node is split at its median along the coordinate of largest variance. Deterministic.
void kd_order_cpu(const double* points, std::int64_t n, std::int64_t d, std::int64_t levels, std::int32_t* order,
                  int threads);

// Fills leaves, low, high and means, which `tree` names, from points [n, d] less centre [d].
template <typename T>
void kd_fill_cpu(const KdTree<T>& tree, const double* points, const double* centre, int threads);

// Elements of scratch that one thread of the following needs.
template <typename T>
std::int64_t kd_assign_scratch(const KdTree<T>& tree) {
  return 4 * (tree.means_pad() + tree.d);
}

// The leaf with the nearest mean, for every point [n]: the smallest of several.
template <typename T>
void kd_assign_cpu(const KdTree<T>& tree, std::int32_t* assigned, int threads);

template <typename T>
struct KdSearchArgs {
  KdTree<T> tree;
  const double* points;       // [n, d]: what decides, in float64
  const std::int64_t* slots;  // [n] row of the results for each point, -1 where none is wanted; null: its own
  std::int64_t k;             // < n
  std::int64_t spare;         // candidates kept beyond k, at least: float64 decides among them
  std::int64_t nearest;     // leaves that each query reads, or a few more: those of the nearest means; 0: exact search
  std::int64_t* indices;    // [rows, k] nearest first, ties by index; n where fewer than k were met
  double* distances;        // [rows, k]
  unsigned char* doubtful;  // [rows] whether rounding to T may have hidden a neighbour, or null
};

// Returns the number of leaves read, summed over points. One result for every number of threads.
template <typename T>
std::int64_t kd_search_cpu(const KdSearchArgs<T>& args, int threads);

}  // namespace gmvae
