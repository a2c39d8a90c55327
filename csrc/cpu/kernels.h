#pragma once
// What each instruction-set build offers to dispatch.cpp, and the workspaces that it passes in.
#include "gmvae/adam.h"
#include "gmvae/dense_chain.h"
#include "gmvae/graph.h"
#include "gmvae/krylov.h"
#include "gmvae/launch.h"
#include "gmvae/neighbors.h"
#include "gmvae/normalise.h"

// Per-call tables of the mixture and per-thread scratch; allocated by dispatch.cpp, outside parallel regions.
namespace gmvae {

template <typename T>
struct Workspace {
  T* inv_var;           // [k, d]
  T* offset;            // [k]
  double* wide_offset;  // [k] before the largest is taken off
  T* scratch;           // [threads, scratch_stride]
  std::int64_t scratch_stride;
  double* wide;  // [threads, wide_stride] running moments, or null
  std::int64_t wide_stride;
  int threads;
};

}  // namespace gmvae

#define GMVAE_DECLARE_KERNELS(isa)                                                             \
  namespace gmvae::isa {                                                                       \
  template <typename T>                                                                        \
  std::int64_t scratch_elements(std::int64_t k, std::int64_t d);                               \
  int wide_lanes(); /* float64 lanes of a running moment */                                    \
  template <typename T>                                                                        \
  void log_responsibilities(const LogRespArgs<T>&, const Workspace<T>&);                       \
  template <typename T>                                                                        \
  void log_responsibilities_backward(const LogRespBackwardArgs<T>&, const Workspace<T>&);      \
  template <typename T>                                                                        \
  void mixture_kl(const MixtureKlArgs<T>&, const Workspace<T>&);                               \
  template <typename T>                                                                        \
  void mixture_statistics(const MomentsArgs<T>&, const Workspace<T>&);                         \
  template <typename T>                                                                        \
  void kd_assign(const KdTree<T>&, T* scratch, std::int32_t* assigned, int threads);           \
  template <typename T>                                                                        \
  std::int64_t kd_scratch_bytes(const KdSearchArgs<T>&); /* of one thread, a multiple of 64 */ \
  template <typename T>                                                                        \
  std::int64_t kd_search(const KdSearchArgs<T>&, unsigned char* scratch, int threads);         \
  template <typename T>                                                                        \
  void row_products(const RowBlockArgs<T>&, int threads);                                      \
  template <typename T>                                                                        \
  void subtract_rows(const RowBlockArgs<T>&, int threads);                                     \
  template <typename T>                                                                        \
  void factor_solve(const FactorSolveArgs<T>&);                                                \
  template <typename T>                                                                        \
  bool self_tuned_weights(const SelfTunedArgs<T>&, int threads);                               \
  template <typename T>                                                                        \
  void adam(const AdamArgs<T>&, std::int64_t values, int threads);                             \
  template <typename T>                                                                        \
  bool dense_chain(const DenseChainArgs<T>&, int threads);                                     \
  template <typename T>                                                                        \
  bool dense_chain_backward(const DenseChainBackwardArgs<T>&, int threads);                    \
  template <typename T>                                                                        \
  void round_arrays(const RoundArraysArgs<T>&, int threads);                                   \
  template <typename T>                                                                        \
  void normalise(const NormaliseArgs<T>&, int threads);                                        \
  template <typename T>                                                                        \
  void vector_exp_log(const T* x, std::int64_t n, bool log, T* out); /* n: a multiple of 16 */ \
  }

GMVAE_DECLARE_KERNELS(baseline)
#if defined(GMVAE_X86)
GMVAE_DECLARE_KERNELS(avx2)
GMVAE_DECLARE_KERNELS(avx512)
#endif
