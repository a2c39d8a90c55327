#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>

#include "kernels.h"
#include "dispatch.h"
#include "threads.h"

namespace gmvae {
namespace {

enum class Isa : int { kBaseline, kAvx2, kAvx512 };

constexpr const char* kNames[] = {"baseline", "avx2", "avx512"};

bool can_run(Isa isa) {
#if defined(GMVAE_X86)
  __builtin_cpu_init();
  switch (isa) {
    case Isa::kAvx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    case Isa::kAvx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::kBaseline: return true;
  }
  return false;
#else
  return isa == Isa::kBaseline;
#endif
}

Isa widest() {
  for (Isa isa : {Isa::kAvx512, Isa::kAvx2}) {
    if (can_run(isa)) return isa;
  }
  return Isa::kBaseline;
}

std::atomic<Isa>& active() {
  static std::atomic<Isa> isa{widest()};
  return isa;
}

// Work in component-coordinate products below which a second thread costs more than it saves.
constexpr std::int64_t kSerialWork = 1 << 14;

template <typename T>
struct OwnedWorkspace {
  std::unique_ptr<T[]> memory;
  std::unique_ptr<double[]> wide;
  Workspace<T> view;

  // wide_size: running moments of one thread, 0 for operations without them.
  OwnedWorkspace(std::int64_t n, const MixtureView<T>& m, int threads, std::int64_t per_thread,
                 std::int64_t wide_size) {
    const std::int64_t chunks = chunk_count(n, wide_size > 0 ? moments_size(m.k, m.d, m.covariance) : 0);
    std::int64_t use = n * m.k * m.d < kSerialWork ? 1 : threads;
    if (use > chunks) use = chunks;
    if (use < 1) use = 1;
    memory.reset(new T[static_cast<std::size_t>(m.k * m.d + m.k + use * per_thread)]);
    wide.reset(new double[static_cast<std::size_t>(m.k + use * wide_size)]);
    T* const offset = memory.get() + m.k * m.d;
    double* const moments = wide_size > 0 ? wide.get() + m.k : nullptr;
    view = {memory.get(), offset, wide.get(), offset + m.k, per_thread, moments, wide_size, static_cast<int>(use)};
  }
};

}  // namespace

#if defined(GMVAE_X86)
#define GMVAE_CALL(function, T, ...)                            \
  switch (active().load(std::memory_order_relaxed)) {           \
    case Isa::kAvx512: return avx512::function<T>(__VA_ARGS__); \
    case Isa::kAvx2: return avx2::function<T>(__VA_ARGS__);     \
    case Isa::kBaseline: break;                                 \
  }                                                             \
  return baseline::function<T>(__VA_ARGS__)
#else
#define GMVAE_CALL(function, T, ...) return baseline::function<T>(__VA_ARGS__)
#endif

namespace {

template <typename T>
std::int64_t scratch_per_thread(std::int64_t k, std::int64_t d) {
  GMVAE_CALL(scratch_elements, T, k, d);
}

// GMVAE_CALL returns, and wide_lanes takes no scalar type, so it has a switch of its own.
std::int64_t lanes() {
#if defined(GMVAE_X86)
  switch (active().load(std::memory_order_relaxed)) {
    case Isa::kAvx512: return avx512::wide_lanes();
    case Isa::kAvx2: return avx2::wide_lanes();
    case Isa::kBaseline: break;
  }
#endif
  return baseline::wide_lanes();
}

template <class Args>
std::int64_t running_moments(const Args&) {
  return 0;
}

template <typename T>
std::int64_t running_moments(const LogRespBackwardArgs<T>& a) {
  return a.moments ? lanes() * moments_size(a.mixture.k, a.mixture.d, a.mixture.covariance) : 0;
}

template <typename T>
std::int64_t running_moments(const MixtureKlArgs<T>& a) {
  if (!a.moments) return 0;
  const auto& m = a.mixture;
  return lanes() * moment_sets(a.assignment, a.detach) * moments_size(m.k, m.d, m.covariance);
}

template <typename T>
std::int64_t running_moments(const MomentsArgs<T>& a) {
  return lanes() *
         (moment_sets(a.assignment, a.detach) * moments_size(a.mixture.k, a.mixture.d, a.mixture.covariance) + 1);
}

}  // namespace

#define GMVAE_LAUNCHER(name, Args)                                                                                 \
  template <typename T>                                                                                            \
  void name##_cpu(const Args<T>& args, int threads) {                                                              \
    const auto& m = args.mixture;                                                                                  \
    const OwnedWorkspace<T> workspace(args.n, m, threads, scratch_per_thread<T>(m.k, m.d), running_moments(args)); \
    GMVAE_CALL(name, T, args, workspace.view);                                                                     \
  }                                                                                                                \
  template void name##_cpu<float>(const Args<float>&, int);                                                        \
  template void name##_cpu<double>(const Args<double>&, int);

GMVAE_LAUNCHER(log_responsibilities, LogRespArgs)
GMVAE_LAUNCHER(log_responsibilities_backward, LogRespBackwardArgs)
GMVAE_LAUNCHER(mixture_kl, MixtureKlArgs)
GMVAE_LAUNCHER(mixture_statistics, MomentsArgs)

