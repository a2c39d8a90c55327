#pragma once
// What a kernel body asks of the thread block that runs it. Bodies are templates over the block, so the same source
// compiles with a host compiler too: tests/ops/cuda_emulation.cpp runs them there and checks every result.
#if defined(__CUDACC__)
#define GMVAE_DEVICE __device__ __forceinline__
#define GMVAE_UNROLL _Pragma("unroll")
#define GMVAE_PRAGMA(text) _Pragma(#text)
#define GMVAE_UNROLL_BY(count) GMVAE_PRAGMA(unroll count)
#else
#define GMVAE_DEVICE inline
#define GMVAE_UNROLL
#define GMVAE_UNROLL_BY(count)
#endif

#include <cstdint>

namespace gmvae::gpu {

constexpr int kWarp = 32;

#if defined(__CUDACC__)
struct Block {
  GMVAE_DEVICE int thread() const { return static_cast<int>(threadIdx.x); }
  GMVAE_DEVICE int threads() const { return static_cast<int>(blockDim.x); }
  GMVAE_DEVICE std::int64_t index() const { return blockIdx.x; }
  GMVAE_DEVICE std::int64_t count() const { return gridDim.x; }
  GMVAE_DEVICE void sync() const { __syncthreads(); }

  // Sum over the aligned group of `lanes` threads (a power of two, at most a warp); every lane gets the same bits.
  // The whole warp must arrive together.
  template <typename T>
  GMVAE_DEVICE T group_sum(T value, int lanes) const {
    for (int step = lanes / 2; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
    return value;
  }

  // What lane `source` of the warp holds. The whole warp must arrive together.
  template <typename T>
  GMVAE_DEVICE T shuffle(T value, int source) const {
    return __shfl_sync(0xffffffffu, value, source);
  }
};
#endif

}  // namespace gmvae::gpu
