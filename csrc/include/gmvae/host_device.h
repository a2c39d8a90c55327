#pragma once
// One macro lets the same inline function be compiled by the host compiler and by nvcc. On the host it is
// forced inline: the CPU kernels are compiled once per instruction set, and an out-of-line copy shared by
// the linker between those builds could hold instructions that the running processor lacks.
#if defined(__CUDACC__)
#define GMVAE_HD __host__ __device__ __forceinline__
#elif defined(__GNUC__) || defined(__clang__)
#define GMVAE_HD inline __attribute__((always_inline))
#else
#define GMVAE_HD inline
#endif
