// What a step of Adam settles before its parallel region.
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "gmvae/adam.h"

namespace gmvae {
namespace {

// Parameters on shared memory are updated one after the other, as if each were alone.
template <typename T>
bool apart(const AdamArgs<T>& a) {
  std::vector<std::pair<const T*, std::int64_t>> blocks;
  for (std::int64_t i = 0; i < a.count; ++i) {
    if (a.tensors[i].size > 0) blocks.emplace_back(a.tensors[i].parameter, a.tensors[i].size);
  }
  std::sort(blocks.begin(), blocks.end());
  for (std::size_t i = 1; i < blocks.size(); ++i) {
    if (blocks[i - 1].first + blocks[i - 1].second > blocks[i].first) return false;
  }
  return true;
}

}  // namespace

template <typename T>
AdamPlan advance_steps(const AdamArgs<T>& a) {
  std::int64_t values = 0;
  for (std::int64_t i = 0; i < a.count; ++i) {
    AdamTensor<T>& tensor = a.tensors[i];
    const double step = *tensor.step += 1;
    tensor.rate = static_cast<T>(a.learning_rate / (1 - std::pow(a.beta1, step)));
    tensor.root = static_cast<T>(std::sqrt(1 - std::pow(a.beta2, step)));
    tensor.first = values;
    values += tensor.size;
  }
  return {values, apart(a)};
}

template AdamPlan advance_steps<float>(const AdamArgs<float>&);
template AdamPlan advance_steps<double>(const AdamArgs<double>&);

}  // namespace gmvae
