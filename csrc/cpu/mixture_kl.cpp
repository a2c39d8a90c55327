#include "rows.h"

namespace gmvae::GMVAE_ISA {
namespace {

// -1/2 (sum_j lv_j + D) of every row
template <typename T>
void entropy_rows(const T* log_var, std::int64_t d, std::int64_t stride, T* out) {
  for (std::int64_t r = 0; r < stride; r += Lanes<T>::width) {
    Vec<T> sum{};
    for (std::int64_t j = 0; j < d; ++j) sum += load(log_var + j * stride + r);
    store(out + r, math::entropy_term(sum, static_cast<T>(d)));
  }
}

template <typename T>
void write_gradients(const MixtureKlArgs<T>& a, const Tables<T>& t, const Scratch<T>& s, std::int64_t first,
                     std::int64_t rows, std::int64_t stride) {
  constexpr int W = Lanes<T>::width;
  const std::int64_t d = t.d;
  pull_rows<T, true>(s.x, s.gamma, t, stride, s.out0, s.out1);
  for (std::int64_t i = 0; i < d * stride; i += W) {
    store(s.out1 + i, math::grad_log_var(load(s.s2 + i), load(s.out1 + i)));
  }
  store_tile(s.out1, rows, d, stride, a.grad_log_var + first * d);
  if (a.assignment != Assignment::kExact && !a.detach) {
    // The logit of component c falls by (z - mu) iv per unit of z.
    const T* const point = a.assignment == Assignment::kMean ? s.x : s.z;
    pull_rows<T, false>(point, s.other, t, stride, s.out1, s.out1);
    if (a.assignment == Assignment::kMean) {
      for (std::int64_t i = 0; i < d * stride; i += W) store(s.out0 + i, load(s.out0 + i) - load(s.out1 + i));
    } else {
      for (std::int64_t i = 0; i < d * stride; i += W) store(s.out1 + i, -load(s.out1 + i));
      store_tile(s.out1, rows, d, stride, a.grad_z + first * d);
    }
  }
  store_tile(s.out0, rows, d, stride, a.grad_mean + first * d);
}

}  // namespace

template <typename T>
void mixture_kl(const MixtureKlArgs<T>& a, const Workspace<T>& w) {
  const Tables<T> t = make_tables(a.mixture, w);
  const std::int64_t d = t.d;
  for_each_tile<T>(a.n, t.k, d, w,
                   [&](const Scratch<T>& s, std::int64_t first, std::int64_t rows, std::int64_t stride) {
                     constexpr int W = Lanes<T>::width;
                     load_tile(a.mean + first * d, rows, d, stride, T(0), s.x);
                     load_tile(a.log_var + first * d, rows, d, stride, T(0), s.log_var);
                     exp_columns(s.log_var, d * stride, s.s2);
                     entropy_rows(s.log_var, d, stride, s.row0);
                     if (a.assignment == Assignment::kExact) {
                       energies<T, true>(s.x, s.s2, t, stride, s.gamma);
                       softmax(t, stride, s.gamma, s.row1);
                       for (std::int64_t r = 0; r < stride; r += W)
                         store(s.row0 + r, load(s.row0 + r) - load(s.row1 + r));
                     } else {
                       const T* point = s.x;
                       if (a.assignment == Assignment::kSampled) {
                         load_tile(a.z + first * d, rows, d, stride, T(0), s.z);
                         point = s.z;
                       }
                       energies<T, true>(s.x, s.s2, t, stride, s.other);
                       energies<T, false>(point, nullptr, t, stride, s.gamma);
                       assigned_rows(t, stride, s.gamma, s.other, s.out0, s.row1);
                       for (std::int64_t r = 0; r < stride; r += W)
                         store(s.row0 + r, load(s.row0 + r) + load(s.row1 + r));
                     }
                     for (std::int64_t r = 0; r < rows; ++r) a.kl[first + r] = s.row0[r];
                     if (a.grad_mean) write_gradients(a, t, s, first, rows, stride);
                   });
}

template void mixture_kl<float>(const MixtureKlArgs<float>&, const Workspace<float>&);
template void mixture_kl<double>(const MixtureKlArgs<double>&, const Workspace<double>&);

}  // namespace gmvae::GMVAE_ISA
