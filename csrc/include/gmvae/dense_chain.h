#pragma once
// Launchers for chains of dense layers: the products are torch's, all between them is one pass over what they leave.
// Each thread takes its rows through the whole chain, so that threads meet once a call rather than once an operator.
#include <cstdint>

namespace gmvae {

struct BFloat16 {
  std::uint16_t bits;
};

// Matrix products through torch's stable C interface (torch/csrc/inductor/aoti_torch/c/shim.h). This module links no
// torch: Python finds the addresses in the one that runs.
struct TorchProducts {
  using Handle = void*;
  int (*wrap)(void* data, std::int64_t axes, const std::int64_t* sizes, const std::int64_t* strides,
              std::int64_t offset, std::int32_t dtype, std::int32_t device_type, std::int32_t device_index,
              Handle* made);
  int (*release)(Handle);
  int (*data)(Handle, void** address);
  int (*mm_out)(Handle out, Handle first, Handle second);
  // x weight' by oneDNN into a new tensor; null where mm_out is as fast.
  int (*linear)(Handle x, Handle weight, Handle* bias, const char* attribute, const double** scalars,
                std::int64_t count, const char** algorithm, Handle* made);
  std::int32_t float32, bfloat16;  // torch's numbers of the types
};

enum class Activation : int { kNone, kSilu, kRelu, kLeakyRelu };

// Layer l maps [n, widths[l]] to [n, widths[l + 1]] as activation(x W' + b); T is the type of the products.
template <typename T>
struct DenseChainArgs {
  const T* x;  // [n, widths[0]]
  std::int64_t n;
  int layers;
  const std::int64_t* widths;  // [layers + 1]
  const T* const* weights;     // [layers] of [widths[l + 1], widths[l]]
  const float* const* biases;  // [layers] of [widths[l + 1]] or null
  const Activation* activations;
  const float* slopes;    // of kLeakyRelu
  T* const* outputs;      // [layers] of [n, widths[l + 1]]; null: not kept, but the last
  T* const* derivatives;  // [layers] of activations, [n, widths[l + 1]]; null: not wanted, or of kNone
  TorchProducts torch;
};

template <typename T>
struct DenseChainBackwardArgs {
  const T* grad;  // [n, widths[layers]]
  const T* x;     // as above
  std::int64_t n;
  int layers;
  const std::int64_t* widths;
  const T* const* weights;
  const T* const* outputs;
  const T* const* derivatives;
  T* const* before;            // [layers] of [n, widths[l + 1]] scratch: gradients of x W' + b; null where grad is it
  T* grad_x;                   // [n, widths[0]] or null
  float* const* grad_weights;  // [layers] or null: none is wanted
  float* const* grad_biases;   // [layers], entries may be null
  TorchProducts torch;
};

// Both are false when a product fails, which torch has then reported.
template <typename T>
bool dense_chain_cpu(const DenseChainArgs<T>& args, int threads);
template <typename T>
bool dense_chain_backward_cpu(const DenseChainBackwardArgs<T>& args, int threads);

template <typename T>
struct RoundArraysArgs {
  const T* const* from;       // [count]
  const std::int64_t* sizes;  // [count]
  int count;
  BFloat16* const* to;  // [count]
};

// To the nearest, ties to even.
void round_arrays_cpu(const RoundArraysArgs<float>& args, int threads);

// Address of omp_in_parallel as this module sees it, 0 without OpenMP: torch's products stay within the calling thread
// only where both use one runtime.
std::uintptr_t openmp_runtime();

}  // namespace gmvae
