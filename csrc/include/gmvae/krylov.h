#pragma once
// Launchers for block Krylov iterations: a few vectors against a basis, and against a sparse factor. Vectors are rows.
#include <cstdint>

namespace gmvae {

// Vectors of a block.
constexpr int kBlockRows = 4;

// Columns whose products are summed together, and then in the order of the chunks: sums do not depend on the number
// of threads.
constexpr std::int64_t kBlockColumns = 2048;

template <typename T>
struct RowBlockArgs {
  const T* basis;   // [m, n]
  T* block;         // [kBlockRows, n]
  T* coefficients;  // [m, kBlockRows]
  T* partial;       // [ceil(n / kBlockColumns), m, kBlockRows], scratch of row_products
  std::int64_t m, n;
};

// coefficients = basis block', and block -= coefficients' basis. Each in one pass over the basis.
void row_products_cpu(const RowBlockArgs<double>& args, int threads);
void subtract_rows_cpu(const RowBlockArgs<double>& args, int threads);

// A[order][:, order] = L D L', L unit lower triangular in compressed columns; entries on the diagonal of L are skipped.
template <typename T>
struct FactorSolveArgs {
  const std::int32_t* starts;  // [n + 1]
  const std::int32_t* rows;    // [starts[n]]
  const T* values;             // [starts[n]]
  const T* inverse_diagonal;   // [n] of D
  const std::int64_t* order;   // [n]
  const T* right;              // [kBlockRows, n]
  T* solution;                 // [kBlockRows, n]
  T* scratch;                  // [n, kBlockRows]
  std::int64_t n;
};

// solution = A^-1 right, by one thread.
void factor_solve_cpu(const FactorSolveArgs<double>& args);

}  // namespace gmvae
