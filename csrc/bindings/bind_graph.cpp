// Integers from Python -> argument structs of the graph kernels. Checks and allocation live in Python
// (gmvae_fast/spectral).
#include "bind_graph.h"
#include "bind_args.h"
#include "gmvae/graph.h"

namespace {

template <typename Index>
void csr_product(Ptr starts, Ptr columns, Ptr values, Ptr block, Ptr result, Int rows, Int width, int threads) {
  gmvae::csr_product_cpu<Index>({{in<Index>(starts), in<Index>(columns), in<double>(values), rows},
                                 in<double>(block),
                                 out<double>(result),
                                 width},
                                threads);
}

template <typename Index>
void csr_recurrence(Ptr starts, Ptr columns, Ptr values, Ptr x, Ptr y, Ptr coefficients, Ptr sums, Int rows, Int width,
                    int threads) {
  gmvae::csr_recurrence_cpu<Index>({{in<Index>(starts), in<Index>(columns), in<double>(values), rows},
                                    in<double>(x),
                                    out<double>(y),
                                    in<double>(coefficients),
                                    out<double>(sums),
                                    width},
                                   threads);
}

void subtract_scaled(Ptr x, Ptr y, Ptr coefficients, Ptr sums, Int rows, Int width, int threads) {
  gmvae::subtract_scaled_cpu({in<double>(x), out<double>(y), in<double>(coefficients), out<double>(sums), rows, width},
                             threads);
}

template <typename Index>
void csr_permute(Ptr starts, Ptr columns, Ptr values, Int rows, Ptr order, Ptr places, Ptr new_starts, Ptr new_columns,
                 Ptr new_values, Int n, int threads) {
  gmvae::csr_permute_cpu<Index>({{in<Index>(starts), in<Index>(columns), in<double>(values), rows},
                                 in<std::int64_t>(order),
                                 in<Index>(places),
                                 in<Index>(new_starts),
                                 out<Index>(new_columns),
                                 out<double>(new_values),
                                 n},
                                threads);
}

template <typename Index>
gmvae::NeighborGraphArgs<Index> neighbor_graph(Ptr neighbors, Ptr weights, bool mutual, Ptr partners,
                                               Ptr partner_weights, Ptr places, Ptr partner_starts, Ptr starts,
                                               Ptr columns, Ptr values, Int n, Int k) {
  return {in<std::int64_t>(neighbors),
          in<double>(weights),
          mutual,
          out<Index>(partners),
          out<double>(partner_weights),
          out<std::uint16_t>(places),
          out<Index>(partner_starts),
          out<Index>(starts),
          out<Index>(columns),
          out<double>(values),
          n,
          k};
}

template <typename Index>
int neighbor_graph_starts(Ptr neighbors, Ptr weights, bool mutual, Ptr partners, Ptr partner_weights, Ptr places,
                          Ptr partner_starts, Ptr starts, Int n, Int k, int threads) {
  return static_cast<int>(
      gmvae::neighbor_graph_starts_cpu(neighbor_graph<Index>(neighbors, weights, mutual, partners, partner_weights,
                                                             places, partner_starts, starts, 0, 0, n, k),
                                       threads));
}

template <typename Index>
void neighbor_graph_entries(Ptr neighbors, Ptr weights, bool mutual, Ptr partners, Ptr partner_weights, Ptr places,
                            Ptr partner_starts, Ptr starts, Ptr columns, Ptr values, Int n, Int k, int threads) {
  gmvae::neighbor_graph_entries_cpu(neighbor_graph<Index>(neighbors, weights, mutual, partners, partner_weights, places,
                                                          partner_starts, starts, columns, values, n, k),
                                    threads);
}

template <typename Index>
void laplacian_starts(Ptr starts, Ptr columns, Ptr values, Int rows, bool symmetric, Ptr inverse_root, Ptr new_starts,
                      int threads) {
  gmvae::laplacian_starts_cpu<Index>({{in<Index>(starts), in<Index>(columns), in<double>(values), rows},
                                      symmetric,
                                      out<double>(inverse_root),
                                      out<Index>(new_starts),
                                      nullptr,
                                      nullptr},
                                     threads);
}

template <typename Index>
void laplacian_entries(Ptr starts, Ptr columns, Ptr values, Int rows, bool symmetric, Ptr inverse_root, Ptr new_starts,
                       Ptr new_columns, Ptr new_values, int threads) {
  gmvae::laplacian_entries_cpu<Index>({{in<Index>(starts), in<Index>(columns), in<double>(values), rows},
                                       symmetric,
                                       out<double>(inverse_root),
                                       out<Index>(new_starts),
                                       out<Index>(new_columns),
                                       out<double>(new_values)},
                                      threads);
}

template <typename Index>
double asymmetry(Ptr starts, Ptr columns, Ptr values, Int rows, int threads) {
  return gmvae::asymmetry_cpu<Index>({in<Index>(starts), in<Index>(columns), in<double>(values), rows}, threads);
}

bool self_tuned_weights(Ptr nodes, Ptr lengths, Ptr here, Ptr scales, Ptr weights, Int n, Int k, Int m, int threads) {
  return gmvae::self_tuned_weights_cpu({in<std::int64_t>(nodes), in<double>(lengths), in<double>(here),
                                        in<double>(scales), out<double>(weights), n, k, m},
                                       threads);
}

}  // namespace

// One Python function per index type, each releasing the GIL while it runs.
#define GMVAE_DEF_INDEX(m, name)                                                      \
  m.def(#name "_i32", &name<std::int32_t>, py::call_guard<py::gil_scoped_release>()); \
  m.def(#name "_i64", &name<std::int64_t>, py::call_guard<py::gil_scoped_release>())

void bind_graph(py::module_& m) {
  m.attr("SUM_ROWS") = gmvae::kSumRows;
  GMVAE_DEF_INDEX(m, csr_permute);
  GMVAE_DEF_INDEX(m, csr_product);
  GMVAE_DEF_INDEX(m, csr_recurrence);
  m.def("subtract_scaled", &subtract_scaled, py::call_guard<py::gil_scoped_release>());
  m.def("self_tuned_weights", &self_tuned_weights, py::call_guard<py::gil_scoped_release>());
  GMVAE_DEF_INDEX(m, neighbor_graph_starts);
  GMVAE_DEF_INDEX(m, neighbor_graph_entries);
  GMVAE_DEF_INDEX(m, laplacian_starts);
  GMVAE_DEF_INDEX(m, laplacian_entries);
  GMVAE_DEF_INDEX(m, asymmetry);
}
