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

}  // namespace

// One Python function per index type, each releasing the GIL while it runs.
#define GMVAE_DEF_INDEX(m, name)                                                      \
  m.def(#name "_i32", &name<std::int32_t>, py::call_guard<py::gil_scoped_release>()); \
  m.def(#name "_i64", &name<std::int64_t>, py::call_guard<py::gil_scoped_release>())

void bind_graph(py::module_& m) { GMVAE_DEF_INDEX(m, csr_product); }
