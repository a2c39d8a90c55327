#pragma once
#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

// Turns a CUDA status into a C++ exception (pybind11 makes it a RuntimeError).
#define GMVAE_CUDA_CHECK(expr)                                                                                   \
  do {                                                                                                           \
    const cudaError_t status_ = (expr);                                                                          \
    if (status_ != cudaSuccess) {                                                                                \
      throw std::runtime_error(std::string("CUDA error in " #expr ": ") + cudaGetErrorName(status_) + " (" +     \
                               std::to_string(static_cast<int>(status_)) + "): " + cudaGetErrorString(status_)); \
    }                                                                                                            \
  } while (0)
