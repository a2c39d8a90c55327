#include "rows.h"

namespace gmvae::GMVAE_ISA {
namespace {

// The rows' KL_mix: entropy term minus the logsumexp (exact) or plus what assigned_rows left in row1.
template <typename T>
void write_kl(const MixtureKlArgs<T>& a, const Scratch<T>& s, std::int64_t first, std::int64_t rows,
              std::int64_t stride) {
  const std::int64_t d = a.mixture.d;
  const bool exact = a.assignment == Assignment::kExact;
  for (std::int64_t r = 0; r < stride; r += Lanes<T>::width) {
    Vec<T> sum{};
    for (std::int64_t j = 0; j < d; ++j) sum += load(s.log_var + j * stride + r);
    const Vec<T> entropy = math::entropy_term(sum, static_cast<T>(d));
    store(s.row0 + r, exact ? entropy - load(s.row0 + r) : entropy + load(s.row1 + r));
  }
  for (std::int64_t r = 0; r < rows; ++r) a.kl[first + r] = s.row0[r];
}

template <typename T, class TablesOfT>
void write_gradients(const MixtureKlArgs<T>& a, const TablesOfT& t, const Scratch<T>& s, const T* point,
                     std::int64_t first, std::int64_t rows, std::int64_t stride) {
  constexpr int W = Lanes<T>::width;
  const std::int64_t d = t.d;
  pull_rows<T, true>(s, s.x, s.gamma, t, stride, s.out0, s.out1);
  for (std::int64_t i = 0; i < d * stride; i += W) {
    store(s.out1 + i, math::grad_log_var(load(s.s2 + i), load(s.out1 + i)));
  }
  store_tile(s.out1, rows, d, stride, a.grad_log_var + first * d);
  if (a.assignment != Assignment::kExact && !a.detach) {
    // The logit of component c falls by (z - mu) iv per unit of z.
    pull_rows<T, false>(s, point, s.other, t, stride, s.out1, s.out1);
    if (a.assignment == Assignment::kMean) {
      for (std::int64_t i = 0; i < d * stride; i += W) store(s.out0 + i, load(s.out0 + i) - load(s.out1 + i));
    } else {
      for (std::int64_t i = 0; i < d * stride; i += W) store(s.out1 + i, -load(s.out1 + i));
      store_tile(s.out1, rows, d, stride, a.grad_z + first * d);
    }
  }
  store_tile(s.out0, rows, d, stride, a.grad_mean + first * d);
}

template <typename T, class TablesOfT>
void run(const MixtureKlArgs<T>& a, const TablesOfT& t, const Workspace<T>& w) {
  const std::int64_t size = a.moments ? moments_size(t.k, t.d, a.mixture.covariance) : 0;
  const std::int64_t stored = moment_sets(a.assignment, a.detach) * size;
  for_each_tile<T>(
      a.n, t.k, t.d, size, w,
      [&](const Scratch<T>& s, std::int64_t first, std::int64_t rows, std::int64_t stride) {
        const T* const point = assign_tile(a, t, s, first, rows, stride);
        write_kl(a, s, first, rows, stride);
        if (a.grad_mean) write_gradients(a, t, s, point, first, rows, stride);
        if (a.moments) add_assigned_moments<T>(a, t, s, point, nullptr, rows, stride);
      },
      [&](const Scratch<T>& s, std::int64_t chunk) {
        if (a.moments) fold_lanes(s.wide, stored, a.workspace + chunk * stored);
      });
  if (a.moments) reduce_chunks(a.workspace, chunk_count(a.n, size), stored, a.moments);
}

}  // namespace

template <typename T>
void mixture_kl(const MixtureKlArgs<T>& a, const Workspace<T>& w) {
  with_tables(a.mixture, w, [&](const auto& t) { run(a, t, w); });
}

template void mixture_kl<float>(const MixtureKlArgs<float>&, const Workspace<float>&);
template void mixture_kl<double>(const MixtureKlArgs<double>&, const Workspace<double>&);

}  // namespace gmvae::GMVAE_ISA
