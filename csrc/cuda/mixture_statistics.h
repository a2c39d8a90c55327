#pragma once
// Moments over the rows in two fixed-order stages. Stage 1: each block takes tiles of rows; lane groups work out the
// rows' weights into shared memory, then threads own patches of 2 components x kCoordinates coordinates and add up a
// tile in T, tiles in float64. Stage 2 adds the blocks' float64 partial sums. No atomics: the same bits every run.
#include "log_responsibilities.h"
#include "rows.h"

namespace gmvae::gpu {

struct MomentsPlan {
  RowPlan rows;
  int tile_rows;            // rows that a block handles at a time
  int stride;               // of an array over the tile's rows: padded by one pack, so that columns hit different banks
  int chunk;                // coordinates in shared memory at a time
  int split;                // threads that share a patch, each with a part of the rows
  bool persistent;          // one patch per thread: its sums stay in registers until the end
  std::int64_t tables_at;   // offsets into shared memory, in elements of T: tables of the mixture,
  std::int64_t weights_at;  //   weights [tile][stride] and
  std::int64_t state_at;    //   the rows' normalisers [3][tile_rows], behind coordinates [2][chunk][stride];
  std::int64_t sums_at;     //   float64 sums of dense covariances, or -1: they do not fit
  std::int64_t blocks;
  std::int64_t shared;  // bytes
};

constexpr int kPatchComponents = 2;

template <class Row>
constexpr int kPatchCoordinates = Row::kTables && Row::kCoordinates < 4 ? Row::kCoordinates : 4;

template <typename T>
constexpr std::int64_t moments_of(const MixtureView<T>& m) {
  return moments_size(m.k, m.d, m.covariance);
}

// Values of one block in the workspace: one set of moments and the log evidence.
GMVAE_HD constexpr std::int64_t partial_size(std::int64_t k, std::int64_t d, Covariance covariance) {
  return moments_size(k, d, covariance) + 1;
}

template <typename T, int PC, int PJ>
struct PatchSum {
  T weight[PC] = {}, first[PC][PJ] = {}, second[PC][PJ] = {};
};

// Where a thread's patch lies: components c0 + v * c_step and coordinates j0 + u * j_step of a tile and a chunk.
// Strided, so that neighbouring patches read neighbouring columns.
struct PatchPlace {
  int c0, c_step, j0, j_step;
};

// Sums of one patch over a part of the tile's rows, a pack of rows at a time.
template <bool kVariance, typename T, int PC, int PJ>
GMVAE_DEVICE void add_rows(const T* x, const T* s2, const T* w, int stride, int rows, int part, int parts,
                           const PatchPlace& at, const T (&mu)[PC][PJ], int count, int width,
                           PatchSum<T, PC, PJ>& sum) {
  constexpr int V = 16 / static_cast<int>(sizeof(T));
  // Beyond the last component or coordinate the last one is read again; such sums are never stored.
  const T *ws[PC], *xs[PJ], *ss[PJ];
  GMVAE_UNROLL
  for (int v = 0; v < PC; ++v) {
    const int c = at.c0 + v * at.c_step;
    ws[v] = w + (c < count ? c : count - 1) * stride;
  }
  GMVAE_UNROLL
  for (int u = 0; u < PJ; ++u) {
    const int j = at.j0 + u * at.j_step;
    xs[u] = x + (j < width ? j : width - 1) * stride;
    ss[u] = s2 + (j < width ? j : width - 1) * stride;
  }
  for (int r = part * V; r < rows; r += parts * V) {
    Pack<T, V> wr[PC];
    GMVAE_UNROLL
    for (int v = 0; v < PC; ++v) {
      wr[v] = load_pack<T, V>(ws[v] + r);
      GMVAE_UNROLL
      for (int e = 0; e < V; ++e) sum.weight[v] += wr[v].v[e];
    }
    GMVAE_UNROLL
    for (int u = 0; u < PJ; ++u) {
      const auto xr = load_pack<T, V>(xs[u] + r);
      Pack<T, V> sr{};
      if (kVariance) sr = load_pack<T, V>(ss[u] + r);
      GMVAE_UNROLL
      for (int v = 0; v < PC; ++v) {
        GMVAE_UNROLL
        for (int e = 0; e < V; ++e) {
          const T diff = xr.v[e] - mu[v][u], weighted = wr[v].v[e] * diff;
          sum.first[v][u] += weighted;
          sum.second[v][u] += weighted * diff;
          if (kVariance) sum.second[v][u] += wr[v].v[e] * sr.v[e];
        }
      }
    }
  }
}

// Weights of the rows: responsibilities, or in set 1 their share of the gradient.
template <class Row>
class ResponsibilityWeights {
 public:
  using T = typename Row::Scalar;
  using Args = MomentsArgs<T>;
  static constexpr int kCoordinates = kPatchCoordinates<Row>;

