// The search: probe, filter by sketches, score exactly.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>

#include "crosspolytope_index.h"
#include "crosspolytope_scratch.h"
#include "parallel.h"

namespace ris {
namespace {

constexpr std::int64_t kQueriesAtOnce = 8;   // taken by a thread at a time: few enough to share the last ones evenly
constexpr std::uint32_t kScanAtOnce = 1024;  // positions: the limit follows what was found
constexpr std::size_t kSpare = 3;            // times the wanted rows are held before the best of them are kept
constexpr int kRowsAhead = 6;                // vectors fetched before they are scored
constexpr int kRangesAhead = 2;              // buckets fetched before they are scanned
constexpr std::int64_t kCacheLine = 64;
constexpr std::int64_t kFetchedBytes = 2048;  // of a bucket; the CPU guesses the rest
constexpr float kEnlarged = 0x1p100f;         // times queries so short that their squares vanish

void fetch(const void* from, std::int64_t bytes) {
  const char* p = static_cast<const char*>(from);
  for (std::int64_t i = 0; i < bytes; i += kCacheLine) __builtin_prefetch(p + i);
}

}  // namespace

// Scratch memory for the time of a scope.
class CrosspolytopeIndex::Lent {
 public:
  explicit Lent(const CrosspolytopeIndex& index) : index_(index) {
    const std::lock_guard<std::mutex> lock(index_.mutex_);
    if (!index_.idle_.empty()) {
      scratch_ = std::move(index_.idle_.back());
      index_.idle_.pop_back();
    } else {
      scratch_ = std::make_unique<Scratch>(index_.header(), index_.functions_, index_.kernels_);
      index_.idle_.reserve(++index_.scratches_);  // giving back must not fail
    }
  }
  Lent(Lent&&) = default;
  ~Lent() {
    if (!scratch_) return;
    const std::lock_guard<std::mutex> lock(index_.mutex_);
    index_.idle_.push_back(std::move(scratch_));
  }
  Scratch& operator*() const { return *scratch_; }

