// FalconnIndex for Python: arrays in and out, checks that memory safety needs, the GIL released while it works.
#include "falconn_binding.h"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "falconn_index.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace ris {
namespace {

constexpr std::int64_t kMaxFlatBits = 30;  // FALCONN computes the number of buckets as int 1 << bits
constexpr std::int64_t kMaxBits = 64;      // its widest hash

nb::tuple to_tuple(RaggedRows&& ragged) {
  const std::size_t offsets = ragged.offsets.size();
  const std::size_t rows = ragged.rows.size();
  return nb::make_tuple(to_array(std::move(ragged.offsets), {offsets}), to_array(std::move(ragged.rows), {rows}));
}

// Bits of the hash that these settings make.
std::int64_t hash_bits(const FalconnSettings& s, std::int64_t dimension) {
  if (s.family == "hyperplane") return s.hash_functions;
  const auto log2_ceil = [](std::int64_t x) {
    std::int64_t bits = 0;
    while ((std::int64_t{1} << bits) < x) ++bits;
    return bits;
  };
  return (s.hash_functions - 1) * (log2_ceil(dimension) + 1) + log2_ceil(s.last_cp_dimension) + 1;
}

// Holds the array, and so the memory that the index points into.
class BoundIndex {
 public:
  BoundIndex(Matrix base, const FalconnSettings& settings, std::int64_t threads)
      : base_(std::move(base)), index_(make(base_, settings, threads)) {}

  nb::tuple search(const Matrix& queries, std::int64_t k, const FalconnProbing& probing) const {
    check_query(queries, probing);
    require(k >= 1 && k <= index_->n(), "k must be 1 to the number of points");
    const std::size_t q = queries.shape(0);
    std::vector<std::int64_t> rows(q * k);
    std::vector<float> distances(q * k);
    {
      nb::gil_scoped_release release;
      index_->search(queries.data(), q, k, probing, rows.data(), distances.data());
    }
    const std::size_t columns = k;
    return nb::make_tuple(to_array(std::move(rows), {q, columns}), to_array(std::move(distances), {q, columns}));
  }

  nb::tuple near(const Matrix& queries, float threshold, const FalconnProbing& probing) const {
    check_query(queries, probing);
    RaggedRows found;
    {
      nb::gil_scoped_release release;
      found = index_->near(queries.data(), queries.shape(0), threshold, probing);
    }
    return to_tuple(std::move(found));
  }

  nb::tuple candidates(const Matrix& queries, bool is_unique, const FalconnProbing& probing) const {
    check_query(queries, probing);
    RaggedRows found;
    {
      nb::gil_scoped_release release;
      found = index_->candidates(queries.data(), queries.shape(0), is_unique, probing);
    }
    return to_tuple(std::move(found));
  }

  nb::dict statistics() const {
    const FalconnStatistics s = index_->statistics();
    nb::dict result;
    result["total_query_s"] = s.total_query_s;
    result["lsh_s"] = s.lsh_s;
    result["hash_table_s"] = s.hash_table_s;
    result["distance_s"] = s.distance_s;
    result["candidates"] = s.candidates;
    result["unique_candidates"] = s.unique_candidates;
    result["queries"] = s.queries;
    return result;
  }

  void reset_statistics() { index_->reset_statistics(); }

 private:
  static void check(const Matrix& base, const FalconnSettings& settings, std::int64_t threads) {
    require(base.shape(0) >= 1 && base.shape(0) < (std::size_t{1} << 31), "the base must have 1 to 2^31 - 1 points");
    require(base.shape(1) >= 1, "the base must have at least 1 dimension");
    require(threads >= 1, "threads must be at least 1");
    require(settings.tables >= 1 && settings.hash_functions >= 1, "tables and hash_functions must be at least 1");
    const std::int64_t bits = hash_bits(settings, base.shape(1));
    const bool is_flat = settings.storage == "flat" || settings.storage == "bit_packed";
    require(bits <= (is_flat ? kMaxFlatBits : kMaxBits), "the hash has " + std::to_string(bits) + " bits; storage " +
                                                             settings.storage + " takes fewer");
    require_sane(base, "the base's vectors");
  }

  static std::unique_ptr<FalconnIndex> make(const Matrix& base, const FalconnSettings& settings,
                                            std::int64_t threads) {
    check(base, settings, threads);
    nb::gil_scoped_release release;
    return std::make_unique<FalconnIndex>(base.data(), base.shape(0), base.shape(1), settings, threads);
  }

  void check_query(const Matrix& queries, const FalconnProbing& probing) const {
    require(static_cast<std::int64_t>(queries.shape(1)) == index_->dimension(),
            "queries and base differ in their number of dimensions");
    require(probing.probes >= index_->tables(), "probes must be at least the number of tables");
    require(probing.threads >= 1, "threads must be at least 1");
    require_sane(queries, "the queries");
  }

