#include "crosspolytope_sketch.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <queue>
#include <utility>

namespace ris {
namespace {

constexpr int kRounds = 8;            // of Lloyd's algorithm; more change little
constexpr int kGroupBits = 4;
constexpr int kMostBits = 8;         // of a coordinate
constexpr int kLargestByte = 255;
constexpr int kLargestSum = 65535;  // sums of look-ups are kept in 16 bits

int width_of(const std::uint32_t* members) {
  int width = 0;
  while (width < kMaxWidth && members[width] != kNoMember) ++width;
  return width;
}

std::vector<int> bits_of(const float* variances, int coordinates, int groups) {
  std::vector<int> bits(coordinates, 0);
  std::priority_queue<std::pair<float, int>> left;  // of equal variances the first coordinate's
  for (int i = 0; i < coordinates; ++i) left.push({variances[i], -i});
  for (int given = 0; given < kGroupBits * groups && !left.empty(); ++given) {
    const auto [variance, minus_i] = left.top();
    left.pop();
    if (++bits[-minus_i] < kMostBits) left.push({variance / 4, minus_i});
  }
  return bits;
}

}  // namespace

std::vector<std::uint32_t> group_members(const float* variances, int coordinates, int groups) {
  std::vector<int> bits = bits_of(variances, coordinates, groups);
  std::vector<std::uint32_t> members;
  std::vector<int> room;
  const auto pack = [&](int wanted) {
    std::size_t group = 0;
    for (int i = 0; i < coordinates; ++i) {
      if (std::min(bits[i], kGroupBits) != wanted) continue;
      while (group < room.size() && room[group] < wanted) ++group;
      if (group == room.size()) {
        room.push_back(kGroupBits);
        members.insert(members.end(), kMaxWidth, kNoMember);
      }
      room[group] -= wanted;
      bits[i] -= wanted;
      std::uint32_t* of_group = members.data() + group * kMaxWidth;
      of_group[width_of(of_group)] = i;
    }
  };
  pack(kGroupBits);  // first groups before second ones
  for (int wanted = kGroupBits; wanted >= 1; --wanted) pack(wanted);
  members.resize(std::min(members.size(), static_cast<std::size_t>(groups) * kMaxWidth));  // bits that found no room
  return members;
}

namespace {

// One group's points, (count, width).
struct GroupPoints {
  const float* values;
  std::int64_t count;
  int width;
};

int nearest_centroid(const float* point, int width, const float* centroids) {
  float distances[kCentroids] = {};
  for (int i = 0; i < width; ++i) {
    for (int c = 0; c < kCentroids; ++c) {
      const float gap = point[i] - centroids[i * kCentroids + c];
      distances[c] += gap * gap;
    }
  }
  return static_cast<int>(std::min_element(distances, distances + kCentroids) - distances);
}

// Points at even quantiles of the first coordinate.
void start_centroids(const GroupPoints& points, float* centroids) {
  std::vector<std::int64_t> order(points.count);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return points.values[a * points.width] < points.values[b * points.width];
  });
  for (int c = 0; c < kCentroids; ++c) {
    const std::int64_t chosen = order[(2 * c + 1) * points.count / (2 * kCentroids)];
    for (int i = 0; i < points.width; ++i) centroids[i * kCentroids + c] = points.values[chosen * points.width + i];
  }
}

// One of Lloyd's rounds: each centroid moves to the mean of the points that it is nearest to.
void move_centroids(const GroupPoints& points, float* centroids) {
  double sums[kMaxWidth][kCentroids] = {};
  std::int64_t sizes[kCentroids] = {};
  for (std::int64_t p = 0; p < points.count; ++p) {
    const float* point = points.values + p * points.width;
    const int nearest = nearest_centroid(point, points.width, centroids);
    ++sizes[nearest];
    for (int i = 0; i < points.width; ++i) sums[i][nearest] += point[i];
  }
  for (int i = 0; i < points.width; ++i)
    for (int c = 0; c < kCentroids; ++c)
      if (sizes[c] > 0) centroids[i * kCentroids + c] = static_cast<float>(sums[i][c] / sizes[c]);
}

}  // namespace

