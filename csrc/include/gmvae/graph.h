#pragma once
// Launchers for sparse graphs in compressed rows (CSR). Arrays are allocated by the caller; Index is int32 or int64.
#include <cstdint>

namespace gmvae {

template <typename Index>
struct CsrView {
  const Index* starts;   // [rows + 1]
  const Index* columns;  // [starts[rows]]
  const double* values;  // [starts[rows]]
  std::int64_t rows;
};

template <typename Index>
struct CsrProductArgs {
  CsrView<Index> matrix;  // [rows, m]
  const double* block;    // [m, width], row-major
  double* result;         // [rows, width]
  std::int64_t width;
};

// result = matrix @ block. Every row is summed by one thread in the order of its entries: one result for every
// number of threads.
template <typename Index>
void csr_product_cpu(const CsrProductArgs<Index>& args, int threads);

// Rows whose products are summed together, in the order of the rows: sums do not depend on the number of threads.
constexpr std::int64_t kSumRows = 1024;

// y = a A x + b x + c y column by column, and sums over kSumRows rows at a time of x y: a step of Lanczos or Chebyshev
// in one pass.
template <typename Index>
struct CsrRecurrenceArgs {
  CsrView<Index> matrix;       // [rows, rows]
  const double* x;             // [rows, width], row-major
  double* y;                   // [rows, width]
  const double* coefficients;  // [3, width]: a, b, c
  double* sums;                // [ceil(rows / kSumRows), width], or null
  std::int64_t width;
};

template <typename Index>
void csr_recurrence_cpu(const CsrRecurrenceArgs<Index>& args, int threads);

// y -= c x column by column, and sums over kSumRows rows at a time of y².
struct SubtractArgs {
  const double* x;             // [rows, width], row-major
  double* y;                   // [rows, width]
  const double* coefficients;  // [width]
  double* sums;                // [ceil(rows / kSumRows), width]
  std::int64_t rows, width;
};

void subtract_scaled_cpu(const SubtractArgs& args, int threads);

// Rows and columns `order` of a square matrix, in that order; the columns of every row ascend. `places` says where each
// old row went; columns without a place must not occur in these rows.
template <typename Index>
struct CsrPermuteArgs {
  CsrView<Index> matrix;
  const std::int64_t* order;  // [n]
  const Index* places;        // [matrix.rows]
  const Index* starts;        // [n + 1]
  Index* columns;             // [starts[n]]
  double* values;             // [starts[n]]
  std::int64_t n;
};

template <typename Index>
void csr_permute_cpu(const CsrPermuteArgs<Index>& args, int threads);

// Weights exp(-d² / (s_i s_j)) of the edges in lists, from their lengths d and the local scales s of both ends; see
// self_tuned.cpp for scales of zero. False if a node is out of range; the weights are then without meaning.
template <typename T>
struct SelfTunedArgs {
  const std::int64_t* nodes;  // [n, k] the far ends, of m nodes
  const T* lengths;           // [n, k]
  const T* here;              // [n] scales of the near ends, one for each list
  const T* scales;            // [m]
  T* weights;                 // [n, k]
  std::int64_t n, k, m;
};

bool self_tuned_weights_cpu(const SelfTunedArgs<double>& args, int threads);

// Neighbour lists -> symmetric adjacency, in two steps between which the caller allocates the entries: the first
// fills `starts`, the second `columns` and `values`. A row of `neighbors` names k different nodes, never its own.
// An edge is kept if either end names the other and weighs the larger of the weights given for it; or, if mutual,
// where both ends do, with the smaller one. Without weights every edge weighs 1.
template <typename Index>
struct NeighborGraphArgs {
  const std::int64_t* neighbors;  // [n, k]
  const double* weights;          // [n, k] positive, or null
  bool mutual;
  Index* partners;          // [n, k] scratch
  double* partner_weights;  // [n, k] scratch, null without weights
  std::uint16_t* places;    // [n, k] scratch
  Index* partner_starts;    // [n + 1] scratch
  Index* starts;            // [n + 1]
  Index* columns;           // [starts[n]], ascending in each row
  double* values;           // [starts[n]]
  std::int64_t n, k;
};

enum class NeighborGraphStatus : int {
  kGood = 0,
  kNodeOutOfRange = 1,
  kBadWeight = 2,  // not positive and finite
  kBadList = 3,    // a row names a node twice, or its own
};

template <typename Index>
NeighborGraphStatus neighbor_graph_starts_cpu(const NeighborGraphArgs<Index>& args, int threads);
template <typename Index>
void neighbor_graph_entries_cpu(const NeighborGraphArgs<Index>& args, int threads);

// Adjacency (sorted rows, no diagonal, positive weights) -> Laplacian, in two steps as above.
template <typename Index>
struct LaplacianArgs {
  CsrView<Index> adjacency;  // [n, n]
  bool symmetric;            // I - Deg^-1/2 W Deg^-1/2 instead of Deg - W
  double* inverse_root;      // [n] scratch of the first step, degree^-1/2, 0 at isolated nodes; null unless symmetric
  Index* starts;             // [n + 1]
  Index* columns;            // [starts[n]]
  double* values;            // [starts[n]]
};

template <typename Index>
void laplacian_starts_cpu(const LaplacianArgs<Index>& args, int threads);
template <typename Index>
void laplacian_entries_cpu(const LaplacianArgs<Index>& args, int threads);

// Largest |a_ij - a_ji| of a square matrix with sorted rows without repetitions.
template <typename Index>
double asymmetry_cpu(const CsrView<Index>& matrix, int threads);

}  // namespace gmvae
