// Shares work among threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace ris {

constexpr std::int64_t kMaxThreads = 1024;

// Calls run() on so many threads at once, this one among them, or on fewer where there are no more. Throws what a call
// threw first, after stop(), which is to make the other calls end.
template <typename Run, typename Stop>
void on_threads(std::int64_t threads, Run run, Stop stop) {
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto guarded = [&] {
    try {
      run();
    } catch (...) {  // an exception must not leave a thread
      const std::lock_guard<std::mutex> lock(failure_mutex);
      if (!failure) failure = std::current_exception();
      stop();
    }
  };
  const std::int64_t useful = std::min(threads, kMaxThreads);
  std::vector<std::thread> others;
  try {
    others.reserve(useful);
    for (std::int64_t i = 1; i < useful; ++i) others.emplace_back(guarded);
  } catch (const std::exception&) {
    // the system gives no more threads, or no memory for them: those there are do all the work
  }
  guarded();
  for (auto& other : others) other.join();
  if (failure) std::rethrow_exception(failure);
}

// Calls work(first, last) for pieces of `piece` of 0 to count - 1, on up to so many threads. Throws what a call threw.
// Each thread asks `make` for a callable of its own first, which so may hold scratch memory.
template <typename Make>
void in_parallel(std::int64_t threads, std::int64_t count, std::int64_t piece, Make make) {
  std::atomic<std::int64_t> next{0};
  const auto run = [&] {
    auto work = make();
    for (std::int64_t first; (first = next.fetch_add(piece)) < count;) work(first, std::min(count, first + piece));
  };
  on_threads(std::min(threads, (count + piece - 1) / piece), run, [&] { next = count; });
}

}  // namespace ris