void train_centroids(float* points, std::int64_t count, int coordinates, const Codebook& codebook,
                     float* centroids) {
  std::vector<float> values(count * kMaxWidth);
  for (int group = 0; group < codebook.groups; ++group, centroids += kMaxWidth * kCentroids) {
    const std::uint32_t* members = codebook.members + group * kMaxWidth;
    const GroupPoints of_group = {values.data(), count, width_of(members)};
    if (of_group.width == 0) continue;
    for (std::int64_t p = 0; p < count; ++p)
      for (int i = 0; i < of_group.width; ++i)
        values[p * of_group.width + i] = points[p * coordinates + members[i]];
    start_centroids(of_group, centroids);
    for (int round = 0; round < kRounds; ++round) move_centroids(of_group, centroids);
    for (std::int64_t p = 0; p < count; ++p) {
      const int nearest = nearest_centroid(values.data() + p * of_group.width, of_group.width, centroids);
      for (int i = 0; i < of_group.width; ++i)
        points[p * coordinates + members[i]] -= centroids[i * kCentroids + nearest];
    }
  }
}

float product_with_code(const Codebook& codebook, const float* coordinates, const std::uint8_t* nearest) {
  float product = 0;
  for (int group = 0; group < codebook.groups; ++group) {
    const std::uint32_t* members = codebook.members + group * kMaxWidth;
    const float* centroid = codebook.centroids + group * kMaxWidth * kCentroids + nearest[group];
    for (int i = 0; i < kMaxWidth && members[i] != kNoMember; ++i, centroid += kCentroids)
      product += coordinates[members[i]] * *centroid;
  }
  return product;
}

SketchFactors sketch_factors(Distance distance, float squared_norm, float product_with_code) {
  const float scale = product_with_code > 0 ? squared_norm / product_with_code : 0;
  if (distance == Distance::kEuclidean) return {squared_norm, -2 * scale};  // |x|^2 - 2 <x, q>
  return {0, -scale};  // for cosines all vectors are of length 1 here
}

void write_sketch(const std::uint8_t* nearest, int groups, int point, std::uint8_t* block) {
  const int byte = point % kGroupBytes, shift = point / kGroupBytes * 4;
  for (int group = 0; group < groups; ++group)
    block[group * kGroupBytes + byte] |= static_cast<std::uint8_t>(nearest[group] << shift);
}

void read_sketch(const std::uint8_t* block, int groups, int point, std::uint8_t* nearest) {
  const int byte = point % kGroupBytes, shift = point / kGroupBytes * 4;
  for (int group = 0; group < groups; ++group)
    nearest[group] = block[group * kGroupBytes + byte] >> shift & (kCentroids - 1);
}

// Each group's smallest product is taken off its look-ups and put into the base. One step serves all groups: the
// smallest with which the first groups fit into two bytes and the others into one.
void QueryLookups::prepare(const Codebook& codebook, const float* coordinates) {
  groups_ = codebook.groups;
  products_.assign(static_cast<std::size_t>(groups_) * kCentroids, 0);
  lookups_.resize(products_.size());
  high_lookups_.resize(kWideGroups * kCentroids);
  const int levels = std::min(kLargestByte, (kLargestSum - kWideGroups * kLargestByte) / groups_);
  const int wide_levels = levels * (kLargestByte + 1);
  base_ = 0;
  step_ = 1e-37f;  // its inverse is finite
  for (int group = 0; group < groups_; ++group) {
    float* products = products_.data() + group * kCentroids;
    const float* centroids = codebook.centroids + group * kMaxWidth * kCentroids;
    const std::uint32_t* members = codebook.members + group * kMaxWidth;
    for (int i = 0; i < kMaxWidth && members[i] != kNoMember; ++i, centroids += kCentroids)
      for (int c = 0; c < kCentroids; ++c) products[c] += coordinates[members[i]] * centroids[c];
    float least = products[0], most = products[0];
    for (int c = 1; c < kCentroids; ++c) {
      least = std::min(least, products[c]);
      most = std::max(most, products[c]);
    }
    for (int c = 0; c < kCentroids; ++c) products[c] -= least;
    base_ += least;
    step_ = std::max(step_, (most - least) / (group < kWideGroups ? wide_levels : levels));
  }
  const float per_step = 1 / step_;
  for (std::size_t i = 0; i < products_.size(); ++i) {
    const bool is_wide = i < kWideGroups * kCentroids;
    const int steps = std::min(is_wide ? wide_levels : levels, static_cast<int>(products_[i] * per_step + 0.5f));
    lookups_[i] = static_cast<std::uint8_t>(steps & 255);
    if (is_wide) high_lookups_[i] = static_cast<std::uint8_t>(steps >> 8);
  }
}

}  // namespace ris
