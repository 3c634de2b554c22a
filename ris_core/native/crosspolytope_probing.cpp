#include "crosspolytope_probing.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ris {
namespace {

constexpr int kFewCoordinates = 16;  // of so few, all vertices are listed
constexpr int kBisections = 40;
constexpr float kNoBound = std::numeric_limits<float>::infinity();

// |x| that a standard normal x exceeds with probability `share`, roughly (Abramowitz and Stegun 26.2.22, two-sided).
float normal_quantile(float share) {
  const float t = std::sqrt(-2 * std::log(std::min(share, 1.0f) / 2));
  return std::max(0.0f, t - (2.30753f + 0.27061f * t) / (1 + 0.99229f * t + 0.04481f * t * t));
}

}  // namespace

ProbingSequence::ProbingSequence(const HashFunctions& functions, const Kernels& kernels)
    : functions_(functions), kernels_(kernels), tables_(functions.settings().tables), selected_(functions.size()) {}

const std::vector<Probe>& ProbingSequence::find(const float* copies, float length, std::int64_t count) {
  const HashSettings& settings = functions_.settings();
  count = std::min(count, settings.tables * (std::int64_t{1} << settings.bits));
  const float inverse_length = length > 0 ? 1 / length : 0;
  const double per_table = static_cast<double>(count) / settings.tables;
  std::size_t wanted = static_cast<std::size_t>(4 * std::sqrt(per_table)) + 4;
  for (;; wanted *= 4) {
    list_choices(copies, inverse_length, wanted);
    float bound = kNoBound, highest = 0;
    for (const Halves& halves : tables_) {
      bound = std::min({bound, halves.high.bound, halves.low.bound});
      highest = std::max(highest, halves.high.sorted.back().cost + halves.low.sorted.back().cost);
    }
    highest = std::min(highest, bound);
    if (bound == kNoBound || count_up_to(highest, count) >= count) {
      list_up_to(cost_of_last(highest, count));
      break;
    }
  }
  keep_cheapest(count);
  return probes_;
}

void ProbingSequence::list_choices(const float* copies, float inverse_length, std::size_t wanted) {
  const int functions = functions_.per_table();
  for (std::size_t table = 0; table < tables_.size(); ++table) {
    Halves& halves = tables_[table];
    for (int number = 0; number < functions; ++number) {
      // the first half of the functions makes the upper part of the code
      Choices& half = number < (functions + 1) / 2 ? halves.high : halves.low;
      const bool is_first = number == 0 || number == (functions + 1) / 2;
      Choices& listed = is_first ? half : part_;
      list_vertices(functions_.function(table, number), copies, inverse_length, wanted, listed);
      if (!is_first) combine(half, part_, wanted);
    }
    if (functions == 1) halves.low = {{{0, 0}}, kNoBound, 0};
  }
}

void ProbingSequence::list_vertices(const HashFunctions::Function& function, const float* copies,
                                    float inverse_length, std::size_t wanted, Choices& choices) {
  const float* values = copies + function.first;
  const int m = function.dimension;
  const float largest = std::fabs(values[kernels_.argmax_abs(values, m)]);
  choices.sorted.clear();
  choices.bits = function.bits;
  const auto add = [&](float product, std::uint32_t code) {
    const float gap = (largest - product) * inverse_length;
    choices.sorted.push_back({gap * gap, code});
  };
  if (m <= kFewCoordinates || 2 * wanted >= static_cast<std::size_t>(m)) {
    choices.bound = kNoBound;
    for (int i = 0; i < m; ++i) {
      add(values[i], vertex(i, false, m));
      add(-values[i], vertex(i, true, m));
    }
  } else {
    const float deviation = std::sqrt(kernels_.dot(values, values, m) / m);
    const float threshold = std::min(largest, deviation * normal_quantile(1.2f * wanted / m));
    const int count = kernels_.select_abs(values, m, threshold, selected_.data());
    for (int i = 0; i < count; ++i) {
      const float value = values[selected_[i]];
      add(std::fabs(value), vertex(selected_[i], value < 0, m));
    }
    const float gap = (largest - threshold) * inverse_length;
    choices.bound = gap * gap;
  }
  std::sort(choices.sorted.begin(), choices.sorted.end());
}

