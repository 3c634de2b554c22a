// Build and upkeep of the index. Searching is in crosspolytope_search.cpp.
#include "crosspolytope_index.h"

#include <algorithm>
#include <cmath>

#include "crosspolytope_paths.h"
#include "crosspolytope_scratch.h"
#include "crosspolytope_sketch.h"
#include "parallel.h"

namespace ris {
namespace {

constexpr std::int64_t kRowsAtOnce = 1024;
constexpr std::int64_t kTrainingRows = 4096;
constexpr std::int64_t kSampledRows = 1024;  // of the base, for the digest in the header
constexpr std::int64_t kFewRows = 8;         // for the one that every search compares

HashSettings hash_settings(const ImageHeader& header) {
  HashSettings settings;
  settings.is_hyperplane = header.is_hyperplane != 0;
  settings.dimension = header.hashed > 0 ? header.hashed : lifted_dimension(header);
  settings.tables = static_cast<int>(header.tables);
  settings.bits = static_cast<int>(header.bits);
  settings.rotations = static_cast<int>(header.rotations);
  settings.seed = header.seed;
  return settings;
}

// The number-th of `count` rows at even distances, the first and the last of n among them.
std::int64_t sampled_row(std::int64_t number, std::int64_t count, std::int64_t n) {
  return count == 1 ? 0 : number * (n - 1) / (count - 1);
}

ImageHeader longer(ImageHeader header, std::int64_t n) {
  header.n = n;
  return header;
}

}  // namespace

// What hashing leaves of each row.
struct CrosspolytopeIndex::HashedPoints {
  explicit HashedPoints(const ImageHeader& header)
      : tables(header.tables), groups(header.groups), codes(header.n * tables), nearest(header.n * groups),
        factors(groups > 0 ? header.n : 0) {}