  template <class B>
  GMVAE_DEVICE ResponsibilityWeights(const B& block, const Args& a, const MomentsPlan& plan, int set, T* shared)
      : a_(a),
        plan_(plan),
        set_(set),
        tiles_(a.mixture, plan.rows, shared + plan.tables_at),
        row_(block.thread(), plan.rows),
        top_(shared + plan.state_at),
        total_(top_ + plan.tile_rows),
        mean_gap_(total_ + plan.tile_rows),
        exact_(a.assignment == Assignment::kExact) {}

  GMVAE_DEVICE const T* points() const { return set_ == 1 && a_.z ? a_.z : a_.mean; }
  GMVAE_DEVICE const T* log_vars() const { return set_ == 1 ? nullptr : a_.log_var; }
  GMVAE_DEVICE double evidence() const { return evidence_; }

  // Normalisers of the tile's rows. A mixture that fits as a whole gets its weights at once.
  template <class B>
  GMVAE_DEVICE void prepare(const B& block, std::int64_t begin, T* w /* [k][stride] */) {
    const bool at_once = exact_ && tiles_.whole();
    const int lanes = row_.lanes(), lane = row_.lane();
    for (std::int64_t first = 0; first < a_.mixture.k; first += plan_.rows.tile) {
      const Tables<T> t = tiles_.open(block, first);
      if (first > 0) block.sync();  // lane 0 kept the state that every lane goes on with
      for (int r = block.thread() / lanes; r < plan_.tile_rows; r += block.threads() / lanes) {
        const bool mine = load(begin + r);
        LogSumExp<T> norm;
        T mean_gap = 0;
        if (first > 0) norm.top = top_[r], norm.sum = total_[r], mean_gap = mean_gap_[r];
        add_tile(block, t, at_once ? w + r : nullptr, norm, mean_gap);
        const bool last = first + t.count == a_.mixture.k;
        if (lane == 0) {
          top_[r] = norm.top, total_[r] = norm.sum, mean_gap_[r] = last ? mean_gap / norm.sum : mean_gap;
        }
        if (!last) continue;
        if (at_once) {
          const T scale = mine ? row_weight(begin + r) / norm.sum : T(0);
          for (int c = lane; c < t.count; c += lanes) {
            T& weight = w[c * plan_.stride + r];
            weight = mine ? exp_of(weight - norm.top) * scale : T(0);
          }
        }
        add_evidence(block, norm, mine);
      }
    }
  }

  // Weights of components first .. first + count - 1.
  template <class B>
  GMVAE_DEVICE void fill(const B& block, std::int64_t begin, std::int64_t first, T* w /* [count][stride] */) {
    if (exact_ && tiles_.whole()) return;
    const Tables<T> t = tiles_.open(block, first);
    block.sync();  // normalisers come from other lanes
    const int lanes = row_.lanes();
    for (int r = block.thread() / lanes; r < plan_.tile_rows; r += block.threads() / lanes) {
      const bool mine = load(begin + r);
      const T scale = mine ? row_weight(begin + r) : T(0);
      for (int c = 0; c < t.count; ++c) {
        T gap;
        const T logit = logit_and_gap(block, t, c, &gap);
        const T gamma = exp_of(logit - top_[r]) / total_[r];
        const T weight = set_ == 1 ? math::responsibility_gradient(gamma, gap, mean_gap_[r]) : gamma;
        if ((c & (lanes - 1)) == row_.lane()) w[c * plan_.stride + r] = mine ? weight * scale : T(0);
      }
    }
  }

 private:
  GMVAE_DEVICE bool load(std::int64_t i) {
    row_.load({a_.mean, a_.log_var, a_.z, static_cast<int>(a_.mixture.d)}, i < a_.n ? i : a_.n - 1);
    return i < a_.n;
  }

