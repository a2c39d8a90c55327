#pragma once
// Shared by both bindings: addresses and sizes as Python hands them over.
#include <pybind11/pybind11.h>

#include <cstdint>

#include "gmvae/launch.h"

namespace py = pybind11;
using Ptr = std::uintptr_t;
using Int = std::int64_t;

template <typename T>
const T* in(Ptr p) {
  return reinterpret_cast<const T*>(p);
}

template <typename T>
T* out(Ptr p) {
  return reinterpret_cast<T*>(p);
}

// scale: log variances of diagonal covariances, whitening factors of dense ones.
template <typename T>
gmvae::MixtureView<T> mixture(Ptr log_weights, Ptr means, Ptr scale, int covariance, Int k, Int d) {
  const auto kind = static_cast<gmvae::Covariance>(covariance);
  const bool diagonal = kind == gmvae::Covariance::kDiagonal;
  return {in<T>(log_weights), in<T>(means), in<T>(diagonal ? scale : 0), k, d, in<T>(diagonal ? 0 : scale), kind};
}

// One Python function per scalar type, each releasing the GIL while it runs.
#define GMVAE_DEF(m, name)                                                     \
  m.def(#name "_f32", &name<float>, py::call_guard<py::gil_scoped_release>()); \
  m.def(#name "_f64", &name<double>, py::call_guard<py::gil_scoped_release>())
