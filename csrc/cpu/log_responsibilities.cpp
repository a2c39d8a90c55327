#include "rows.h"

namespace gmvae::GMVAE_ISA {

template <typename T>
std::int64_t scratch_elements(std::int64_t k, std::int64_t d) {
  return scratch_size<T>(k, d);
}

int wide_lanes() { return kWideLanes; }

template <typename T>
void vector_exp_log(const T* x, std::int64_t n, bool log, T* out) {
  for (std::int64_t i = 0; i < n; i += Lanes<T>::width) {
    const Vec<T> v = load(x + i);
    store(out + i, log ? vector_log<T>(v) : vector_exp<T>(v));
  }
}

namespace {

template <typename T, class TablesOfT>
void responsibilities(const LogRespArgs<T>& a, const TablesOfT& t, const Workspace<T>& w) {
  const std::int64_t d = t.d, k = t.k;
  for_each_tile<T>(a.n, k, d, w, [&](const Scratch<T>& s, std::int64_t first, std::int64_t rows, std::int64_t stride) {
    constexpr int W = Lanes<T>::width;
    load_tile(a.z + first * d, rows, d, stride, T(0), s.x);
    energies<T, false>(s, s.x, nullptr, t, stride, s.gamma, s.shift);
    for (std::int64_t c = 0; c < k; ++c) {
      for (std::int64_t r = 0; r < stride; r += W) {
        const std::int64_t i = c * stride + r;
        store(s.other + i, math::component_logit(t.offset[c], load(s.gamma + i)));
      }
    }
    softmax<T>(t, stride, s.gamma, s.row0);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < k; ++c) a.log_resp[(first + r) * k + c] = s.other[c * stride + r] - s.row0[r];
    }
    absolute_lse<T>(t, stride, s.shift, s.row0);
    for (std::int64_t r = 0; r < rows; ++r) {
      a.log_prob[first + r] = s.row0[r] + math::log_normaliser(static_cast<T>(d));
    }
  });
}

// Turns log responsibilities (gamma) and upstream gradients (other, row0) into the gradient of the logits, in gamma.
template <typename T>
void logit_gradients(const Scratch<T>& s, std::int64_t k, std::int64_t stride) {
  constexpr int W = Lanes<T>::width;
  for (std::int64_t r = 0; r < stride; r += W) {
    Vec<T> sum = -load(s.row0 + r);
    for (std::int64_t c = 0; c < k; ++c) sum += load(s.other + c * stride + r);
    for (std::int64_t c = 0; c < k; ++c) {
      const std::int64_t i = c * stride + r;
      store(s.gamma + i, math::logit_gradient(load(s.other + i), vector_exp<T>(load(s.gamma + i)), sum));
    }
  }
}

template <typename T, class TablesOfT>
void responsibilities_backward(const LogRespBackwardArgs<T>& a, const TablesOfT& t, const Workspace<T>& w) {
  const std::int64_t d = t.d, k = t.k;
  const std::int64_t size = moments_size(k, d, a.mixture.covariance), sums = a.moments ? size : 0;
  for_each_tile<T>(
      a.n, k, d, sums, w,
      [&](const Scratch<T>& s, std::int64_t first, std::int64_t rows, std::int64_t stride) {
        load_tile(a.z + first * d, rows, d, stride, T(0), s.x);
        load_tile(a.log_resp + first * k, rows, k, stride, T(0), s.gamma);
        load_tile(a.grad_resp + first * k, rows, k, stride, T(0), s.other);
        load_tile(a.grad_prob + first, rows, 1, stride, T(0), s.row0);
        logit_gradients(s, k, stride);
        if (a.moments) {
          weight_rows<T>(nullptr, rows, k, stride, s.gamma);
          add_moments<T, false>(s, s.x, nullptr, s.gamma, t, stride, s.wide);
        }
        if (a.grad_z) {
          pull_rows<T, false>(s, s.x, s.gamma, t, stride, s.out0, s.out0);
          for (std::int64_t i = 0; i < d * stride; i += Lanes<T>::width) store(s.out0 + i, -load(s.out0 + i));
          store_tile(s.out0, rows, d, stride, a.grad_z + first * d);
        }
      },
      [&](const Scratch<T>& s, std::int64_t chunk) {
        if (a.moments) fold_lanes(s.wide, size, a.workspace + chunk * size);
      });
  if (a.moments) reduce_chunks(a.workspace, chunk_count(a.n, sums), size, a.moments);
}

}  // namespace

template <typename T>
void log_responsibilities(const LogRespArgs<T>& a, const Workspace<T>& w) {
  with_tables(a.mixture, w, [&](const auto& t) { responsibilities(a, t, w); });
}

template <typename T>
void log_responsibilities_backward(const LogRespBackwardArgs<T>& a, const Workspace<T>& w) {
  with_tables(a.mixture, w, [&](const auto& t) { responsibilities_backward(a, t, w); });
}

template std::int64_t scratch_elements<float>(std::int64_t, std::int64_t);
template std::int64_t scratch_elements<double>(std::int64_t, std::int64_t);
template void vector_exp_log<float>(const float*, std::int64_t, bool, float*);
template void vector_exp_log<double>(const double*, std::int64_t, bool, double*);
template void log_responsibilities<float>(const LogRespArgs<float>&, const Workspace<float>&);
template void log_responsibilities<double>(const LogRespArgs<double>&, const Workspace<double>&);
template void log_responsibilities_backward<float>(const LogRespBackwardArgs<float>&, const Workspace<float>&);
template void log_responsibilities_backward<double>(const LogRespBackwardArgs<double>&, const Workspace<double>&);

}  // namespace gmvae::GMVAE_ISA