  GMVAE_DEVICE T row_weight(std::int64_t i) const { return a_.row_weight ? a_.row_weight[i] : T(1); }

  template <class B>
  GMVAE_DEVICE T logit_and_gap(const B& block, const Tables<T>& t, int c, T* gap) const {
    return assigned_logit(block, row_, t, c, exact_, gap);
  }

  // Adds a tile of components to the row's normaliser; keeps the logits where `kept` [count][stride] is given.
  template <class B>
  GMVAE_DEVICE void add_tile(const B& block, const Tables<T>& t, T* kept, LogSumExp<T>& norm, T& mean_gap) const {
    const int lanes = row_.lanes();
    for (int c = 0; c < t.count; ++c) {
      T gap;
      const T logit = logit_and_gap(block, t, c, &gap);
      mean_gap *= norm.raise(logit);
      const T w = exp_of(logit - norm.top);
      norm.sum += w;
      mean_gap += w * gap;
      // The lane that will turn the logit into a weight writes it: no barrier between.
      if (kept && (c & (lanes - 1)) == row_.lane()) kept[c * plan_.stride] = logit;
    }
  }

  template <class B>
  GMVAE_DEVICE void add_evidence(const B& block, const LogSumExp<T>& norm, bool mine) {
    if (!a_.log_evidence) return;
    const double d = static_cast<double>(a_.mixture.d);
    const double sum_log_var = static_cast<double>(row_.sum_log_var(block));
    const double base = a_.log_var ? -math::entropy_term(sum_log_var, d) : math::log_normaliser(d);
    if (mine && row_.lane() == 0) evidence_ += static_cast<double>(norm.value()) + base;
  }

  const Args& a_;
  const MomentsPlan& plan_;
  int set_;
  ComponentTiles<Row> tiles_;
  Row row_;
  T *top_, *total_, *mean_gap_;  // [tile_rows]
  bool exact_;
  double evidence_ = 0;
};

// Weights of the rows: gradients of the logits behind log_responsibilities. One thread per row.
template <typename Scalar>
class LogitGradientWeights {
 public:
  using T = Scalar;
  using Args = LogRespBackwardArgs<T>;
  static constexpr int kCoordinates = 4;

  template <class B>
  GMVAE_DEVICE LogitGradientWeights(const B&, const Args& a, const MomentsPlan& plan, int, T*) : a_(a), plan_(plan) {}

  GMVAE_DEVICE const T* points() const { return a_.z; }
  GMVAE_DEVICE const T* log_vars() const { return nullptr; }
  GMVAE_DEVICE double evidence() const { return 0; }

  template <class B>
  GMVAE_DEVICE void prepare(const B&, std::int64_t, T*) {}

  template <class B>
  GMVAE_DEVICE void fill(const B& block, std::int64_t begin, std::int64_t first, T* w /* [count][stride] */) {
    const std::int64_t left = a_.mixture.k - first;
    const int count = static_cast<int>(left < plan_.rows.tile ? left : plan_.rows.tile);
    for (int r = block.thread(); r < plan_.tile_rows; r += block.threads()) {
      const std::int64_t i = begin + r;
      const T excess = i < a_.n ? upstream_excess(block, a_, i, 0, 1) : T(0);
      for (int c = 0; c < count; ++c) {
        w[c * plan_.stride + r] = i < a_.n ? logit_gradient(a_, i, first + c, excess) : T(0);
      }
    }
  }

