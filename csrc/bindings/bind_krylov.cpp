// Integers from Python -> argument structs of the block kernels. Checks and allocation live in Python
// (gmvae_fast/spectral).
#include "bind_args.h"
#include "bind_graph.h"
#include "gmvae/krylov.h"

namespace {

void row_products(Ptr basis, Ptr block, Ptr coefficients, Ptr partial, Int m, Int n, int threads) {
  gmvae::row_products_cpu(
      {in<double>(basis), out<double>(block), out<double>(coefficients), out<double>(partial), m, n}, threads);
}

void subtract_rows(Ptr basis, Ptr block, Ptr coefficients, Int m, Int n, int threads) {
  gmvae::subtract_rows_cpu({in<double>(basis), out<double>(block), out<double>(coefficients), nullptr, m, n}, threads);
}

void factor_solve(Ptr starts, Ptr rows, Ptr values, Ptr inverse_diagonal, Ptr order, Ptr right, Ptr solution,
                  Ptr scratch, Int n) {
  gmvae::factor_solve_cpu({in<std::int32_t>(starts), in<std::int32_t>(rows), in<double>(values),
                           in<double>(inverse_diagonal), in<std::int64_t>(order), in<double>(right),
                           out<double>(solution), out<double>(scratch), n});
}

}  // namespace

void bind_krylov(py::module_& m) {
  m.attr("BLOCK_ROWS") = gmvae::kBlockRows;
  m.attr("BLOCK_COLUMNS") = gmvae::kBlockColumns;
  m.def("row_products", &row_products, py::call_guard<py::gil_scoped_release>());
  m.def("subtract_rows", &subtract_rows, py::call_guard<py::gil_scoped_release>());
  m.def("factor_solve", &factor_solve, py::call_guard<py::gil_scoped_release>());
}
