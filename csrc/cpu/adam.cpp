// The values of a step of Adam.
#include <algorithm>

#include "kernels.h"
#include "lanes.h"
#include "threads.h"

namespace gmvae::GMVAE_ISA {
namespace {

// Constants of a tensor's step, rounded to T once, as torch's kernel takes them.
template <typename T>
struct Coefficients {
  T mean_weight;  // of the gradient in its running mean
  bool from_old;  // the weight is added to the old mean; otherwise its complement is taken off the gradient
  T keep, square_weight, root, epsilon, rate;
};

template <typename T>
GMVAE_HD void advance(const Coefficients<T>& c, Vec<T>& parameter, Vec<T> gradient, Vec<T>& mean, Vec<T>& square) {
  const Vec<T> change = gradient - mean;
  // Either form is exact at its end: a weight of 1 gives the gradient itself.
  mean = c.from_old ? mean + c.mean_weight * change : gradient + (c.mean_weight - 1) * change;
  square = c.keep * square + c.square_weight * gradient * gradient;
  parameter -= c.rate * mean / (square_root(square) / c.root + c.epsilon);
}

template <typename T>
void advance_range(const Coefficients<T>& c, const AdamTensor<T>& t, std::int64_t begin, std::int64_t end) {
  constexpr int w = Lanes<T>::width;
  std::int64_t i = begin;
  for (; i + w <= end; i += w) {
    Vec<T> parameter = load(t.parameter + i), mean = load(t.mean + i), square = load(t.square + i);
    advance(c, parameter, load(t.gradient + i), mean, square);
    store(t.mean + i, mean);
    store(t.square + i, square);
    store(t.parameter + i, parameter);
  }
  if (i == end) return;
  // The rest goes through the same vectors, so that a value does not depend on where ranges begin.
  T rest[4][w] = {};
  const std::int64_t size = end - i;
  std::copy(t.parameter + i, t.parameter + end, rest[0]);
  std::copy(t.gradient + i, t.gradient + end, rest[1]);
  std::copy(t.mean + i, t.mean + end, rest[2]);
  std::copy(t.square + i, t.square + end, rest[3]);
  Vec<T> parameter = load(rest[0]), mean = load(rest[2]), square = load(rest[3]);
  advance(c, parameter, load(rest[1]), mean, square);
  store(rest[0], parameter);
  store(rest[2], mean);
  store(rest[3], square);
  std::copy(rest[0], rest[0] + size, t.parameter + i);
  std::copy(rest[2], rest[2] + size, t.mean + i);
  std::copy(rest[3], rest[3] + size, t.square + i);
}

// Values that a thread takes at a time, as soon as it is there: one that sleeps between regions comes late.
constexpr std::int64_t kChunk = kSerialEntries;

}  // namespace

template <typename T>
void adam(const AdamArgs<T>& a, std::int64_t values, int threads) {
  const double weight = 1 - a.beta1;
  for_each_item((values + kChunk - 1) / kChunk, threads, [&](std::int64_t chunk, int) {
    const std::int64_t begin = chunk * kChunk, end = std::min(values, begin + kChunk);
    for (std::int64_t i = 0; i < a.count; ++i) {
      const AdamTensor<T>& t = a.tensors[i];
      const std::int64_t low = std::max(begin, t.first) - t.first, high = std::min(end, t.first + t.size) - t.first;
      if (low >= high) continue;
      advance_range<T>({static_cast<T>(weight), weight < 0.5, static_cast<T>(a.beta2), static_cast<T>(1 - a.beta2),
                        t.root, static_cast<T>(a.epsilon), t.rate},
                       t, low, high);
    }
  });
}

template void adam<float>(const AdamArgs<float>&, std::int64_t, int);
template void adam<double>(const AdamArgs<double>&, std::int64_t, int);

}  // namespace gmvae::GMVAE_ISA