  std::size_t tables;
  std::size_t groups;
  std::vector<std::uint32_t> codes;    // (n, tables)
  std::vector<std::uint8_t> nearest;   // (n, groups)
  std::vector<SketchFactors> factors;  // (n)
};

ImageHeader CrosspolytopeIndex::plan(const Base& base, const BuildSettings& settings, const Kernels& kernels) {
  ImageHeader header = {};
  header.n = base.n;
  header.dimension = base.dimension;
  header.is_hyperplane = settings.is_hyperplane ? 1 : 0;
  header.distance = static_cast<std::uint32_t>(settings.distance);
  header.tables = settings.tables;
  header.bits = settings.bits;
  header.rotations = settings.rotations;
  header.seed = settings.seed;
  header.hashed = header.coordinates = settings.hashed;
  if (settings.groups > 0) {
    const auto members = group_members(settings.variances, settings.axis_count, settings.groups);
    const std::size_t groups = members.size() / kMaxWidth;
    header.groups = (groups + kGroupsAtOnce - 1) / kGroupsAtOnce * kGroupsAtOnce;
    for (const std::uint32_t member : members)
      if (member != kNoMember) header.coordinates = std::max(header.coordinates, member + 1);
  }
  if (settings.distance == Distance::kInnerProduct) {
    float longest = 0;
    for (std::int64_t i = 0; i < base.n; ++i)
      longest = std::max(longest, kernels.dot(base.row(i), base.row(i), base.dimension));
    header.longest = std::sqrt(longest);
  }
  return header;
}

CrosspolytopeIndex::CrosspolytopeIndex(const Base& base, const BuildSettings& settings, std::int64_t threads,
                                       const std::string& path)
    : base_(base), kernels_(choose_kernels(path)),
      image_(std::make_unique<Image>(plan(base, settings, kernels_))),
      functions_(hash_settings(image_->header()), kernels_) {
  train(settings);
  HashedPoints points(header());
  hash(0, threads, points);
  arrange(points, threads);
}

CrosspolytopeIndex::CrosspolytopeIndex(const CrosspolytopeIndex& shorter, const Base& base, std::int64_t threads)
    : base_(base), kernels_(shorter.kernels_), image_(std::make_unique<Image>(longer(shorter.header(), base.n))),
      functions_(shorter.functions_) {
  const Shared from = shorter.image_->shared();
  const MutableShared to = image_->mutable_shared();
  std::copy_n(from.axes, header().coordinates * lifted_dimension(header()), to.axes);
  std::copy_n(from.members, header().groups * kMaxWidth, to.members);
  std::copy_n(from.centroids, std::size_t{header().groups} * kMaxWidth * kCentroids, to.centroids);
  HashedPoints points(header());
  shorter.recover(points);
  hash(shorter.header().n, threads, points);
  arrange(points, threads);
}

CrosspolytopeIndex::CrosspolytopeIndex(const Base& base, const std::string& file, bool is_mapped,
                                       const std::string& path)
    : base_(base), kernels_(choose_kernels(path)), image_(std::make_unique<Image>(file, is_mapped)),
      functions_(hash_settings(image_->header()), kernels_) {
  if (base.n != header().n || base.dimension != header().dimension)
    throw ForeignBaseError("the base has " + std::to_string(base.n) + " x " + std::to_string(base.dimension) +
                           " values, the indexed one had " + std::to_string(header().n) + " x " +
                           std::to_string(header().dimension));
  check_base();
  finish();
}

CrosspolytopeIndex::~CrosspolytopeIndex() = default;

void CrosspolytopeIndex::finish() {
  for (std::uint32_t number = 0; number < header().tables; ++number)
    tables_.push_back(static_cast<const Image&>(*image_).table(number));
  few_rows_ = digest(kFewRows);
}

Codebook CrosspolytopeIndex::codebook() const {
  const Shared shared = static_cast<const Image&>(*image_).shared();
  return {shared.members, shared.centroids, static_cast<int>(header().groups)};
}

// Axes, groups and centroids: all that is learnt from the base.
void CrosspolytopeIndex::train(const BuildSettings& settings) {
  const MutableShared shared = image_->mutable_shared();
  std::copy_n(settings.axes, header().coordinates * lifted_dimension(header()), shared.axes);
  if (header().groups == 0) return;
  const auto members = group_members(settings.variances, settings.axis_count, settings.groups);
  std::fill_n(shared.members, header().groups * kMaxWidth, kNoMember);
  std::copy(members.begin(), members.end(), shared.members);
  const std::int64_t count = std::min(kTrainingRows, base_.n);
  const std::size_t width = header().coordinates;
  std::vector<float> points(count * width);
  Projected projected(header(), functions_);
  for (std::int64_t i = 0; i < count; ++i) {
    project(base_.row(sampled_row(i, count, base_.n)), false, projected);
    std::copy_n(projected.coordinates.data(), width, points.data() + i * width);
  }
  train_centroids(points.data(), count, header().coordinates, codebook(), shared.centroids);
}

void CrosspolytopeIndex::project(const float* vector, bool is_query, Projected& projected) const {
  std::copy_n(vector, base_.dimension, projected.lifted.data());
  if (header().distance == static_cast<std::uint32_t>(Distance::kCosine)) {
    const float norm = std::sqrt(kernels_.dot(vector, vector, base_.dimension));
    for (float& value : projected.lifted) value = norm > 0 ? value / norm : 0;
  } else if (header().distance == static_cast<std::uint32_t>(Distance::kInnerProduct)) {
    // Makes all vectors of the base equally long, so that the largest product is the smallest angle.
    // Source: Neyshabur, Srebro 2015, On Symmetric and Asymmetric LSHs for Inner Product Search.
    const float missing = header().longest * header().longest - kernels_.dot(vector, vector, base_.dimension);
    projected.lifted[base_.dimension] = is_query ? 0 : std::sqrt(std::max(0.0f, missing));
  }
  const Shared shared = static_cast<const Image&>(*image_).shared();
  kernels_.project(shared.axes, static_cast<int>(header().coordinates), projected.lifted.data(),
                   projected.lifted.size(), projected.coordinates.data());
  const std::vector<float>& hashed = header().hashed > 0 ? projected.coordinates : projected.lifted;
  const std::size_t count = header().hashed > 0 ? header().hashed : hashed.size();
  std::copy_n(hashed.begin(), count, projected.padded.begin());
  std::fill(projected.padded.begin() + count, projected.padded.end(), 0.0f);
}

void CrosspolytopeIndex::hash_one(std::int64_t row, Projected& projected, HashedPoints& points) const {
  project(base_.row(row), false, projected);
  functions_.codes(projected.padded.data(), points.codes.data() + row * points.tables);
  if (points.groups == 0) return;
  const Codebook book = codebook();
  std::uint8_t* nearest = points.nearest.data() + row * points.groups;
  std::vector<float>& left = projected.left;
  left = projected.coordinates;
  kernels_.encode(book, left.data(), nearest);
  points.factors[row] = sketch_factors(
      static_cast<Distance>(header().distance),
      kernels_.dot(projected.lifted.data(), projected.lifted.data(), projected.lifted.size()),
      product_with_code(book, projected.coordinates.data(), nearest));
}

void CrosspolytopeIndex::hash(std::int64_t first, std::int64_t threads, HashedPoints& points) const {
  in_parallel(threads, base_.n - first, kRowsAtOnce, [&] {
    return [&, projected = Projected(header(), functions_)](std::int64_t begin, std::int64_t end) mutable {
      for (std::int64_t row = first + begin; row < first + end; ++row) hash_one(row, projected, points);
    };
  });
}

// The reverse of arrange().
void CrosspolytopeIndex::recover(HashedPoints& points) const {
  const int groups = static_cast<int>(header().groups);
  for (std::size_t number = 0; number < points.tables; ++number) {
    const Table& table = tables_[number];
    for (std::uint32_t code = 0; code < 1u << header().bits; ++code)
      for (std::uint32_t i = table.starts[code]; i < table.starts[code + 1]; ++i)
        points.codes[table.rows[i] * points.tables + number] = code;
  }
  const Table& table = tables_[0];  // each table holds all sketches
  for (std::int64_t i = 0; groups > 0 && i < header().n; ++i) {
    const std::uint8_t* block = table.blocks + i / kBlockPoints * groups * kGroupBytes;
    read_sketch(block, groups, i % kBlockPoints, points.nearest.data() + table.rows[i] * points.groups);
    points.factors[table.rows[i]] = {table.offsets[i], table.scales[i]};
  }
}

void CrosspolytopeIndex::arrange(const HashedPoints& points, std::int64_t threads) {
  in_parallel(threads, header().tables, 1, [&] {
    return [&](std::int64_t number, std::int64_t) { arrange_table(points, static_cast<int>(number)); };
  });
  image_->header().base_digest = digest(kSampledRows);
  image_->seal();
  finish();
}

// Sorts the rows by code, equal codes by row, and puts the sketches into that order.
void CrosspolytopeIndex::arrange_table(const HashedPoints& points, int number) {
  const MutableTable table = image_->mutable_table(number);
  const std::int64_t n = header().n;
  const std::uint32_t* codes = points.codes.data() + number;
  for (std::int64_t row = 0; row < n; ++row) ++table.starts[codes[row * points.tables] + 1];
  for (std::uint32_t code = 0; code < 1u << header().bits; ++code) table.starts[code + 1] += table.starts[code];
  std::vector<std::uint32_t> next(table.starts, table.starts + (std::size_t{1} << header().bits));
  for (std::int64_t row = 0; row < n; ++row)
    table.rows[next[codes[row * points.tables]]++] = static_cast<std::uint32_t>(row);
  const int groups = static_cast<int>(header().groups);
  for (std::int64_t i = 0; groups > 0 && i < n; ++i) {
    const std::size_t row = table.rows[i];
    std::uint8_t* block = table.blocks + i / kBlockPoints * groups * kGroupBytes;
    write_sketch(points.nearest.data() + row * points.groups, groups, i % kBlockPoints, block);
    table.offsets[i] = points.factors[row].offset;
    table.scales[i] = points.factors[row].scale;
  }
}

// Of rows at even distances, the first and the last among them.
std::uint64_t CrosspolytopeIndex::digest(std::int64_t sample) const {
  const std::int64_t count = std::min(sample, base_.n);
  std::uint64_t value = static_cast<std::uint64_t>(base_.n);
  for (std::int64_t i = 0; i < count; ++i) {
    const float* row = base_.row(sampled_row(i, count, base_.n));
    value = value * 31 + checksum(row, base_.dimension * sizeof(float));
  }
  return value;
}

void CrosspolytopeIndex::check_base() const {
  if (digest(kSampledRows) != header().base_digest)
    throw ForeignBaseError("the base does not hold the vectors that were indexed");
}

void CrosspolytopeIndex::check_few_rows() const {
  if (digest(kFewRows) != few_rows_) throw ForeignBaseError("the base was changed after it was indexed");
}

void CrosspolytopeIndex::codes(const float* vectors, std::int64_t n, std::uint32_t* codes) const {
  Projected projected(header(), functions_);
  for (std::int64_t i = 0; i < n; ++i) {
    project(vectors + i * base_.dimension, false, projected);
    functions_.codes(projected.padded.data(), codes + i * header().tables);
  }
}

std::int64_t CrosspolytopeIndex::size_bytes() const {
  return image_->size_bytes() + functions_.size_bytes();
}

}  // namespace ris