 private:
  const Args& a_;
  const MomentsPlan& plan_;
};

// Coordinates j0 .. j0 + width - 1 of the tile's rows, column by column: x [width][stride] and, where log_var is given,
// s2 [width][stride]. Rows beyond the last are zero; their weights are zero too.
template <class B, typename T>
GMVAE_DEVICE void load_columns(const B& block, const T* points, const T* log_vars, std::int64_t n, std::int64_t d,
                               std::int64_t begin, std::int64_t j0, int width, const MomentsPlan& plan, T* x, T* s2) {
  const int rows = plan.tile_rows;
  // Narrow chunks: neighbouring threads take neighbouring rows, free of bank conflicts, sectors reused from the first
  // cache; wide ones: neighbouring coordinates, so that each read is one piece of memory.
  const bool narrow = width <= 16;
  const int inner = narrow ? rows : (width + kWarp - 1) / kWarp * kWarp, total = inner * (narrow ? width : rows);
  for (int t = block.thread(); t < total; t += block.threads()) {
    const int outer = t / inner, in = t - outer * inner;
    const int r = narrow ? in : outer, j = narrow ? outer : in;
    if (j >= width) continue;
    const bool present = begin + r < n;
    const std::int64_t at = (begin + r) * d + j0 + j;
    x[j * plan.stride + r] = present ? widen(points[at]) : T(0);
    if (log_vars) s2[j * plan.stride + r] = present ? exp_of(widen(log_vars[at])) : T(0);
  }
}

// A patch's sums in float64, and where they go: partial holds weight [k], first [k, d], second [k, d].
template <int PC, int PJ>
GMVAE_DEVICE void store_patch(const PatchSum<double, PC, PJ>& sum, const PatchPlace& at, std::int64_t first, int count,
                              std::int64_t j0, int width, std::int64_t k, std::int64_t d, bool add, double* partial) {
  GMVAE_UNROLL
  for (int v = 0; v < PC; ++v) {
    const int c = at.c0 + v * at.c_step;
    if (c >= count) continue;
    double* const weight = partial + first + c;
    if (at.j0 == 0 && j0 == 0) *weight = add ? *weight + sum.weight[v] : sum.weight[v];
    GMVAE_UNROLL
    for (int u = 0; u < PJ; ++u) {
      const int j = at.j0 + u * at.j_step;
      if (j >= width) continue;
      double* const p = partial + k + (first + c) * d + j0 + j;
      double* const q = p + k * d;
      *p = add ? *p + sum.first[v][u] : sum.first[v][u];
      *q = add ? *q + sum.second[v][u] : sum.second[v][u];
    }
  }
}

template <typename T, int PC, int PJ>
GMVAE_DEVICE void add_patch(const PatchSum<T, PC, PJ>& tile, PatchSum<double, PC, PJ>& sum) {
  GMVAE_UNROLL
  for (int v = 0; v < PC; ++v) {
    sum.weight[v] += static_cast<double>(tile.weight[v]);
    GMVAE_UNROLL
    for (int u = 0; u < PJ; ++u) {
      sum.first[v][u] += static_cast<double>(tile.first[v][u]);
      sum.second[v][u] += static_cast<double>(tile.second[v][u]);
    }
  }
}

template <class B, int PC, int PJ>
GMVAE_DEVICE void join_split(const B& block, int split, PatchSum<double, PC, PJ>& sum) {
  GMVAE_UNROLL
  for (int v = 0; v < PC; ++v) {
    sum.weight[v] = block.group_sum(sum.weight[v], split);
    GMVAE_UNROLL
    for (int u = 0; u < PJ; ++u) {
      sum.first[v][u] = block.group_sum(sum.first[v][u], split);
      sum.second[v][u] = block.group_sum(sum.second[v][u], split);
    }
  }
}

// Adds up one double per thread in a fixed order; `shared` holds a value per warp. Thread 0 gets the sum.
template <class B>
GMVAE_DEVICE double block_sum(const B& block, double value, double* shared) {
  value = block.group_sum(value, kWarp);
  block.sync();
  if (block.thread() % kWarp == 0) shared[block.thread() / kWarp] = value;
  block.sync();
  double sum = 0;
  for (int warp = 0; warp < block.threads() / kWarp; ++warp) sum += shared[warp];
  return sum;
}

template <class Weights, class B>
GMVAE_DEVICE void moments_partial(const B& block, const typename Weights::Args& a, const MomentsPlan& plan, int set,
                                  double* workspace /* [blocks, partial_size] */, typename Weights::T* shared) {
  using T = typename Weights::T;
  constexpr int PC = kPatchComponents, PJ = Weights::kCoordinates;
  const std::int64_t k = a.mixture.k, d = a.mixture.d, size = partial_size(k, d, a.mixture.covariance);
  double* const partial = workspace + block.index() * size;
  T* const x = shared;
  T* const s2 = x + plan.chunk * plan.stride;
  T* const w = shared + plan.weights_at;
  Weights weights(block, a, plan, set, shared);
  const bool variance = weights.log_vars() != nullptr;
  PatchSum<double, PC, PJ> sum;
  if (!plan.persistent) {
    for (std::int64_t i = block.thread(); i < size; i += block.threads()) partial[i] = 0;
  }

  const auto patches = [&](std::int64_t first, int count, std::int64_t j0, int width) {
    const int nc = (count + PC - 1) / PC, nj = (width + PJ - 1) / PJ;
    const int part = block.thread() % plan.split;
    for (int p = block.thread() / plan.split; p < nc * nj; p += block.threads() / plan.split) {
      const PatchPlace at{p / nj, nc, p % nj, nj};
      T mu[PC][PJ];
      GMVAE_UNROLL
      for (int v = 0; v < PC; ++v) {
        const int c = at.c0 + v * nc < count ? at.c0 + v * nc : count - 1;
        GMVAE_UNROLL
        for (int u = 0; u < PJ; ++u) {
          const int j = at.j0 + u * nj < width ? at.j0 + u * nj : width - 1;
          mu[v][u] = a.mixture.means[(first + c) * d + j0 + j];
        }
      }
      PatchSum<T, PC, PJ> tile;
      if (variance) {
        add_rows<true>(x, s2, w, plan.stride, plan.tile_rows, part, plan.split, at, mu, count, width, tile);
      } else {
        add_rows<false>(x, s2, w, plan.stride, plan.tile_rows, part, plan.split, at, mu, count, width, tile);
      }
      if (plan.persistent) {
        add_patch(tile, sum);
      } else {
        PatchSum<double, PC, PJ> wide;
        add_patch(tile, wide);
        store_patch(wide, at, first, count, j0, width, k, d, true, partial);
      }
    }
  };

  for (std::int64_t begin = block.index() * plan.tile_rows; begin < a.n; begin += block.count() * plan.tile_rows) {
    weights.prepare(block, begin, w);
    for (std::int64_t first = 0; first < k; first += plan.rows.tile) {
      const int count = static_cast<int>(k - first < plan.rows.tile ? k - first : plan.rows.tile);
      weights.fill(block, begin, first, w);
      for (std::int64_t j0 = 0; j0 < d; j0 += plan.chunk) {
        const int width = static_cast<int>(d - j0 < plan.chunk ? d - j0 : plan.chunk);
        load_columns(block, weights.points(), weights.log_vars(), a.n, d, begin, j0, width, plan, x, s2);
        block.sync();
        patches(first, count, j0, width);
        block.sync();
      }
    }
  }

  if (plan.persistent) {
    join_split(block, plan.split, sum);
    const int count = static_cast<int>(k), width = static_cast<int>(d);
    const int nc = (count + PC - 1) / PC, nj = (width + PJ - 1) / PJ, p = block.thread() / plan.split;
    if (p < nc * nj && block.thread() % plan.split == 0) {
      store_patch(sum, {p / nj, nc, p % nj, nj}, 0, count, 0, width, k, d, false, partial);
    }
  }
  const double evidence = block_sum(block, weights.evidence(), reinterpret_cast<double*>(shared));
  if (block.thread() == 0) partial[size - 1] = evidence;
}

constexpr int kReduceGroups = 32;

// Stage 2: a warp's lanes take neighbouring values, the block's warps every 32nd partial sum.
template <class B>
GMVAE_DEVICE void reduce_partials(const B& block, const double* partials /* [count, size] */, std::int64_t count,
                                  std::int64_t size, double* moments /* [size - 1] */, double* log_evidence,
                                  double* shared /* [kReduceGroups][kWarp] */) {
  const int lane = block.thread() % kWarp, group = block.thread() / kWarp;
  const std::int64_t i = block.index() * kWarp + lane;
  double sum = 0;
  if (i < size) {
    for (std::int64_t p = group; p < count; p += kReduceGroups) sum += partials[p * size + i];
  }
  shared[group * kWarp + lane] = sum;
  block.sync();
  if (group > 0 || i >= size) return;
  sum = 0;
  for (int g = 0; g < kReduceGroups; ++g) sum += shared[g * kWarp + lane];
  if (i < size - 1) {
    moments[i] = sum;
  } else if (log_evidence) {
    *log_evidence = sum;
  }
}

}  // namespace gmvae::gpu