  Matrix base_;
  std::unique_ptr<FalconnIndex> index_;
};

nb::dict to_dict(const FalconnSettings& s, std::int64_t dimension) {
  nb::dict result;
  result["family"] = s.family;
  result["distance"] = s.distance;
  result["storage"] = s.storage;
  result["tables"] = s.tables;
  result["hash_functions"] = s.hash_functions;
  result["last_cp_dimension"] = s.last_cp_dimension;
  result["rotations"] = s.rotations;
  result["feature_hashing_dimension"] = s.feature_hashing_dimension;
  result["seed"] = s.seed;
  result["hash_bits"] = hash_bits(s, dimension);
  return result;
}

}  // namespace

void bind_falconn(nb::module_& m) {
  nb::class_<FalconnSettings>(m, "FalconnSettings")
      .def(nb::init<>())
      .def_rw("family", &FalconnSettings::family)
      .def_rw("distance", &FalconnSettings::distance)
      .def_rw("storage", &FalconnSettings::storage)
      .def_rw("tables", &FalconnSettings::tables)
      .def_rw("hash_functions", &FalconnSettings::hash_functions)
      .def_rw("last_cp_dimension", &FalconnSettings::last_cp_dimension)
      .def_rw("rotations", &FalconnSettings::rotations)
      .def_rw("feature_hashing_dimension", &FalconnSettings::feature_hashing_dimension)
      .def_rw("seed", &FalconnSettings::seed);

  nb::class_<BoundIndex>(m, "FalconnIndex")
      .def(nb::init<Matrix, const FalconnSettings&, std::int64_t>(), "base"_a.noconvert(), "settings"_a,
           "threads"_a = 1)
      .def(
          "search",
          [](const BoundIndex& self, const Matrix& queries, std::int64_t k, std::int64_t probes,
             std::int64_t max_candidates,
             std::int64_t threads) { return self.search(queries, k, {probes, max_candidates, threads}); },
          "queries"_a.noconvert(), "k"_a, "probes"_a, "max_candidates"_a = -1, "threads"_a = 1,
          "Rows (q, k) int64, padded by -1, and squared Euclidean distances (q, k) float32, padded by inf.")
      .def(
          "near",
          [](const BoundIndex& self, const Matrix& queries, float threshold, std::int64_t probes,
             std::int64_t max_candidates,
             std::int64_t threads) { return self.near(queries, threshold, {probes, max_candidates, threads}); },
          "queries"_a.noconvert(), "threshold"_a, "probes"_a, "max_candidates"_a = -1, "threads"_a = 1,
          "Candidates below the threshold: offsets (q + 1) and rows, both int64.")
      .def(
          "candidates",
          [](const BoundIndex& self, const Matrix& queries, std::int64_t probes, std::int64_t max_candidates,
             std::int64_t threads,
             bool unique) { return self.candidates(queries, unique, {probes, max_candidates, threads}); },
          "queries"_a.noconvert(), "probes"_a, "max_candidates"_a = -1, "threads"_a = 1, "unique"_a = true,
          "Candidates in the order of the probing sequence: offsets (q + 1) and rows, both int64.")
      .def("statistics", &BoundIndex::statistics,
           "FALCONN's averages over all queries since the last reset, the time of our own loop included.")
      .def("reset_statistics", &BoundIndex::reset_statistics);

  m.def(
      "falconn_hashes_for_bits",
      [](const std::string& family, std::int64_t dimension, std::int64_t bits) {
        require(dimension >= 1 && bits >= 1 && bits <= kMaxBits, "dimension must be at least 1 and bits 1 to 64");
        const FalconnHashes hashes = falconn_hashes_for_bits(family, dimension, bits);
        return std::make_pair(hashes.hash_functions, hashes.last_cp_dimension);
      },
      "family"_a, "dimension"_a, "bits"_a, "(hash functions, dimension of the last cross-polytope) for so many bits.");
  m.def(
      "falconn_default_settings",
      [](std::int64_t n, std::int64_t dimension, const std::string& distance, bool is_dense) {
        // FALCONN compares n with int 1 << (bits + 2)
        require(n >= 1 && n < (std::int64_t{1} << 30), "n must be 1 to 2^30 - 1");
        require(dimension >= 1, "dimension must be at least 1");
        return to_dict(falconn_default_settings(n, dimension, distance, is_dense), dimension);
      },
      "n"_a, "dimension"_a, "distance"_a = "euclidean_squared", "is_dense"_a = true, "FALCONN's own advice.");
}

}  // namespace ris
