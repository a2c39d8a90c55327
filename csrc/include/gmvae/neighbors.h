#pragma once
// Nearest neighbours among the rows of one array by a k-d tree whose leaves are searched together. Arrays are allocated
// by the caller.
#include <cstdint>

namespace gmvae {

// A balanced k-d tree of n points in 2^levels leaves, each of n / 2^levels points, rounded up or down. Nodes are
// numbered as in a heap: 1 is the root, 2 i and 2 i + 1 are the halves of i, the leaves come last.
template <typename T>
struct KdTree {
  const std::int32_t* order;  // [n] points, leaf by leaf
  T* leaves;                  // [2^levels, d, pad] coordinates, infinite behind a leaf's last point
  T* low;                     // [2^(levels + 1), d] boxes of the nodes
  T* high;
  std::int64_t n, d, levels, pad;

  std::int64_t leaf_count() const { return std::int64_t(1) << levels; }
  std::int64_t begin(std::int64_t leaf) const { return (n * leaf) >> levels; }
};

// Points of a leaf are padded to a multiple of this, the widest vector.
constexpr std::int64_t kLeafMultiple = 16;

// Fills order [n]: every node is split at its median along the coordinate of largest variance. Deterministic.
void kd_order_cpu(const double* points, std::int64_t n, std::int64_t d, std::int64_t levels, std::int32_t* order,
                  int threads);

// Fills leaves, low and high, which `tree` names, from points [n, d] less centre [d].
template <typename T>
void kd_fill_cpu(const KdTree<T>& tree, const double* points, const double* centre, int threads);

template <typename T>
struct KdSearchArgs {
  KdTree<T> tree;
  const double* points;       // [n, d]: what decides, in float64
  const std::int64_t* slots;  // [n] row of the results for each point, -1 where none is wanted; null: its own
  std::int64_t k;             // < n
  std::int64_t spare;         // candidates kept beyond k, at least: float64 decides among them
  std::int64_t* indices;      // [rows, k] nearest first, ties by index
  double* distances;          // [rows, k]
  unsigned char* doubtful;    // [rows] whether rounding to T may have hidden a neighbour, or null
};

// Returns the number of leaves read, summed over points. One result for every number of threads.
template <typename T>
std::int64_t kd_search_cpu(const KdSearchArgs<T>& args, int threads);

}  // namespace gmvae