namespace {

template <typename T>
std::int64_t kd_scratch_bytes(const KdSearchArgs<T>& args) {
  GMVAE_CALL(kd_scratch_bytes, T, args);
}

template <typename T>
void kd_assign(const KdTree<T>& tree, T* scratch, std::int32_t* assigned, int threads) {
  GMVAE_CALL(kd_assign, T, tree, scratch, assigned, threads);
}

template <typename T>
std::int64_t kd_search(const KdSearchArgs<T>& args, unsigned char* scratch, int threads) {
  GMVAE_CALL(kd_search, T, args, scratch, threads);
}

struct FreeAligned {
  void operator()(unsigned char* memory) const { ::operator delete[](memory, std::align_val_t(64)); }
};

}  // namespace

template <typename T>
void kd_assign_cpu(const KdTree<T>& tree, std::int32_t* assigned, int threads) {
  const std::unique_ptr<T[]> scratch(new T[static_cast<std::size_t>(threads * kd_assign_scratch(tree))]);
  kd_assign(tree, scratch.get(), assigned, threads);
}
template void kd_assign_cpu<float>(const KdTree<float>&, std::int32_t*, int);
template void kd_assign_cpu<double>(const KdTree<double>&, std::int32_t*, int);

template <typename T>
std::int64_t kd_search_cpu(const KdSearchArgs<T>& args, int threads) {
  const auto bytes = static_cast<std::size_t>(kd_scratch_bytes(args) * threads);
  const std::unique_ptr<unsigned char[], FreeAligned> scratch(new (std::align_val_t(64)) unsigned char[bytes]);
  return kd_search(args, scratch.get(), threads);
}
template std::int64_t kd_search_cpu<float>(const KdSearchArgs<float>&, int);
template std::int64_t kd_search_cpu<double>(const KdSearchArgs<double>&, int);

void row_products_cpu(const RowBlockArgs<double>& args, int threads) {
  GMVAE_CALL(row_products, double, args, threads);
}

void subtract_rows_cpu(const RowBlockArgs<double>& args, int threads) {
  GMVAE_CALL(subtract_rows, double, args, threads);
}

bool self_tuned_weights_cpu(const SelfTunedArgs<double>& args, int threads) {
  GMVAE_CALL(self_tuned_weights, double, args, threads);
}

void factor_solve_cpu(const FactorSolveArgs<double>& args) { GMVAE_CALL(factor_solve, double, args); }

namespace {

template <typename T>
void adam(const AdamArgs<T>& args, std::int64_t values, int threads) {
  GMVAE_CALL(adam, T, args, values, threads);
}

}  // namespace

template <typename T>
void adam_cpu(const AdamArgs<T>& args, int threads) {
  const AdamPlan plan = advance_steps(args);
  adam(args, plan.values, plan.apart ? threads : 1);
}
template void adam_cpu<float>(const AdamArgs<float>&, int);
template void adam_cpu<double>(const AdamArgs<double>&, int);

template <typename T>
bool dense_chain_cpu(const DenseChainArgs<T>& args, int threads) {
  GMVAE_CALL(dense_chain, T, args, threads);
}
template bool dense_chain_cpu<float>(const DenseChainArgs<float>&, int);
template bool dense_chain_cpu<BFloat16>(const DenseChainArgs<BFloat16>&, int);

template <typename T>
bool dense_chain_backward_cpu(const DenseChainBackwardArgs<T>& args, int threads) {
  GMVAE_CALL(dense_chain_backward, T, args, threads);
}
template bool dense_chain_backward_cpu<float>(const DenseChainBackwardArgs<float>&, int);
template bool dense_chain_backward_cpu<BFloat16>(const DenseChainBackwardArgs<BFloat16>&, int);

void round_arrays_cpu(const RoundArraysArgs<float>& args, int threads) {
  GMVAE_CALL(round_arrays, float, args, threads);
}

template <typename T>
void normalise_cpu(const NormaliseArgs<T>& args, int threads) {
  GMVAE_CALL(normalise, T, args, threads);
}
template void normalise_cpu<float>(const NormaliseArgs<float>&, int);
template void normalise_cpu<double>(const NormaliseArgs<double>&, int);

template <typename T>
void vector_exp_log_cpu(const T* x, std::int64_t n, bool log, T* out) {
  GMVAE_CALL(vector_exp_log, T, x, n, log, out);
}
template void vector_exp_log_cpu<float>(const float*, std::int64_t, bool, float*);
template void vector_exp_log_cpu<double>(const double*, std::int64_t, bool, double*);

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512}) {
    if (can_run(isa)) names.emplace_back(kNames[static_cast<int>(isa)]);
  }
  return names;
}

std::string instruction_set() { return kNames[static_cast<int>(active().load())]; }

void set_instruction_set(const std::string& name) {
  std::string valid;
  for (Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512}) {
    if (!can_run(isa)) continue;
    if (name == kNames[static_cast<int>(isa)]) {
      active().store(isa);
      return;
    }
    valid += valid.empty() ? "" : ", ";
    valid += kNames[static_cast<int>(isa)];
  }
  throw std::invalid_argument("instruction set must be one of " + valid + " on this processor, got '" + name + "'");
}

std::uintptr_t openmp_runtime() {
#if defined(_OPENMP)
  return reinterpret_cast<std::uintptr_t>(&omp_in_parallel);
#else
  return 0;
#endif
}

bool openmp_enabled() {
#if defined(_OPENMP)
  return true;
#else
  return false;
#endif
}

}  // namespace gmvae
