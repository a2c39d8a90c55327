#pragma once
// Launcher layer: plain pointers and sizes; no Python, no torch, no CUDA headers.
// Arrays are row-major, contiguous and allocated by the caller. n rows, k components, d coordinates.
#include <cstdint>

#include "gmvae/host_device.h"

namespace gmvae {

// How responsibilities gamma are chosen in the mixture KL.
enum class Assignment : int {
  kExact = 0,    // gamma_c ~ pi_c exp(-KL_c), the minimiser
  kSampled = 1,  // gamma_c = p(c | z), z given
  kMean = 2,     // gamma_c = p(c | z = mean)
};

enum class Covariance : int {
  kDiagonal = 0,
  kFull = 1,
  kTied = 2,  // one dense covariance for all components
};

template <typename T>
struct MixtureView {
  const T* log_weights;  // [k]
  const T* means;        // [k, d]
  const T* log_vars;     // [k, d] for kDiagonal, else null
  std::int64_t k, d;
  // Whitening factors A = L^-1 of dense covariances L L': lower triangles in [k, d, d] (kFull) or [d, d] (kTied).
  const T* whitening = nullptr;
  Covariance covariance = Covariance::kDiagonal;
};

template <typename T>
struct LogRespArgs {
  const T* z;  // [n, d]
  MixtureView<T> mixture;
  T* log_resp;  // [n, k]
  T* log_prob;  // [n]
  std::int64_t n;
};

template <typename T>
struct LogRespBackwardArgs {
  const T* z;  // [n, d]
  MixtureView<T> mixture;
  const T* log_resp;   // [n, k]
  const T* grad_resp;  // [n, k] upstream gradient of log_resp
  const T* grad_prob;  // [n] upstream gradient of log_prob
  T* grad_z;           // [n, d] or null
  double* moments;     // [moments_size] as in MomentsArgs, or null: gradient of the mixture not wanted
  double* workspace;   // moments_workspace(...) values (CUDA: moments_workspace_cuda), or null with `moments`
  std::int64_t n;
};

// Moments of a weight w_ic about the current means, accumulated in float64 in a fixed order:
//   weight_c = sum_i w_ic, first_cj = sum_i w_ic (m_ij - mu_cj), second_cj = sum_i w_ic (s2_ij + (m_ij - mu_cj)^2)
// stored as weight [k], first [k, d], second [k, d] one after the other. For dense covariances second is
//   second_cuv = sum_i w_ic ((m_iu - mu_cu) (m_iv - mu_cv) + [u = v] s2_iu),  v <= u,
// rows of the lower triangle one after the other: [k, d (d + 1) / 2].
// w = row_weight_i * gamma_ic; row weights are one where none are given. With an attached kSampled or kMean assignment
// a second set follows, of w = row_weight_i * d kl_i / d logit_ic about the assignment's point (z or mean, s2 = 0).
template <typename T>
struct MixtureKlArgs {
  const T* mean;     // [n, d]
  const T* log_var;  // [n, d]
  const T* z;        // [n, d] for kSampled, else null
  MixtureView<T> mixture;
  Assignment assignment;
  bool detach;      // gamma is a constant for the gradient (kSampled, kMean)
  T* kl;            // [n]
  T* grad_mean;     // [n, d] d kl_i / d mean_i, or null: no gradient wanted
  T* grad_log_var;  // [n, d], or null with grad_mean
  T* grad_z;        // [n, d] for an attached kSampled, else null
  std::int64_t n;
  // CPU only: moments [sets * moments_size] from the same pass, or null.
  double* moments = nullptr;
  double* workspace = nullptr;  // moments_workspace(...) values, or null with `moments`
};

template <typename T>
struct MomentsArgs {
  const T* mean;     // [n, d]
  const T* log_var;  // [n, d], or null: rows are points (s2 = 0)
  const T* z;        // [n, d] for kSampled, else null
  MixtureView<T> mixture;
  Assignment assignment;
  bool detach;
  const T* row_weight;   // [n], or null: 1
  double* moments;       // [sets * moments_size]
  double* log_evidence;  // [1] sum_i logsumexp_c(log pi_c - KL_c), for points sum_i log p(x_i); or null
  double* workspace;     // moments_workspace(...) values (CUDA: moments_workspace_cuda)
  std::int64_t n;
};

GMVAE_HD constexpr std::int64_t moments_size(std::int64_t k, std::int64_t d, Covariance covariance) {
  return k * (1 + d + (covariance == Covariance::kDiagonal ? d : d * (d + 1) / 2));
}

// Sets of moments that an assignment needs.
GMVAE_HD constexpr int moment_sets(Assignment assignment, bool detach) {
  return assignment == Assignment::kExact || detach ? 1 : 2;
}

// Rows are cut into chunks whose borders depend on sizes alone, never on the number of threads; each chunk sums on
// its own, and chunks are added in order: one result for every thread count. `size` is the number of sums of a chunk
// (moments_size, or 0): at most kMaxChunks chunks, fewer where their sums would fill more than kMaxPartials values.
constexpr std::int64_t kMaxChunks = 256;
constexpr std::int64_t kFewestChunks = 16;
constexpr std::int64_t kMaxPartials = 1 << 22;
constexpr std::int64_t kMinChunkRows = 1024;

GMVAE_HD constexpr std::int64_t chunk_rows(std::int64_t n, std::int64_t size) {
  const std::int64_t fit = size > 0 ? kMaxPartials / size : kMaxChunks;
  const std::int64_t most = fit < kFewestChunks ? kFewestChunks : (fit < kMaxChunks ? fit : kMaxChunks);
  const std::int64_t rows = (n + most - 1) / most;
  const std::int64_t units = (rows + kMinChunkRows - 1) / kMinChunkRows;
  return (units < 1 ? 1 : units) * kMinChunkRows;
}

GMVAE_HD constexpr std::int64_t chunk_count(std::int64_t n, std::int64_t size) {
  return (n + chunk_rows(n, size) - 1) / chunk_rows(n, size);
}

// float64 values of scratch for two sets of moments and the log evidence, per chunk.
GMVAE_HD constexpr std::int64_t moments_workspace(std::int64_t n, std::int64_t k, std::int64_t d,
                                                  Covariance covariance) {
  const std::int64_t size = moments_size(k, d, covariance);
  return chunk_count(n, size) * (2 * size + 1);
}

// Gradient of a diagonal mixture from moments: with w = sign * (first set) + (second set, if any),
//   sum_i w_ic d (log pi_c + log N_c) / d (log pi_c, mu_cj, log var_cj).
template <typename T>
struct MixtureGradientArgs {
  const double* moments;  // [sets * moments_size]
  int sets;
  double sign;
  const T* log_vars;    // [k, d]
  T* grad_log_weights;  // [k]
  T* grad_means;        // [k, d]
  T* grad_log_vars;     // [k, d]
  std::int64_t k, d;
};

template <typename T>
void log_responsibilities_cpu(const LogRespArgs<T>& args, int threads);
template <typename T>
void log_responsibilities_backward_cpu(const LogRespBackwardArgs<T>& args, int threads);
template <typename T>
void mixture_kl_cpu(const MixtureKlArgs<T>& args, int threads);
template <typename T>
void mixture_statistics_cpu(const MomentsArgs<T>& args, int threads);
template <typename T>
void mixture_gradient_cpu(const MixtureGradientArgs<T>& args);

// `stream` is a cudaStream_t carried as void* so that this header stays CUDA-free.
template <typename T>
void log_responsibilities_cuda(const LogRespArgs<T>& args, void* stream);
template <typename T>
void log_responsibilities_backward_cuda(const LogRespBackwardArgs<T>& args, void* stream);
template <typename T>
void mixture_kl_cuda(const MixtureKlArgs<T>& args, void* stream);
template <typename T>
void mixture_statistics_cuda(const MomentsArgs<T>& args, void* stream);
template <typename T>
void mixture_gradient_cuda(const MixtureGradientArgs<T>& args, void* stream);

// float64 values of `workspace` that the CUDA kernels need in place of moments_workspace.
std::int64_t moments_workspace_cuda(std::int64_t n, std::int64_t k, std::int64_t d, Covariance covariance);

// Number of usable devices; 0 (never an error) when there is no driver or no GPU.
int cuda_device_count(int* status, const char** message);

}  // namespace gmvae
