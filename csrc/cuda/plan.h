#pragma once
// Decisions of a launch that depend on sizes alone: how a row lies in registers, what goes to shared memory.
// Plain C++ so that the emulation in tests/ops takes the same decisions.
#include <cstdint>
#include <initializer_list>

#include "dense_rows.h"
#include "dense_statistics.h"
#include "log_responsibilities.h"
#include "mixture_statistics.h"
#include "rows.h"

namespace gmvae::gpu {

constexpr int kThreads = 128;
constexpr std::int64_t kRowShared = 48 * 1024;     // bytes a block may use without asking the driver
constexpr std::int64_t kMomentShared = 96 * 1024;  // bytes every device from sm_80 grants on request

template <class Row>
struct Type {
  using type = Row;
};

// Rows in registers for float alone: they are most of the code, and whoever wants speed takes float.
template <typename T, class Visit>
void with_dense_row(std::int64_t d, const Visit& visit) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (d <= 4) return visit(Type<DenseRow<T, 4>>{});
    if (d <= 8) return visit(Type<DenseRow<T, 8>>{});
    if (d <= 16) return visit(Type<DenseRow<T, 16>>{});
  }
  if (d <= kMostDenseCoordinates) return visit(Type<DenseRow<T, kMostDenseCoordinates>>{});
  return visit(Type<WideDenseRow<T>>{});
}

// Calls visit(Type<Row>) with the narrowest row that holds the mixture's coordinates. A few widths, because each costs
// compile time; a narrower d is padded with coordinates of zero precision.
template <typename T, class Visit>
void with_row(const MixtureView<T>& mixture, const Visit& visit) {
  const std::int64_t d = mixture.d;
  if (mixture.covariance != Covariance::kDiagonal) return with_dense_row<T>(d, visit);
  if (d <= 2) return visit(Type<RegisterRow<T, 2, false>>{});
  if (d == 3) return visit(Type<RegisterRow<T, 3, false>>{});
  if (d == 4) return visit(Type<RegisterRow<T, 4, false>>{});
  if (d <= 8) return visit(Type<RegisterRow<T, 8, false>>{});
  if constexpr (kMostCoordinates<T> > 8) {
    if (d <= kMostCoordinates<T>) return visit(Type<RegisterRow<T, kMostCoordinates<T>, false>>{});
  }
  if (d <= kWarp * kMostCoordinates<T>) return visit(Type<RegisterRow<T, kMostCoordinates<T>, true>>{});
  return visit(Type<WideRow<T>>{});
}

// Lanes that share one row.
template <class Row>
int row_lanes(std::int64_t d) {
  int lanes = Row::kLanes ? Row::kLanes : 2;
  if (!Row::kLanes) {
    while (lanes * Row::kCoordinates < d) lanes *= 2;
  }
  return lanes;
}

// `wanted`, or as many as fit; at least one.
inline int fitting(std::int64_t wanted, std::int64_t most) {
  const std::int64_t count = wanted < most ? wanted : most;
  return static_cast<int>(count < 1 ? 1 : (count < INT32_MAX ? count : INT32_MAX));
}

template <class Row>
bool can_vectorise(std::int64_t d, std::initializer_list<const void*> arrays) {
  std::uintptr_t address = 0;
  for (const void* p : arrays) address |= reinterpret_cast<std::uintptr_t>(p);
  return d % Row::kPack == 0 && address % (Row::kPack * sizeof(typename Row::Scalar)) == 0;
}

// Fits as many components' tables into `elements` of shared memory as there is room for, with `beside` more elements
// each; returns what the tables take.
template <class Row>
std::int64_t fit_tables(const MixtureView<typename Row::Scalar>& m, std::int64_t elements, std::int64_t beside,
                        RowPlan& plan) {
  const std::int64_t factor = Row::factor_size(plan.stride);
  const bool tied = m.covariance == Covariance::kTied;
  const std::int64_t common = tied ? factor : 0;  // beside mu, inv_var and offset of one component
  const std::int64_t each = Row::kTables ? 2 * plan.stride + 1 + factor - common : 0;
  plan.factor_step = static_cast<int>(factor - common);
  plan.tile = each + beside > 0 ? fitting(m.k, (elements - common) / (each + beside)) : fitting(m.k, m.k);
  return plan.tile * each + common;
}

template <class Row>
RowPlan plan_rows(const MixtureView<typename Row::Scalar>& m, std::initializer_list<const void*> arrays,
                  std::int64_t budget) {
  constexpr std::int64_t element = sizeof(typename Row::Scalar);
  RowPlan plan{};
  plan.lanes = row_lanes<Row>(m.d);
  plan.vector = can_vectorise<Row>(m.d, arrays);
  plan.stride = Row::table_stride(plan.lanes, m.d);
  plan.shared = fit_tables<Row>(m, budget / element, 0, plan) * element;
  return plan;
}