 private:
  const CrosspolytopeIndex& index_;
  std::unique_ptr<Scratch> scratch_;
};

// Leaves the rotated copies of a projected query in scratch.copies, and returns its length; only their ratio matters.
float CrosspolytopeIndex::rotate_query(Scratch& scratch) const {
  Projected& projected = scratch.projected;
  const std::vector<float>& lifted = projected.lifted;
  float squared = kernels_.dot(lifted.data(), lifted.data(), lifted.size());
  if (squared < FLT_MIN) {  // a power of two changes no direction
    for (float& value : projected.lifted) value *= kEnlarged;
    for (float& value : projected.padded) value *= kEnlarged;
    squared = kernels_.dot(lifted.data(), lifted.data(), lifted.size());
  }
  functions_.rotate_copies(projected.padded.data(), scratch.copies.data());
  return std::sqrt(squared);
}

// Ranges of the probed buckets, by table and position, neighbours joined. The query's principal coordinates are left in
// scratch.projected.
void CrosspolytopeIndex::probe(const float* query, std::int64_t count, Scratch& scratch) const {
  project(query, true, scratch.projected);
  scratch.ranges.clear();
  if (count >= std::int64_t{header().tables} << header().bits) {  // all of them: nothing is to be chosen
    for (const Table& table : tables_) scratch.ranges.push_back({&table, 0, static_cast<std::uint32_t>(header().n)});
    return;
  }
  const float length = rotate_query(scratch);
  const std::vector<Probe>& probes = scratch.sequence.find(scratch.copies.data(), length, count);
  for (const Probe& probe : probes) __builtin_prefetch(tables_[probe.table].starts + probe.code);
  for (const Probe& probe : probes) {
    const Table& table = tables_[probe.table];
    const std::uint32_t begin = table.starts[probe.code], end = table.starts[probe.code + 1];
    if (begin == end) continue;
    if (!scratch.ranges.empty() && scratch.ranges.back().table == &table && scratch.ranges.back().end == begin) {
      scratch.ranges.back().end = end;
    } else {
      scratch.ranges.push_back({&table, begin, end});
    }
  }
}

// Rows of all ranges, each once.
void CrosspolytopeIndex::collect(Scratch& scratch) const {
  const bool has_duplicates = header().tables > 1;
  scratch.rows.clear();
  scratch.seen.clear();
  for (std::size_t i = 0; i < scratch.ranges.size(); ++i) {
    if (i + kRangesAhead < scratch.ranges.size()) {
      const Range& next = scratch.ranges[i + kRangesAhead];
      __builtin_prefetch(next.table->rows + next.begin);
    }
    const Range& range = scratch.ranges[i];
    for (std::uint32_t position = range.begin; position < range.end; ++position) {
      const std::uint32_t row = range.table->rows[position];
      if (!has_duplicates || scratch.seen.is_new(row)) scratch.rows.push_back(row);
    }
  }
}

// Leaves the `wanted` smallest estimates, of equal ones the first; returns a limit that new ones must be below.
float CrosspolytopeIndex::keep_best(std::size_t wanted, Scratch& scratch) const {
  std::vector<float>& estimates = scratch.best_estimates;
  std::vector<std::uint32_t>& rows = scratch.best_rows;
  if (estimates.size() <= wanted) return std::numeric_limits<float>::infinity();
  const std::int64_t size = estimates.size(), count = wanted;
  float low, high;  // fewer than wanted are below `low`, at least as many below `high`
  kernels_.range_of(estimates.data(), size, &low, &high);
  high = std::nextafter(high, std::numeric_limits<float>::infinity());
  for (;;) {
    const float middle = 0.5f * low + 0.5f * high;
    if (middle <= low || middle >= high) break;
    const std::int64_t below = kernels_.count_below(estimates.data(), size, middle);
    (below < count ? low : high) = middle;
    if (below == count) break;
  }
  std::size_t kept = 0;
  for (std::int64_t i = 0; i < size; ++i) {  // no branch: which ones stay cannot be guessed
    estimates[kept] = estimates[i];
    rows[kept] = rows[i];
    kept += estimates[i] < high;
  }
  for (std::size_t i = kept; kept > wanted; --i) {  // ties for the last place
    if (estimates[i - 1] < low) continue;
    estimates.erase(estimates.begin() + (i - 1));
    rows.erase(rows.begin() + (i - 1));
    --kept;
  }
  estimates.resize(kept);
  rows.resize(kept);
  return high;
}

// The `wanted` rows of all ranges with the smallest estimates, each once.
void CrosspolytopeIndex::filter(std::size_t wanted, Scratch& scratch) const {
  const std::int64_t block_bytes = header().groups * kGroupBytes;
  const bool has_duplicates = header().tables > 1;
  scratch.lookups.prepare(codebook(), scratch.projected.coordinates.data());
  const SketchQuery query = scratch.lookups.view();
  scratch.positions.resize(kScanAtOnce + kBlockPoints);
  scratch.estimates.resize(kScanAtOnce + kBlockPoints);
  scratch.best_rows.clear();
  scratch.best_estimates.clear();
  scratch.seen.clear();
  float limit = std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < scratch.ranges.size(); ++i) {
    if (i + kRangesAhead < scratch.ranges.size()) {
      const Range& next = scratch.ranges[i + kRangesAhead];
      const std::int64_t begin = next.begin, block = begin / kBlockPoints;
      fetch(next.table->blocks + block * block_bytes, std::min(kFetchedBytes, block_bytes));
      fetch(next.table->offsets + begin, kCacheLine);
      fetch(next.table->scales + begin, kCacheLine);
      fetch(next.table->rows + begin, kCacheLine);
    }
    const Range& range = scratch.ranges[i];
    const SketchColumns columns = {range.table->blocks, range.table->offsets, range.table->scales};
    for (std::uint32_t begin = range.begin; begin < range.end;) {
      const std::uint32_t end = range.end - begin > kScanAtOnce ? begin + kScanAtOnce : range.end;
      const int found = kernels_.scan(columns, query, begin, end, limit, scratch.positions.data(),
                                      scratch.estimates.data());
      for (int j = 0; j < found; ++j) {
        const std::uint32_t row = range.table->rows[scratch.positions[j]];
        if (has_duplicates && !scratch.seen.is_new(row)) continue;
        scratch.best_rows.push_back(row);
        scratch.best_estimates.push_back(scratch.estimates[j]);
      }
      if (scratch.best_rows.size() >= kSpare * wanted) limit = keep_best(wanted, scratch);
      begin = end;
    }
  }
  keep_best(wanted, scratch);
  scratch.rows = scratch.best_rows;
}

