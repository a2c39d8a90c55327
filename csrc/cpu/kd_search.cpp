// Nearest neighbours by a k-d tree. All queries of one leaf descend together: a box is entered if any of them may have
// a neighbour in it. Or each reads the leaves with the nearest means.
#include "leaf_queries.h"
#include "nearest_leaves.h"

namespace gmvae::GMVAE_ISA {
namespace {

// Lets the queries whose reach goes beyond `squared` search a leaf.
template <typename T>
void visit(const KdSearchArgs<T>& a, LeafQueries<T>& q, std::int64_t leaf) {
  std::int64_t entering = 0;
  for (std::int64_t i = 0; i < q.count; ++i) {
    q.entering[entering] = static_cast<std::int32_t>(i);
    entering += q.squared[i] < q.reach[i];
  }
  compare(a, q, q.entering, entering, leaf);
  q.largest_reach = 0;
  for (std::int64_t r = 0; r < q.count; ++r)
    q.largest_reach = q.reach[r] > q.largest_reach ? q.reach[r] : q.largest_reach;
}

// Whether any query may have a candidate in the node's box; fills `squared`. Rounding is monotone, and these sums run
// in the order of those in `scan`: no point of the box is computed to be nearer than the box.
template <typename T>
bool may_enter(const KdTree<T>& t, LeafQueries<T>& q, std::int64_t node) {
  constexpr int W = Lanes<T>::width;
  const T* const low = t.low + node * t.d;
  const T* const high = t.high + node * t.d;
  T gap = 0;  // between the two boxes
  for (std::int64_t j = 0; j < t.d; ++j) {
    const T under = low[j] - q.high[j], over = q.low[j] - high[j], m = under > over ? under : over;
    gap += m > 0 ? m * m : 0;
  }
  if (gap >= q.largest_reach) return false;
  unsigned any = 0;
  for (std::int64_t p = 0; p < q.count; p += W) {
    Vec<T> sum{};
    for (std::int64_t j = 0; j < t.d; ++j) {
      const Vec<T> x = load(q.soa + j * t.pad + p), under = low[j] - x, over = x - high[j];
      Vec<T> m = under > over ? under : over;
      m = m > Vec<T>{} ? m : Vec<T>{};
      sum += m * m;
    }
    store<T>(q.squared + p, sum);
    any |= lane_mask(sum < load(q.reach + p));
  }
  return any != 0;
}

// Squared distance between the middles of the queries' box and a node's, times 4.
template <typename T>
T between_middles(const KdTree<T>& t, const LeafQueries<T>& q, std::int64_t node) {
  T sum = 0;
  for (std::int64_t j = 0; j < t.d; ++j) {
    const T m = t.low[node * t.d + j] + t.high[node * t.d + j] - q.low[j] - q.high[j];
    sum += m * m;
  }
  return sum;
}

template <typename T>
void search_leaf(const KdSearchArgs<T>& a, LeafQueries<T>& q, std::int64_t leaf) {
  const KdTree<T>& t = a.tree;
  gather(a, q, leaf);
  if (q.count == 0) return;
  const std::int64_t own = t.leaf_count() + leaf;
  visit(a, q, leaf);
  std::int64_t waiting = 0;
  q.stack[waiting++] = 1;
  while (waiting > 0) {
    const std::int64_t node = q.stack[--waiting];
    if (node == own || !may_enter(t, q, node)) continue;
    if (node >= t.leaf_count()) {
      visit(a, q, node - t.leaf_count());
      continue;
    }
    const bool second = between_middles(t, q, 2 * node + 1) < between_middles(t, q, 2 * node);
    q.stack[waiting++] = 2 * node + !second;
    q.stack[waiting++] = 2 * node + second;
  }
  for (std::int64_t query = 0; query < q.count; ++query) settle(a, q, query);
}

}  // namespace

template <typename T>
void kd_assign(const KdTree<T>& t, T* scratch, std::int32_t* assigned, int threads) {
#if defined(_OPENMP)
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1)
#endif
  for (std::int64_t leaf = 0; leaf < t.leaf_count(); ++leaf) {
    assign_leaf(t, leaf, scratch + thread_index() * kd_assign_scratch(t), assigned);
  }
}

template void kd_assign<float>(const KdTree<float>&, float*, std::int32_t*, int);
template void kd_assign<double>(const KdTree<double>&, double*, std::int32_t*, int);

template <typename T>
std::int64_t kd_scratch_bytes(const KdSearchArgs<T>& a) {
  Pieces pieces{nullptr, 0};
  lay_out(a, pieces);
  if (a.nearest) lay_out_queues(a, pieces);
  return pieces.used + 64;  // the last piece counts the leaves
}

template <typename T>
std::int64_t kd_search(const KdSearchArgs<T>& a, unsigned char* scratch, int threads) {
  const std::int64_t bytes = kd_scratch_bytes(a), leaves = a.tree.leaf_count();
  const auto counter = [&](int thread) { return reinterpret_cast<std::int64_t*>(scratch + (thread + 1) * bytes - 64); };
  for (int thread = 0; thread < threads; ++thread) *counter(thread) = 0;
#if defined(_OPENMP)
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads) if (threads > 1 && leaves > 1)
#endif
  for (std::int64_t leaf = 0; leaf < leaves; ++leaf) {
    const int thread = thread_index();
    Pieces pieces{scratch + thread * bytes, 0};
    LeafQueries<T> q = lay_out(a, pieces);
    if (a.nearest) {
      search_nearest_leaves(a, q, lay_out_queues(a, pieces), leaf);
    } else {
      search_leaf(a, q, leaf);
    }
    *counter(thread) += q.leaves_read;
  }
  std::int64_t total = 0;
  for (int thread = 0; thread < threads; ++thread) total += *counter(thread);
  return total;
}

template std::int64_t kd_scratch_bytes<float>(const KdSearchArgs<float>&);
template std::int64_t kd_scratch_bytes<double>(const KdSearchArgs<double>&);
template std::int64_t kd_search<float>(const KdSearchArgs<float>&, unsigned char*, int);
template std::int64_t kd_search<double>(const KdSearchArgs<double>&, unsigned char*, int);

}  // namespace gmvae::GMVAE_ISA
