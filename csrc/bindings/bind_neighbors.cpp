// Integers from Python -> argument structs of the search for neighbours. Checks and allocation live in Python
// (gmvae_fast/spectral).
#include "bind_graph.h"
#include "bind_args.h"
#include "gmvae/neighbors.h"

namespace {

void kd_order(Ptr points, Int n, Int d, Int levels, Ptr order, int threads) {
  gmvae::kd_order_cpu(in<double>(points), n, d, levels, out<std::int32_t>(order), threads);
}

template <typename T>
gmvae::KdTree<T> tree(Ptr order, Ptr starts, Ptr leaves, Ptr low, Ptr high, Ptr means, Int n, Int d, Int levels,
                      Int pad) {
  return {in<std::int32_t>(order),
          in<std::int64_t>(starts),
          out<T>(leaves),
          out<T>(low),
          out<T>(high),
          out<T>(means),
          n,
          d,
          levels,
          pad};
}

template <typename T>
void kd_fill(Ptr order, Ptr starts, Ptr leaves, Ptr low, Ptr high, Ptr means, Int n, Int d, Int levels, Int pad,
             Ptr points, Ptr centre, int threads) {
  gmvae::kd_fill_cpu(tree<T>(order, starts, leaves, low, high, means, n, d, levels, pad), in<double>(points),
                     in<double>(centre), threads);
}

template <typename T>
void kd_assign(Ptr order, Ptr starts, Ptr leaves, Ptr low, Ptr high, Ptr means, Int n, Int d, Int levels, Int pad, Ptr,
               Ptr assigned, int threads) {
  gmvae::kd_assign_cpu(tree<T>(order, starts, leaves, low, high, means, n, d, levels, pad), out<std::int32_t>(assigned),
                       threads);
}

template <typename T>
Int kd_search(Ptr order, Ptr starts, Ptr leaves, Ptr low, Ptr high, Ptr means, Int n, Int d, Int levels, Int pad,
              Ptr points, Ptr slots, Int k, Int spare, Int nearest, Ptr indices, Ptr distances, Ptr doubtful,
              int threads) {
  return gmvae::kd_search_cpu<T>(
      {tree<T>(order, starts, leaves, low, high, means, n, d, levels, pad), in<double>(points), in<std::int64_t>(slots),
       k, spare, nearest, out<std::int64_t>(indices), out<double>(distances), out<unsigned char>(doubtful)},
      threads);
}

}  // namespace

void bind_neighbors(py::module_& m) {
  m.def("kd_order", &kd_order, py::call_guard<py::gil_scoped_release>());
  m.attr("kd_leaf_multiple") = gmvae::kLeafMultiple;
  GMVAE_DEF(m, kd_assign);
  GMVAE_DEF(m, kd_fill);
  GMVAE_DEF(m, kd_search);
}
