#include "rows.h"

namespace gmvae::GMVAE_ISA {
namespace {

// Sum of a tile's rows' log evidence; row0 holds logsumexp_c(offset_c - energy_c / 2).
template <typename T>
double tile_evidence(const MomentsArgs<T>& a, const Scratch<T>& s, std::int64_t rows, std::int64_t stride) {
  const std::int64_t d = a.mixture.d;
  double sum = 0;
  for (std::int64_t r = 0; r < rows; ++r) sum += static_cast<double>(s.row0[r]);
  if (!a.log_var) return sum + static_cast<double>(rows) * math::log_normaliser(static_cast<double>(d));
  double log_vars = 0;
  for (std::int64_t j = 0; j < d; ++j) {
    for (std::int64_t r = 0; r < rows; ++r) log_vars += static_cast<double>(s.log_var[j * stride + r]);
  }
  return sum - math::entropy_term(log_vars, static_cast<double>(rows * d));
}

template <typename T, class TablesOfT>
void sum_moments(const MomentsArgs<T>& a, const TablesOfT& t, const Workspace<T>& w) {
  const std::int64_t size = moments_size(t.k, t.d, a.mixture.covariance), chunks = chunk_count(a.n, size);
  const int sets = moment_sets(a.assignment, a.detach);
  const std::int64_t stored = sets * size + 1;  // behind the moments stands the log evidence

  for_each_tile<T>(
      a.n, t.k, t.d, size, w,
      [&](const Scratch<T>& s, std::int64_t first, std::int64_t rows, std::int64_t stride) {
        const T* const scale = a.row_weight ? a.row_weight + first : nullptr;
        const T* const point = assign_tile(a, t, s, first, rows, stride);
        add_assigned_moments(a, t, s, point, scale, rows, stride);
        if (a.log_evidence) s.wide[sets * size * kWideLanes] += tile_evidence(a, s, rows, stride);
      },
      [&](const Scratch<T>& s, std::int64_t chunk) { fold_lanes(s.wide, stored, a.workspace + chunk * stored); });

  for (std::int64_t i = 0; i < sets * size; ++i) a.moments[i] = 0;
  double evidence = 0;
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    const double* const partial = a.workspace + chunk * stored;
    for (std::int64_t i = 0; i < sets * size; ++i) a.moments[i] += partial[i];
    evidence += partial[sets * size];
  }
  if (a.log_evidence) *a.log_evidence = evidence;
}

}  // namespace

template <typename T>
void mixture_statistics(const MomentsArgs<T>& a, const Workspace<T>& w) {
  with_tables(a.mixture, w, [&](const auto& t) { sum_moments(a, t, w); });
}

template void mixture_statistics<float>(const MomentsArgs<float>&, const Workspace<float>&);
template void mixture_statistics<double>(const MomentsArgs<double>&, const Workspace<double>&);

}  // namespace gmvae::GMVAE_ISA
