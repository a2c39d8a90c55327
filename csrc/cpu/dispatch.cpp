#include <atomic>
#include <cstdint>
#include <memory>
#include <stdexcept>

#include "kernels.h"
#include "dispatch.h"

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
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::kBaseline:
      return true;
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
  Workspace<T> view;

  OwnedWorkspace(std::int64_t n, const MixtureView<T>& m, int threads, std::int64_t per_thread) {
    const std::int64_t chunks = chunk_count(n);
    std::int64_t use = n * m.k * m.d < kSerialWork ? 1 : threads;
    if (use > chunks) use = chunks;
    if (use < 1) use = 1;
    memory.reset(new T[static_cast<std::size_t>(m.k * m.d + m.k + use * per_thread)]);
    view = {memory.get(), memory.get() + m.k * m.d, memory.get() + m.k * m.d + m.k, per_thread,
            static_cast<int>(use)};
  }
};

}  // namespace

#if defined(GMVAE_X86)
#define GMVAE_CALL(function, T, ...)                                 \
  switch (active().load(std::memory_order_relaxed)) {                \
    case Isa::kAvx512: return avx512::function<T>(__VA_ARGS__);      \
    case Isa::kAvx2: return avx2::function<T>(__VA_ARGS__);          \
    case Isa::kBaseline: break;                                      \
  }                                                                  \
  return baseline::function<T>(__VA_ARGS__)
#else
#define GMVAE_CALL(function, T, ...) return baseline::function<T>(__VA_ARGS__)
#endif

namespace {

template <typename T>
std::int64_t scratch_per_thread(std::int64_t k, std::int64_t d) {
  GMVAE_CALL(scratch_elements, T, k, d);
}

}  // namespace

#define GMVAE_LAUNCHER(name, Args)                                                                      \
  template <typename T>                                                                                 \
  void name##_cpu(const Args<T>& args, int threads) {                                                   \
    const auto& m = args.mixture;                                                                       \
    const OwnedWorkspace<T> workspace(args.n, m, threads, scratch_per_thread<T>(m.k, m.d));             \
    GMVAE_CALL(name, T, args, workspace.view);                                                          \
  }                                                                                                     \
  template void name##_cpu<float>(const Args<float>&, int);                                             \
  template void name##_cpu<double>(const Args<double>&, int);

GMVAE_LAUNCHER(log_responsibilities, LogRespArgs)
GMVAE_LAUNCHER(log_responsibilities_backward, LogRespBackwardArgs)
GMVAE_LAUNCHER(mixture_kl, MixtureKlArgs)
GMVAE_LAUNCHER(mixture_statistics, MomentsArgs)

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

bool openmp_enabled() {
#if defined(_OPENMP)
  return true;
#else
  return false;
#endif
}

}  // namespace gmvae