// The cheapest sums of both, put into `high`. With i and j counted from 1, at least i * j - 1 sums are no dearer than
// that of the i-th and the j-th.
void ProbingSequence::combine(Choices& high, const Choices& low, std::size_t wanted) {
  combined_.clear();
  for (std::size_t i = 0; i < high.sorted.size() && i < wanted; ++i) {
    const std::size_t end = std::min(low.sorted.size(), wanted / (i + 1));
    for (std::size_t j = 0; j < end; ++j)
      combined_.push_back(
          {high.sorted[i].cost + low.sorted[j].cost, high.sorted[i].code << low.bits | low.sorted[j].code});
  }
  std::sort(combined_.begin(), combined_.end());
  high.bound = std::min(high.bound, low.bound);
  if (combined_.size() < high.sorted.size() * low.sorted.size()) {
    combined_.resize(std::min(combined_.size(), wanted));
    // sums left out cost at least as much as the last one kept, but may cost the same
    high.bound = std::min(high.bound, std::nextafter(combined_.back().cost, 0.0f));
  }
  high.sorted.swap(combined_);
  high.bits += low.bits;
}

// How many buckets cost at most so much; stops at `enough`.
std::int64_t ProbingSequence::count_up_to(float cost, std::int64_t enough) const {
  std::int64_t count = 0;
  for (const Halves& halves : tables_) {
    const std::vector<Choice>& low = halves.low.sorted;
    std::size_t end = low.size();
    for (const Choice& high : halves.high.sorted) {
      while (end > 0 && high.cost + low[end - 1].cost > cost) --end;
      if (end == 0) break;
      count += end;
    }
    if (count >= 2 * enough) break;
  }
  return count;
}

// A cost that at least `count` buckets keep to, few more do, and that is at most `highest`, which enough keep to.
float ProbingSequence::cost_of_last(float highest, std::int64_t count) const {
  float lowest = 0;
  for (int i = 0; i < kBisections; ++i) {
    const float middle = 0.5f * (lowest + highest);
    const std::int64_t found = count_up_to(middle, count);
    (found >= count ? highest : lowest) = middle;
    if (found >= count && found <= count + count / 16) break;
  }
  return highest;
}

void ProbingSequence::list_up_to(float cost) {
  probes_.clear();
  const auto by_code = [](const Choice& a, const Choice& b) { return a.code < b.code; };
  for (std::size_t table = 0; table < tables_.size(); ++table) {
    const Halves& halves = tables_[table];
    const auto affordable = [&](const Choices& choices, const Choices& others, std::vector<Choice>& listed) {
      listed.clear();
      for (const Choice& choice : choices.sorted) {
        if (choice.cost + others.sorted[0].cost > cost) break;
        listed.push_back(choice);
      }
      std::sort(listed.begin(), listed.end(), by_code);
    };
    affordable(halves.high, halves.low, high_);
    affordable(halves.low, halves.high, low_);
    for (const Choice& high : high_) {
      for (const Choice& low : low_) {
        const float sum = high.cost + low.cost;
        if (sum <= cost)
          probes_.push_back({sum, static_cast<std::uint32_t>(table), high.code << halves.low.bits | low.code});
      }
    }
  }
}

// Leaves the `count` cheapest probes, of equal ones the first, in their order.
void ProbingSequence::keep_cheapest(std::int64_t count) {
  if (static_cast<std::int64_t>(probes_.size()) <= count) return;
  costs_.clear();
  for (const Probe& probe : probes_) costs_.push_back(probe.cost);
  std::nth_element(costs_.begin(), costs_.begin() + (count - 1), costs_.end());
  const float dearest = costs_[count - 1];
  std::int64_t ties = count;
  for (const Probe& probe : probes_) ties -= probe.cost < dearest;
  const auto is_left_out = [&](const Probe& probe) {
    return probe.cost > dearest || (probe.cost == dearest && ties-- <= 0);
  };
  probes_.erase(std::remove_if(probes_.begin(), probes_.end(), is_left_out), probes_.end());
}

}  // namespace ris
