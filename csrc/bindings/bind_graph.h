#pragma once
#include <pybind11/pybind11.h>

// Adds chains of dense layers.
void bind_dense_chain(pybind11::module_& m);

// Adds the graph kernels to the CPU module.
void bind_graph(pybind11::module_& m);

// Adds what a block of vectors meets in Krylov iterations.
void bind_krylov(pybind11::module_& m);

// Adds the search for nearest neighbours.
void bind_neighbors(pybind11::module_& m);
