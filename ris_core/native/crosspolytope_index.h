// Cross-polytope LSH over vectors that stay where they are: build, extend, save, load, search.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "crosspolytope_hash.h"
#include "crosspolytope_image.h"
#include "crosspolytope_probing.h"

namespace ris {

// The vectors are not those that the index was built over.
struct ForeignBaseError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// n row-major vectors, which must outlive the index and stay as they are.
struct Base {
  const float* values;
  std::int64_t n;
  std::int64_t dimension;
  const float* row(std::int64_t number) const { return values + number * dimension; }
};

// What shapes an index.
struct BuildSettings {
  bool is_hyperplane = false;
  Distance distance = Distance::kEuclidean;
  std::uint32_t tables = 1;
  std::uint32_t bits = 1;
  std::uint32_t rotations = 1;
  std::uint64_t seed = 0;
  std::uint32_t hashed = 0;            // leading principal coordinates that are hashed; 0 for the vectors as they come
  std::uint32_t groups = 0;            // of a sketch, at most; 0 for none
  const float* axes = nullptr;         // principal axes, (axis_count, lifted dimension), by falling variance
  const float* variances = nullptr;    // (axis_count)
  std::uint32_t axis_count = 0;
};

struct SearchSettings {
  std::int64_t probes = 0;  // buckets over all tables
  std::int64_t rerank = 0;  // candidates left by the sketches; 0 for all
  std::int64_t threads = 1;
};

// All methods but the constructors may be called from several threads at once.
class CrosspolytopeIndex {
 public:
  // `path` names the kernels, or is empty.
  CrosspolytopeIndex(const Base& base, const BuildSettings& settings, std::int64_t threads, const std::string& path);
  // Over more vectors, the first of which are those of `shorter`; only the others are hashed.
  CrosspolytopeIndex(const CrosspolytopeIndex& shorter, const Base& base, std::int64_t threads);
  // From a file. Throws IndexFileError, or ForeignBaseError if the base is another one.
  CrosspolytopeIndex(const Base& base, const std::string& file, bool is_mapped, const std::string& path);
  ~CrosspolytopeIndex();

  // The k best candidates of each query, best first: rows (-1 pads) and squared Euclidean distances (+inf pads), both
  // (q, k). Every probed bucket is examined entirely; without `rerank` every candidate is scored exactly.
  void search(const float* queries, std::int64_t q, std::int64_t k, const SearchSettings& settings,
              std::int64_t* rows, float* distances) const;
  // How many different rows the probed buckets hold, (q).
  void candidates(const float* queries, std::int64_t q, const SearchSettings& settings, std::int64_t* counts) const;
  // The probing sequence of one query, by rising cost.
  std::vector<Probe> probes(const float* query, std::int64_t count) const;
  // The codes of any vectors, (n, tables).
  void codes(const float* vectors, std::int64_t n, std::uint32_t* codes) const;

  void save(const std::string& file) const { image_->save(file); }
  // Throws ForeignBaseError if rows of a sample have changed.
  void check_base() const;

  const ImageHeader& header() const { return image_->header(); }
  const HashFunctions& functions() const { return functions_; }
  const char* path() const { return kernels_.name; }
  std::int64_t size_bytes() const;

 private:
  struct HashedPoints;
  struct Projected;
  struct Scratch;
  class Lent;

  static ImageHeader plan(const Base& base, const BuildSettings& settings, const Kernels& kernels);
  Codebook codebook() const;
  void train(const BuildSettings& settings);
  void project(const float* vector, bool is_query, Projected& projected) const;
  void hash(std::int64_t first, std::int64_t threads, HashedPoints& points) const;
  void hash_one(std::int64_t row, Projected& projected, HashedPoints& points) const;
  void recover(HashedPoints& points) const;
  void arrange(const HashedPoints& points, std::int64_t threads);
  void arrange_table(const HashedPoints& points, int number);
  void finish();

  float rotate_query(Scratch& scratch) const;
  void probe(const float* query, std::int64_t count, Scratch& scratch) const;
  void collect(Scratch& scratch) const;
  float keep_best(std::size_t wanted, Scratch& scratch) const;
  void filter(std::size_t wanted, Scratch& scratch) const;
  float rank_value(const float* query, const float* vector) const;
  std::int64_t rank(const float* query, std::int64_t k, Scratch& scratch) const;
  void search_one(const float* query, std::int64_t k, const SearchSettings& settings, Scratch& scratch,
                  std::int64_t* rows, float* distances) const;
  void check_few_rows() const;
  std::uint64_t digest(std::int64_t sample) const;

  Base base_;
  const Kernels& kernels_;
  std::unique_ptr<Image> image_;
  HashFunctions functions_;
  std::vector<Table> tables_;
  std::uint64_t few_rows_ = 0;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Scratch>> idle_;
  mutable std::size_t scratches_ = 0;  // idle or lent
};

}  // namespace ris
