// Runs the bodies of the CUDA kernels on the host: the very headers that csrc/cuda/*.cu compile, with a block whose
// threads are fibers that take turns until each waits at a barrier. Slow, exact about barriers, and needs no GPU.
//
// It says nothing about timing, memory coalescing or races between barriers; those need a device
// (scripts/gpu_check.sh).
#include <ucontext.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "../../csrc/cuda/mixture_gradient.h"
#include "../../csrc/cuda/mixture_kl.h"
#include "../../csrc/cuda/plan.h"

namespace {

using gmvae::Assignment;
using gmvae::Covariance;
namespace gpu = gmvae::gpu;

constexpr std::size_t kStack = 64 * 1024;
constexpr std::size_t kGuard = 4096;     // bytes behind shared memory that nobody may touch
constexpr unsigned char kPoison = 0xff;  // NaN in either precision: reading what nobody wrote shows in the result

// One thread block: fibers run in an order that alternates between rounds, each until its next barrier.
class Emulator {
 public:
  Emulator(int threads, std::int64_t index, std::int64_t count) : threads_(threads), index_(index), count_(count) {
    fibers_.resize(threads);
    slots_.resize(threads);
  }

  void run(const std::function<void(Emulator&)>& body) {
    body_ = &body;
    for (int t = 0; t < threads_; ++t) {
      Fiber& f = fibers_[t];
      f.stack = stack(t);
      getcontext(&f.context);
      f.context.uc_stack.ss_sp = f.stack;
      f.context.uc_stack.ss_size = kStack;
      f.context.uc_link = &main_;
      const auto self = reinterpret_cast<std::uintptr_t>(this);
      makecontext(&f.context, reinterpret_cast<void (*)()>(&Emulator::enter), 2, static_cast<unsigned>(self >> 32),
                  static_cast<unsigned>(self));
    }
    for (int round = 0; alive() > 0; ++round) {
      const std::int64_t before = progress_;
      for (int s = 0; s < threads_; ++s) {
        current_ = round % 2 ? threads_ - 1 - s : s;
        if (!fibers_[current_].done) swapcontext(&main_, &fibers_[current_].context);
      }
      if (progress_ == before)
        throw std::logic_error("deadlock: some threads wait at a barrier that others never reach");
    }
  }

  int thread() const { return current_; }
  int threads() const { return threads_; }
  std::int64_t index() const { return index_; }
  std::int64_t count() const { return count_; }

  // Threads first .. first + size - 1 wait for each other. `kind` 0: the block, 1: a warp.
  void wait(int kind, int first, int size) {
    Fiber& me = fibers_[current_];
    const std::int64_t target = ++me.arrived[kind];
    ++progress_;
    for (;;) {
      bool all = true;
      for (int t = first; t < first + size; ++t) all = all && fibers_[t].arrived[kind] >= target;
      if (all) return;
      const int t = current_;
      swapcontext(&fibers_[t].context, &main_);
      current_ = t;
    }
  }

  void* slot(int t) { return slots_[t].bytes; }

 private:
  struct Fiber {
    ucontext_t context;
    char* stack = nullptr;
    std::int64_t arrived[2] = {0, 0};
    bool done = false;
  };
  struct Slot {
    alignas(16) char bytes[16];
  };

  // Shared by all blocks: they run one after the other.
  static char* stack(int t) {
    static std::vector<std::unique_ptr<char[]>> stacks;
    while (static_cast<int>(stacks.size()) <= t) stacks.emplace_back(new char[kStack]);
    return stacks[t].get();
  }

  static void enter(unsigned high, unsigned low) {
    auto* const self = reinterpret_cast<Emulator*>((static_cast<std::uintptr_t>(high) << 32) | low);
    (*self->body_)(*self);
    self->fibers_[self->current_].done = true;
    ++self->progress_;
  }

  int alive() const {
    int count = 0;
    for (const Fiber& f : fibers_) count += !f.done;
    return count;
  }

  int threads_;
  std::int64_t index_, count_, progress_ = 0;
  int current_ = 0;
  ucontext_t main_;
  std::vector<Fiber> fibers_;
  std::vector<Slot> slots_;
  const std::function<void(Emulator&)>* body_ = nullptr;
};

// The block that kernel bodies see (csrc/cuda/block.h says what it must offer).
struct HostBlock {
  Emulator* emulator;

  int thread() const { return emulator->thread(); }
  int threads() const { return emulator->threads(); }
  std::int64_t index() const { return emulator->index(); }
  std::int64_t count() const { return emulator->count(); }
  void sync() const { emulator->wait(0, 0, threads()); }

  template <typename T>
  T group_sum(T value, int lanes) const {
    if (lanes == 1) return value;
    const int self = thread(), warp = self / gpu::kWarp * gpu::kWarp, group = self / lanes * lanes;
    std::memcpy(emulator->slot(self), &value, sizeof(T));
    emulator->wait(1, warp, gpu::kWarp);
    T sum = 0;
    for (int t = group; t < group + lanes; ++t) {
      T part;
      std::memcpy(&part, emulator->slot(t), sizeof(T));
      sum += part;
    }
    emulator->wait(1, warp, gpu::kWarp);  // nobody overwrites a slot that is still read
    return sum;
  }

