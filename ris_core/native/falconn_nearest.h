// Our loop over the candidates that FALCONN found: its own distances, heap and sorting in its own order, and so its
// answers, ties included; the points are fetched from memory ahead of their turn.
#pragma once

#include <falconn/lsh_nn_table.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace ris {

using Candidates = std::vector<std::int32_t>;
using NearestHeap = falconn::core::SimpleHeap<float, std::int32_t>;  // of negated distances: the farthest on top

constexpr std::size_t kFetchedAhead = 8;   // candidates: enough to cover a miss
constexpr std::uintptr_t kCacheLine = 64;  // bytes
constexpr int kSecondLevel = 2;            // locality of __builtin_prefetch: the roomier cache behind the first

inline void fetch(const float* point, std::int64_t dimension) {
  const auto end = reinterpret_cast<std::uintptr_t>(point + dimension);
  auto line = reinterpret_cast<std::uintptr_t>(point) & ~(kCacheLine - 1);
  for (; line < end; line += kCacheLine) __builtin_prefetch(reinterpret_cast<const void*>(line), 0, kSecondLevel);
}

// Leaves the (up to) k nearest candidates in the heap's data, the farthest first, and returns how many there are.
// Distance is a functor of FALCONN's core. It is handed what FALCONN hands it, a vector and a map, so that the very
// same instance of the sum is called: one inlined here might round otherwise (fused additions), and reorder near ties.
template <typename Distance>
std::size_t find_nearest(const falconn::DenseVector<float>& query, const float* base, const Candidates& candidates,
                         std::size_t k, NearestHeap& heap) {
  const std::int64_t dimension = query.size();
  const std::size_t count = candidates.size();
  const auto point = [&](std::size_t i) { return base + std::int64_t{candidates[i]} * dimension; };
  Distance distance;
  const auto distance_of = [&](std::size_t i) {
    if (i + kFetchedAhead < count) fetch(point(i + kFetchedAhead), dimension);
    const Eigen::Map<const falconn::DenseVector<float>> map(point(i), dimension);
    return distance(query, map);
  };

  for (std::size_t i = 0; i < std::min(kFetchedAhead, count); ++i) fetch(point(i), dimension);
  heap.reset();
  heap.resize(k);
  const std::size_t kept = std::min(k, count);
  for (std::size_t i = 0; i < kept; ++i) heap.insert_unsorted(-distance_of(i), candidates[i]);
  if (count >= k) {  // at k too: it decides on the order of ties
    heap.heapify();
    for (std::size_t i = k; i < count; ++i) {
      const float found = distance_of(i);
      if (found < -heap.min_key()) heap.replace_top(-found, candidates[i]);
    }
  }
  std::sort(heap.get_data().begin(), heap.get_data().begin() + kept);
  return kept;
}

}  // namespace ris
