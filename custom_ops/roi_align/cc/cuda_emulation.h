// Just enough of CUDA to run the kernels of RoIAlign on the CPU: blocks one after the other, each
// thread of a block a fiber that runs from barrier to barrier.
//
// It tests indexing, barriers and votes without a GPU. It shows no race between blocks, no
// misaligned vector and no speed. One launch at a time: the state is global.
#ifndef KMRCNN_CUDA_EMULATION_H_
#define KMRCNN_CUDA_EMULATION_H_

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>

#define __global__
#define __device__
#define __shared__ static
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)

using std::max;
using std::min;

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

// --- Runtime: device memory is the CPU's.

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
using cudaStream_t = void*;

inline cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t) {
  memset(memory, value, bytes);
  return cudaSuccess;
}

inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : "invalid argument";
}

// --- Threads

namespace kmrcnn {
namespace emulation {

constexpr size_t kStackBytes = 1 << 16;

struct Fiber {
  dim3 index;
  bool is_done;
  bool vote;
  ucontext_t context;
  std::unique_ptr<char[]> stack;
};

inline std::deque<Fiber> fibers;  // they are made once and run a thread of every block
inline Fiber* running;
inline ucontext_t scheduler;
inline std::function<void()> thread_body;

inline void Pause() { swapcontext(&running->context, &scheduler); }

inline void RunThreads() {
  for (;;) {
    thread_body();
    running->is_done = true;
    Pause();
  }
}

inline void MakeFiber() {
  Fiber& fiber = fibers.emplace_back();
  fiber.stack.reset(new char[kStackBytes]);
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStackBytes;
  makecontext(&fiber.context, RunThreads, 0);
}

inline void Resume(Fiber* fiber) {
  running = fiber;
  threadIdx = fiber->index;
  swapcontext(&scheduler, &fiber->context);
}

inline void RunBlock(unsigned threads) {
  for (unsigned i = 0; i < threads; ++i) {
    fibers[i].index = dim3(i % blockDim.x, i / blockDim.x);
    fibers[i].is_done = false;
  }
  unsigned done = 0;
  for (bool reversed = false; done == 0; reversed = !reversed) {
    // Either order in turn: a missing barrier is more likely to show.
    for (unsigned i = 0; i < threads; ++i) Resume(&fibers[reversed ? threads - 1 - i : i]);
    for (unsigned i = 0; i < threads; ++i) done += fibers[i].is_done;
  }
  if (done == threads) return;
  fprintf(stderr, "emulated CUDA: some threads of a block wait at a barrier, others returned\n");
  abort();
}

}  // namespace emulation

template <typename... Parameters, typename... Arguments>
cudaError_t Launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, void*,
                   Arguments... arguments) {
  const unsigned threads = block.x * block.y;
  const bool is_valid = grid.x > 0 && grid.x <= 0x7fffffffu && grid.y > 0 && grid.y <= 65535 &&
                        grid.z > 0 && grid.z <= 65535 && threads > 0 && threads <= 1024;
  if (!is_valid) return cudaErrorInvalidValue;
  gridDim = grid;
  blockDim = block;
  while (emulation::fibers.size() < threads) emulation::MakeFiber();
  emulation::thread_body = [&] { kernel(arguments...); };
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        emulation::RunBlock(threads);
      }
    }
  }
  return cudaSuccess;
}

}  // namespace kmrcnn

inline void __syncthreads() { kmrcnn::emulation::Pause(); }

// All threads of the block must vote, which these kernels do.
inline unsigned __ballot_sync(unsigned, bool vote) {
  using namespace kmrcnn::emulation;
  running->vote = vote;
  __syncthreads();
  const unsigned warp = (threadIdx.y * blockDim.x + threadIdx.x) / 32;
  unsigned votes = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if (fibers[warp * 32 + lane].vote) votes |= 1u << lane;
  }
  __syncthreads();
  return votes;
}

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

inline void atomicAdd(float* to, float value) { *to += value; }
inline void atomicAdd(int* to, int value) { *to += value; }
inline void atomicMin(int* to, int value) { *to = min(*to, value); }
inline void atomicMax(int* to, int value) { *to = max(*to, value); }

// --- Half types

using __half = _Float16;

inline float __half2float(__half value) { return static_cast<float>(value); }
inline __half __float2half_rn(float value) { return static_cast<__half>(value); }

struct __nv_bfloat16 {
  uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  memcpy(&result, &bits, sizeof(result));
  return result;
}

inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  if (value != value) return {0x7fff};
  return {static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

#endif  // KMRCNN_CUDA_EMULATION_H_
