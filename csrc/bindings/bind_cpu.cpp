// Integers from Python -> argument structs. Checks and allocation live in Python (gmvae_fast/ops).
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bind_args.h"
#include "bind_graph.h"
#include "gmvae/adam.h"
#include "gmvae/normalise.h"
#include "../cpu/dispatch.h"

namespace {

template <typename T>
void log_responsibilities(Ptr z, Ptr log_weights, Ptr means, Ptr scale, int covariance, Ptr log_resp, Ptr log_prob,
                          Int n, Int k, Int d, int threads) {
  gmvae::log_responsibilities_cpu<T>(
      {in<T>(z), mixture<T>(log_weights, means, scale, covariance, k, d), out<T>(log_resp), out<T>(log_prob), n},
      threads);
}

template <typename T>
void log_responsibilities_backward(Ptr z, Ptr log_weights, Ptr means, Ptr scale, int covariance, Ptr log_resp,
                                   Ptr grad_resp, Ptr grad_prob, Ptr grad_z, Ptr moments, Ptr workspace, Int n, Int k,
                                   Int d, int threads) {
  gmvae::log_responsibilities_backward_cpu<T>(
      {in<T>(z), mixture<T>(log_weights, means, scale, covariance, k, d), in<T>(log_resp), in<T>(grad_resp),
       in<T>(grad_prob), out<T>(grad_z), out<double>(moments), out<double>(workspace), n},
      threads);
}

template <typename T>
void mixture_kl(Ptr mean, Ptr log_var, Ptr z, Ptr log_weights, Ptr means, Ptr scale, int covariance, int assignment,
                bool detach, Ptr kl, Ptr grad_mean, Ptr grad_log_var, Ptr grad_z, Int n, Int k, Int d, Ptr moments,
                Ptr workspace, int threads) {
  gmvae::mixture_kl_cpu<T>(
      {in<T>(mean), in<T>(log_var), in<T>(z), mixture<T>(log_weights, means, scale, covariance, k, d),
       static_cast<gmvae::Assignment>(assignment), detach, out<T>(kl), out<T>(grad_mean), out<T>(grad_log_var),
       out<T>(grad_z), n, out<double>(moments), out<double>(workspace)},
      threads);
}

template <typename T>
void mixture_statistics(Ptr mean, Ptr log_var, Ptr z, Ptr log_weights, Ptr means, Ptr scale, int covariance,
                        int assignment, bool detach, Ptr row_weight, Ptr moments, Ptr log_evidence, Ptr workspace,
                        Int n, Int k, Int d, int threads) {
  gmvae::mixture_statistics_cpu<T>(
      {in<T>(mean), in<T>(log_var), in<T>(z), mixture<T>(log_weights, means, scale, covariance, k, d),
       static_cast<gmvae::Assignment>(assignment), detach, in<T>(row_weight), out<double>(moments),
       out<double>(log_evidence), out<double>(workspace), n},
      threads);
}

template <typename T>
void vector_exp_log(Ptr x, Int n, bool log, Ptr result) {
  gmvae::vector_exp_log_cpu<T>(in<T>(x), n, log, out<T>(result));
}

template <typename T>
void mixture_gradient(Ptr moments, int sets, double sign, Ptr log_vars, Ptr grad_log_weights, Ptr grad_means,
                      Ptr grad_log_vars, Int k, Int d, int /*threads*/) {
  gmvae::mixture_gradient_cpu<T>({in<double>(moments), sets, sign, in<T>(log_vars), out<T>(grad_log_weights),
                                  out<T>(grad_means), out<T>(grad_log_vars), k, d});
}

template <typename T>
void normalise(Ptr x, Ptr offset, Ptr scale, Ptr mask, Ptr result, bool channels_last, Int n, Int channels, Int cells,
               int threads) {
  gmvae::normalise_cpu<T>(
      {in<T>(x), in<T>(offset), in<T>(scale), in<bool>(mask), out<T>(result), channels_last, n, channels, cells},
      threads);
}

// tensors: for each one the addresses of parameter, gradient, running means, step count, and the number of values.
template <typename T>
void adam(const std::vector<Ptr>& tensors, double learning_rate, double beta1, double beta2, double epsilon,
          int threads) {
  std::vector<gmvae::AdamTensor<T>> table;
  table.reserve(tensors.size() / 6);
  for (std::size_t i = 0; i + 6 <= tensors.size(); i += 6) {
    table.push_back({out<T>(tensors[i]), in<T>(tensors[i + 1]), out<T>(tensors[i + 2]), out<T>(tensors[i + 3]),
                     out<float>(tensors[i + 4]), static_cast<Int>(tensors[i + 5])});
  }
  gmvae::adam_cpu<T>({table.data(), static_cast<Int>(table.size()), learning_rate, beta1, beta2, epsilon}, threads);
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
  m.attr("__version__") = GMVAE_VERSION;
  m.attr("openmp") = gmvae::openmp_enabled();
  m.def("instruction_sets", &gmvae::instruction_sets);
  m.def("instruction_set", &gmvae::instruction_set);
  m.def("set_instruction_set", &gmvae::set_instruction_set);
  m.def("moments_workspace", [](Int n, Int k, Int d, int covariance) {
    return gmvae::moments_workspace(n, k, d, static_cast<gmvae::Covariance>(covariance));
  });
  GMVAE_DEF(m, vector_exp_log);
  GMVAE_DEF(m, log_responsibilities);
  GMVAE_DEF(m, log_responsibilities_backward);
  GMVAE_DEF(m, mixture_kl);
  GMVAE_DEF(m, mixture_statistics);
  GMVAE_DEF(m, mixture_gradient);
  GMVAE_DEF(m, adam);
  GMVAE_DEF(m, normalise);
  bind_dense_chain(m);
  bind_graph(m);
  bind_krylov(m);
  bind_neighbors(m);
}
