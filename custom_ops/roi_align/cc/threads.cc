// A parallel_for on its own threads, for callers without a thread pool (JAX, ctypes).
#include <algorithm>
#include <thread>
#include <vector>

#include "roi_align.h"

void kmrcnn_thread_parallel_for(void* threads, int64_t count, int64_t /*cost_per_item*/,
                                KmrcnnRange fn, void* argument) {
  const int64_t workers = std::min<int64_t>((intptr_t)threads, count);
  if (workers <= 1) {
    fn(argument, 0, count);
    return;
  }
  std::vector<std::thread> running;
  for (int64_t i = 1; i < workers; ++i) {
    running.emplace_back(fn, argument, count * i / workers, count * (i + 1) / workers);
  }
  fn(argument, 0, count / workers);
  for (std::thread& thread : running) thread.join();
}
