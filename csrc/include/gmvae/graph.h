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

}  // namespace gmvae
