// Lists of integers from Python -> argument structs of chains of dense layers. Checks and allocation live in Python
// (gmvae_fast/ops).
#include <pybind11/stl.h>

#include <stdexcept>
#include <vector>

#include "bind_args.h"
#include "bind_graph.h"
#include "gmvae/dense_chain.h"

namespace {

using Ptrs = std::vector<Ptr>;

template <typename P>
std::vector<P*> pointers(const Ptrs& addresses) {
  std::vector<P*> result;
  result.reserve(addresses.size());
  for (const Ptr address : addresses) result.push_back(reinterpret_cast<P*>(address));
  return result;
}

template <typename F>
void take_address(F& function, Ptr address) {
  function = reinterpret_cast<F>(address);
}

// Addresses and type numbers in the order of the struct's members.
gmvae::TorchProducts torch_products(const Ptrs& table) {
  if (table.size() != 7) throw std::invalid_argument("torch's products are seven numbers");
  gmvae::TorchProducts torch;
  take_address(torch.wrap, table[0]);
  take_address(torch.release, table[1]);
  take_address(torch.data, table[2]);
  take_address(torch.mm_out, table[3]);
  take_address(torch.linear, table[4]);
  torch.float32 = static_cast<std::int32_t>(table[5]);
  torch.bfloat16 = static_cast<std::int32_t>(table[6]);
  return torch;
}

void check(bool done) {
  if (!done) throw std::runtime_error("a product of a dense layer failed in torch; its message stands above");
}

template <typename T>
void dense_chain(Ptr x, Int n, const std::vector<Int>& widths, const Ptrs& weights, const Ptrs& biases,
                 const std::vector<int>& activations, const std::vector<float>& slopes, const Ptrs& outputs,
                 const Ptrs& derivatives, const Ptrs& torch, int threads) {
  std::vector<gmvae::Activation> kinds;
  for (const int kind : activations) kinds.push_back(static_cast<gmvae::Activation>(kind));
  check(gmvae::dense_chain_cpu<T>(
      {in<T>(x), n, static_cast<int>(weights.size()), widths.data(), pointers<const T>(weights).data(),
       pointers<const float>(biases).data(), kinds.data(), slopes.data(), pointers<T>(outputs).data(),
       pointers<T>(derivatives).data(), torch_products(torch)},
      threads));
}

template <typename T>
void dense_chain_backward(Ptr grad, Ptr x, Int n, const std::vector<Int>& widths, const Ptrs& weights,
                          const Ptrs& outputs, const Ptrs& derivatives, const Ptrs& before, Ptr grad_x,
                          const Ptrs& grad_weights, const Ptrs& grad_biases, const Ptrs& torch, int threads) {
  const auto of_weights = pointers<float>(grad_weights);
  check(gmvae::dense_chain_backward_cpu<T>(
      {in<T>(grad), in<T>(x), n, static_cast<int>(weights.size()), widths.data(), pointers<const T>(weights).data(),
       pointers<const T>(outputs).data(), pointers<const T>(derivatives).data(), pointers<T>(before).data(),
       out<T>(grad_x), of_weights.empty() ? nullptr : of_weights.data(), pointers<float>(grad_biases).data(),
       torch_products(torch)},
      threads));
}

void round_arrays(const Ptrs& from, const std::vector<Int>& sizes, const Ptrs& to, int threads) {
  gmvae::round_arrays_cpu({pointers<const float>(from).data(), sizes.data(), static_cast<int>(from.size()),
                           pointers<gmvae::BFloat16>(to).data()},
                          threads);
}

}  // namespace

void bind_dense_chain(py::module_& m) {
  const auto unlocked = py::call_guard<py::gil_scoped_release>();
  m.def("openmp_runtime", &gmvae::openmp_runtime);
  m.def("dense_chain_f32", &dense_chain<float>, unlocked);
  m.def("dense_chain_bf16", &dense_chain<gmvae::BFloat16>, unlocked);
  m.def("dense_chain_backward_f32", &dense_chain_backward<float>, unlocked);
  m.def("dense_chain_backward_bf16", &dense_chain_backward<gmvae::BFloat16>, unlocked);
  m.def("round_arrays", &round_arrays, unlocked);
}