  template <typename T>
  T shuffle(T value, int source) const {
    const int self = thread(), warp = self / gpu::kWarp * gpu::kWarp;
    std::memcpy(emulator->slot(self), &value, sizeof(T));
    emulator->wait(1, warp, gpu::kWarp);
    std::memcpy(&value, emulator->slot(warp + source), sizeof(T));
    emulator->wait(1, warp, gpu::kWarp);
    return value;
  }
};

// Runs body(block, shared) for every block of a grid.
template <typename T, class Body>
void launch(std::int64_t blocks, int threads, std::int64_t shared, const Body& body) {
  std::vector<std::max_align_t> memory((shared + kGuard) / sizeof(std::max_align_t) + 1);
  auto* const bytes = reinterpret_cast<unsigned char*>(memory.data());
  for (std::int64_t index = 0; index < blocks; ++index) {
    std::memset(bytes, kPoison, shared + kGuard);
    Emulator emulator(threads, index, blocks);
    emulator.run([&](Emulator& e) { body(HostBlock{&e}, reinterpret_cast<T*>(bytes)); });
    for (std::size_t i = 0; i < kGuard; ++i) {
      if (bytes[shared + i] != kPoison) throw std::logic_error("write behind the end of shared memory");
    }
  }
}

template <typename T, class Body>
void launch_rows(std::int64_t n, const gpu::RowPlan& plan, std::int64_t shared, const Body& body) {
  const std::int64_t rows = gpu::kThreads / plan.lanes, blocks = (n + rows - 1) / rows;
  launch<T>(blocks < 2 ? blocks : 2, gpu::kThreads, shared, body);  // two, so that blocks walk over the rows
}

void reduce(const double* partials, std::int64_t count, std::int64_t size, double* moments, double* evidence) {
  launch<double>((size + gpu::kWarp - 1) / gpu::kWarp, gpu::kReduceGroups * gpu::kWarp,
                 gpu::kReduceGroups * gpu::kWarp * sizeof(double), [&](const HostBlock& block, double* shared) {
                   gpu::reduce_partials(block, partials, count, size, moments, evidence, shared);
                 });
}

template <bool kDense, class Weights, class Args>
void moments(const Args& a, const gpu::MomentsPlan& plan, int set, double* result, double* evidence) {
  using T = typename Weights::T;
  const std::int64_t size = gpu::moments_of(a.mixture) + 1, blocks = plan.blocks < 3 ? plan.blocks : 3;
  if (plan.blocks * size > gpu::moments_workspace_size(a.n, a.mixture.k, a.mixture.d, a.mixture.covariance)) {
    throw std::logic_error("the workspace is too small");
  }
  std::vector<double> workspace(blocks * size, std::numeric_limits<double>::quiet_NaN());
  launch<T>(blocks, gpu::kThreads, plan.shared, [&](const HostBlock& block, T* shared) {
    gpu::add_moments<kDense, Weights>(block, a, plan, set, workspace.data(), shared);
  });
  reduce(workspace.data(), blocks, size, result, evidence);
}

std::string last_error;

template <class Body>
int guarded(const Body& body) {
  try {
    body();
    return 0;
  } catch (const std::exception& err) {
    last_error = err.what();
    return 1;
  }
}

using Int = std::int64_t;

template <typename T>
gmvae::MixtureView<T> mixture(const T* log_weights, const T* means, const T* scale, Int covariance, Int k, Int d) {
  const bool dense = covariance != 0;
  return {
      log_weights, means, dense ? nullptr : scale, k, d, dense ? scale : nullptr, static_cast<Covariance>(covariance)};
}

template <typename T>
int log_responsibilities(const T* z, const T* log_weights, const T* means, const T* scale, Int covariance, T* log_resp,
                         T* log_prob, Int n, Int k, Int d, Int budget) {
  return guarded([&] {
    const gmvae::LogRespArgs<T> a{z, mixture(log_weights, means, scale, covariance, k, d), log_resp, log_prob, n};
    gpu::with_row<T>(a.mixture, [&](auto type) {
      using Row = typename decltype(type)::type;
      const auto plan = gpu::plan_log_responsibilities<Row>(a, budget);
      launch_rows<T>(n, plan.rows, plan.shared, [&](const HostBlock& block, T* shared) {
        gpu::log_responsibilities<Row>(block, a, plan, shared);
      });
    });
  });
}

template <typename T>
int log_responsibilities_backward(const T* z, const T* log_weights, const T* means, const T* scale, Int covariance,
                                  const T* log_resp, const T* grad_resp, const T* grad_prob, T* grad_z, double* result,
                                  Int n, Int k, Int d, Int budget) {
  return guarded([&] {
    const gmvae::LogRespBackwardArgs<T> a{z,         mixture(log_weights, means, scale, covariance, k, d),
                                          log_resp,  grad_resp,
                                          grad_prob, grad_z,
                                          result,    nullptr,
                                          n};
    gpu::with_row<T>(a.mixture, [&](auto type) {
      using Row = typename decltype(type)::type;
      const auto plan = gpu::plan_rows<Row>(a.mixture, {z, grad_z}, budget);
      launch_rows<T>(n, plan, plan.shared, [&](const HostBlock& block, T* shared) {
        gpu::log_responsibilities_grad_z<Row>(block, a, plan, shared);
      });
    });
    const auto plan = gpu::plan_logit_moments(a, budget);
    const bool diagonal = a.mixture.covariance == Covariance::kDiagonal;
    const auto add = diagonal ? &moments<false, gpu::LogitGradientWeights<T>, gmvae::LogRespBackwardArgs<T>>
                              : &moments<true, gpu::LogitGradientWeights<T>, gmvae::LogRespBackwardArgs<T>>;
    add(a, plan, 0, result, nullptr);
  });
}

template <typename T>
int mixture_kl(const T* mean, const T* log_var, const T* z, const T* log_weights, const T* means, const T* scale,
               Int covariance, Int assignment, Int detach, T* kl, T* grad_mean, T* grad_log_var, T* grad_z, Int n,
               Int k, Int d, Int budget) {
  return guarded([&] {
    const gmvae::MixtureKlArgs<T> a{mean,
                                    log_var,
                                    z,
                                    mixture(log_weights, means, scale, covariance, k, d),
                                    static_cast<Assignment>(assignment),
                                    detach != 0,
                                    kl,
                                    grad_mean,
                                    grad_log_var,
                                    grad_z,
                                    n};
    gpu::with_row<T>(a.mixture, [&](auto type) {
      using Row = typename decltype(type)::type;
      const auto plan = gpu::plan_rows<Row>(a.mixture, {mean, log_var, z, grad_mean, grad_log_var, grad_z}, budget);
      launch_rows<T>(n, plan, plan.shared, [&](const HostBlock& block, T* shared) {
        if constexpr (Row::kTables) {
          if (a.assignment == Assignment::kExact) {
            if (a.grad_mean) return gpu::mixture_kl_exact<true, Row>(block, a, plan, shared);
            if constexpr (!Row::kDense) return gpu::mixture_kl_exact<false, Row>(block, a, plan, shared);
          }
        }
        gpu::mixture_kl_assigned<Row>(block, a, plan, shared);
      });
    });
  });
}

template <typename T>
int mixture_statistics(const T* mean, const T* log_var, const T* z, const T* log_weights, const T* means,
                       const T* scale, Int covariance, Int assignment, Int detach, const T* row_weight, double* result,
                       double* evidence, Int n, Int k, Int d, Int budget) {
  return guarded([&] {
    const gmvae::MomentsArgs<T> a{mean,
                                  log_var,
                                  z,
                                  mixture(log_weights, means, scale, covariance, k, d),
                                  static_cast<Assignment>(assignment),
                                  detach != 0,
                                  row_weight,
                                  result,
                                  evidence,
                                  nullptr,
                                  n};
    gpu::with_row<T>(a.mixture, [&](auto type) {
      using Row = typename decltype(type)::type;
      const auto plan = gpu::plan_responsibility_moments<Row>(a, budget);
      for (int set = 0; set < gmvae::moment_sets(a.assignment, a.detach); ++set) {
        moments<Row::kDense, gpu::ResponsibilityWeights<Row>>(a, plan, set, result + set * gpu::moments_of(a.mixture),
                                                              set == 0 ? evidence : nullptr);
      }
    });
  });
}

template <typename T>
int mixture_gradient(const double* moments, Int sets, Int sign, const T* log_vars, T* grad_log_weights, T* grad_means,
                     T* grad_log_vars, Int k, Int d) {
  return guarded([&] {
    const gmvae::MixtureGradientArgs<T> a{moments,
                                          static_cast<int>(sets),
                                          static_cast<double>(sign),
                                          log_vars,
                                          grad_log_weights,
                                          grad_means,
                                          grad_log_vars,
                                          k,
                                          d};
    launch<T>((k * d + gpu::kThreads - 1) / gpu::kThreads, gpu::kThreads, 0,
              [&](const HostBlock& block, T*) { gpu::mixture_gradient(block, a); });
  });
}

}  // namespace

// ctypes asks for a kernel by name: template instantiations have no plain names of their own.
extern "C" const char* error() { return last_error.c_str(); }

extern "C" void* kernel(const char* name) {
  const std::string wanted = name;
#define GMVAE_OFFER(op)                                                 \
  if (wanted == #op "_f32") return reinterpret_cast<void*>(&op<float>); \
  if (wanted == #op "_f64") return reinterpret_cast<void*>(&op<double>)
  GMVAE_OFFER(log_responsibilities);
  GMVAE_OFFER(log_responsibilities_backward);
  GMVAE_OFFER(mixture_kl);
  GMVAE_OFFER(mixture_statistics);
  GMVAE_OFFER(mixture_gradient);
  return nullptr;
}