// What candidates are ranked by, the smaller the better.
float CrosspolytopeIndex::rank_value(const float* query, const float* vector) const {
  switch (static_cast<Distance>(header().distance)) {
    case Distance::kEuclidean:
      return kernels_.squared_distance(query, vector, base_.dimension);
    case Distance::kCosine:
      return -kernels_.dot(query, vector, base_.dimension) /
             std::sqrt(kernels_.dot(vector, vector, base_.dimension));
    default:
      return -kernels_.dot(query, vector, base_.dimension);
  }
}

// The k best of scratch.rows, put first into scratch.ranked, in order; returns how many there are.
std::int64_t CrosspolytopeIndex::rank(const float* query, std::int64_t k, Scratch& scratch) const {
  const std::vector<std::uint32_t>& rows = scratch.rows;
  const std::int64_t vector_bytes = base_.dimension * static_cast<std::int64_t>(sizeof(float));
  scratch.ranked.resize(rows.size());
  for (std::size_t i = 0; i < std::min<std::size_t>(kRowsAhead, rows.size()); ++i)
    fetch(base_.row(rows[i]), vector_bytes);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (i + kRowsAhead < rows.size()) fetch(base_.row(rows[i + kRowsAhead]), vector_bytes);
    scratch.ranked[i] = ranked(rank_value(query, base_.row(rows[i])), rows[i]);
  }
  const std::int64_t found = std::min<std::int64_t>(k, rows.size());
  std::nth_element(scratch.ranked.begin(), scratch.ranked.begin() + found, scratch.ranked.end());
  std::sort(scratch.ranked.begin(), scratch.ranked.begin() + found);
  return found;
}

void CrosspolytopeIndex::search_one(const float* query, std::int64_t k, const SearchSettings& settings,
                                    Scratch& scratch, std::int64_t* rows, float* distances) const {
  probe(query, settings.probes, scratch);
  if (header().groups > 0 && settings.rerank > 0) {
    filter(std::max(k, settings.rerank), scratch);
  } else {
    collect(scratch);
  }
  const std::int64_t found = rank(query, k, scratch);
  const bool is_euclidean = static_cast<Distance>(header().distance) == Distance::kEuclidean;
  for (std::int64_t i = 0; i < found; ++i) {
    const RankedRow hit = scratch.ranked[i];
    rows[i] = row_of(hit);
    distances[i] =
        is_euclidean ? value_of(hit) : kernels_.squared_distance(query, base_.row(row_of(hit)), base_.dimension);
  }
  std::fill(rows + found, rows + k, -1);
  std::fill(distances + found, distances + k, std::numeric_limits<float>::infinity());
}

void CrosspolytopeIndex::search(const float* queries, std::int64_t q, std::int64_t k, const SearchSettings& settings,
                                std::int64_t* rows, float* distances) const {
  check_few_rows();
  in_parallel(settings.threads, q, kQueriesAtOnce, [&] {
    return [&, scratch = Lent(*this)](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i)
        search_one(queries + i * base_.dimension, k, settings, *scratch, rows + i * k, distances + i * k);
    };
  });
}

void CrosspolytopeIndex::candidates(const float* queries, std::int64_t q, const SearchSettings& settings,
                                    std::int64_t* counts) const {
  in_parallel(settings.threads, q, kQueriesAtOnce, [&] {
    return [&, scratch = Lent(*this)](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        probe(queries + i * base_.dimension, settings.probes, *scratch);
        collect(*scratch);
        counts[i] = (*scratch).rows.size();
      }
    };
  });
}

std::vector<Probe> CrosspolytopeIndex::probes(const float* query, std::int64_t count) const {
  const Lent scratch(*this);
  project(query, true, (*scratch).projected);
  const float length = rotate_query(*scratch);
  std::vector<Probe> probes = (*scratch).sequence.find((*scratch).copies.data(), length, count);
  std::sort(probes.begin(), probes.end());
  return probes;
}

}  // namespace ris
