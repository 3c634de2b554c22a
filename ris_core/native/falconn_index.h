// FALCONN's tables behind a batched interface, free of Python and of FALCONN's own (heavy) headers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ris {

// What shapes the tables. The names of family, distance and storage are those of ris_core/engines/falconn.py.
struct FalconnSettings {
  std::string family = "cross_polytope";         // cross_polytope | hyperplane
  std::string distance = "euclidean_squared";    // euclidean_squared | negative_inner_product
  std::string storage = "bit_packed";            // flat | bit_packed | stl | linear_probing
  std::int64_t tables = 10;                      // FALCONN's l
  std::int64_t hash_functions = 0;               // FALCONN's k
  std::int64_t last_cp_dimension = 0;            // cross-polytope only
  std::int64_t rotations = 2;                    // cross-polytope only
  std::int64_t feature_hashing_dimension = -1;   // FALCONN reads it for sparse vectors only
  std::uint64_t seed = 409556018;
};

// How to search: FALCONN's num_probes (over all tables) and max_num_candidates (-1: no limit).
struct FalconnProbing {
  std::int64_t probes = 0;
  std::int64_t max_candidates = -1;
  std::int64_t threads = 1;
};

struct FalconnHashes {
  std::int64_t hash_functions;
  std::int64_t last_cp_dimension;  // 0 for hyperplanes
};

// Averages over all queries since the last reset, as FALCONN keeps them; distances are timed by our own loop.
struct FalconnStatistics {
  double total_query_s, lsh_s, hash_table_s, distance_s;
  double candidates, unique_candidates;
  std::int64_t queries;
};

// Number of hash functions, and size of the last one, that make a hash of `bits` bits.
FalconnHashes falconn_hashes_for_bits(const std::string& family, std::int64_t dimension, std::int64_t bits);

// FALCONN's own advice for `n` points.
FalconnSettings falconn_default_settings(std::int64_t n, std::int64_t dimension, const std::string& distance,
                                         bool is_dense);

// Ragged answers: query i has rows[offsets[i]] to rows[offsets[i + 1] - 1].
struct RaggedRows {
  std::vector<std::int64_t> offsets;
  std::vector<std::int64_t> rows;
};

// An index over n points in one row-major block, which must outlive it and stay as it is.
// All methods may be called from several threads at once.
class FalconnIndex {
 public:
  FalconnIndex(const float* base, std::int64_t n, std::int64_t dimension, const FalconnSettings& settings,
               std::int64_t threads);
  ~FalconnIndex();

  // The k nearest candidates of each query: rows (-1 pads) and squared Euclidean distances (+inf pads), both (q, k).
  void search(const float* queries, std::int64_t q, std::int64_t k, const FalconnProbing& probing,
              std::int64_t* rows, float* distances) const;

  // The candidates nearer than `threshold` by the index's own distance, in order of their first appearance.
  RaggedRows near(const float* queries, std::int64_t q, float threshold, const FalconnProbing& probing) const;

  // All candidates in the order of the probing sequence; each once, or as often as the tables hold it.
  RaggedRows candidates(const float* queries, std::int64_t q, bool is_unique, const FalconnProbing& probing) const;

  FalconnStatistics statistics() const;
  void reset_statistics();

  std::int64_t n() const { return n_; }
  std::int64_t dimension() const { return dimension_; }
  std::int64_t tables() const { return tables_; }

 private:
  struct Tables;  // hides FALCONN's types

  template <typename Work>
  void for_each_query(const float* queries, std::int64_t q, const FalconnProbing& probing, Work work) const;

  const float* base_;
  std::int64_t n_;
  std::int64_t dimension_;
  std::int64_t tables_;
  std::string distance_;
  std::unique_ptr<Tables> falconn_;
};

}  // namespace ris
