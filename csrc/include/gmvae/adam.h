#pragma once
// Adam (Kingma & Ba 2015, arXiv 1412.6980) over all tensors of a step at once.
#include <cstdint>

namespace gmvae {

// A parameter and what belongs to it. All arrays walk through memory in the same order.
template <typename T>
struct AdamTensor {
  T* parameter;       // [size]
  const T* gradient;  // [size]
  T* mean;            // [size] running mean of the gradient
  T* square;          // [size] running mean of its square
  float* step;        // [1] steps taken
  std::int64_t size;
  // Filled in by advance_steps.
  std::int64_t first = 0;  // values of the tensors before this one
  T rate = 0;              // learning rate / (1 - beta1^step)
  T root = 0;              // sqrt(1 - beta2^step)
};

template <typename T>
struct AdamArgs {
  AdamTensor<T>* tensors;  // [count]
  std::int64_t count;
  double learning_rate, beta1, beta2, epsilon;
};

// What advance_steps found.
struct AdamPlan {
  std::int64_t values;  // of all tensors
  bool apart;           // no two parameters share memory
};

// Counts the step in every tensor and fills in what depends on its number.
template <typename T>
AdamPlan advance_steps(const AdamArgs<T>& args);

// One step. The threads share the values, whatever tensor these belong to: one parallel region, and one result for
// every number of threads.
template <typename T>
void adam_cpu(const AdamArgs<T>& args, int threads);

}  // namespace gmvae