template <class Row>
LogRespPlan plan_log_responsibilities(const LogRespArgs<typename Row::Scalar>& a, std::int64_t budget) {
  constexpr std::int64_t element = sizeof(typename Row::Scalar);
  LogRespPlan plan{};
  plan.rows = plan_rows<Row>(a.mixture, {a.z}, budget / 2);
  const std::int64_t rows = kThreads / plan.rows.lanes;
  const std::int64_t staging = rows * (staging_stride(a.mixture.k) + 1) * element;
  plan.staged = plan.rows.tile == a.mixture.k && plan.rows.shared + staging <= budget;
  plan.shared = plan.rows.shared + (plan.staged ? staging : 0);
  return plan;
}

// Blocks of stage 1: multiples of the 132 processors of an H100, fewer where each block's partial sums are large.
// The same on every device, so that the bits of a result depend on the data alone.
constexpr std::int64_t kFewestBlocks = 32;
constexpr std::int64_t kMostPartials = 1 << 25;  // float64 values of all blocks, if kFewestBlocks allow

constexpr std::int64_t moment_blocks(std::int64_t n, std::int64_t size, std::int64_t tile_rows) {
  const std::int64_t tiles = (n + tile_rows - 1) / tile_rows, wanted = size <= 4096 ? 8 * 132 : 2 * 132;
  const std::int64_t fit = kMostPartials / size < kFewestBlocks ? kFewestBlocks : kMostPartials / size;
  const std::int64_t most = fit < wanted ? fit : wanted;
  return tiles < most ? tiles : most;
}

constexpr int kFewestTileRows = 64;

// float64 values of workspace for either kind of moments.
constexpr std::int64_t moments_workspace_size(std::int64_t n, std::int64_t k, std::int64_t d, Covariance covariance) {
  const std::int64_t size = partial_size(k, d, covariance);
  return moment_blocks(n, size, kFewestTileRows) * size;
}

// Row: what the weights are computed with; WideRow where they are given, which needs no tables.
template <class Row>
MomentsPlan plan_moments(const MixtureView<typename Row::Scalar>& m, std::int64_t n,
                         std::initializer_list<const void*> arrays, int patch_coordinates, bool one_thread_a_row,
                         std::int64_t budget) {
  constexpr std::int64_t element = sizeof(typename Row::Scalar);
  constexpr std::int64_t pack = 16 / element;
  const bool dense = m.covariance != Covariance::kDiagonal;
  const std::int64_t size = partial_size(m.k, m.d, m.covariance);
  MomentsPlan plan{};
  plan.rows = plan_rows<Row>(m, arrays, budget);
  plan.tile_rows = one_thread_a_row ? kThreads : kFewestTileRows;
  plan.stride = static_cast<int>(plan.tile_rows + pack);
  // Half of it for dense covariances, whose tables want the room.
  plan.chunk = fitting(m.d, (dense ? 8 : 16) * kMostCoordinates<typename Row::Scalar> / 4);
  const std::int64_t columns = 2 * plan.chunk * plan.stride, state = 3 * plan.tile_rows;
  const std::int64_t tables = fit_tables<Row>(m, budget / element - columns - state, plan.stride, plan.rows);
  plan.weights_at = columns;
  plan.tables_at = plan.weights_at + plan.rows.tile * plan.stride;
  plan.state_at = plan.tables_at + tables;
  const std::int64_t end = (plan.state_at + state + pack - 1) / pack * pack;

  const std::int64_t patches =
      dense ? m.k * triangle((m.d + kPatchEdge - 1) / kPatchEdge)
            : ((m.k + kPatchComponents - 1) / kPatchComponents) * ((m.d + patch_coordinates - 1) / patch_coordinates);
  plan.persistent = plan.rows.tile == m.k && plan.chunk == m.d && patches <= kThreads;
  plan.split = 1;
  while (plan.persistent && plan.split < kWarp && 2 * plan.split * patches <= kThreads) plan.split *= 2;
  const std::int64_t sums = size * static_cast<std::int64_t>(sizeof(double));
  const bool in_shared = dense && !plan.persistent && end * element + sums <= budget;
  plan.sums_at = in_shared ? end : -1;
  plan.shared = end * element + (in_shared ? sums : 0);
  plan.blocks = moment_blocks(n, size, plan.tile_rows);
  return plan;
}

template <class Row>
MomentsPlan plan_responsibility_moments(const MomentsArgs<typename Row::Scalar>& a, std::int64_t budget) {
  return plan_moments<Row>(a.mixture, a.n, {a.mean, a.log_var, a.z}, kPatchCoordinates<Row>, Row::kLanes == 1, budget);
}

template <typename T>
MomentsPlan plan_logit_moments(const LogRespBackwardArgs<T>& a, std::int64_t budget) {
  return plan_moments<WideRow<T>>(a.mixture, a.n, {}, LogitGradientWeights<T>::kCoordinates, true, budget);
}

}  // namespace gmvae::gpu
