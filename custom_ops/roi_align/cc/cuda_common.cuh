// What the CUDA kernels of RoIAlign share: launches, element types, vectors of channels.
//
// With KMRCNN_EMULATE_CUDA the kernels compile as plain C++ and run on the CPU.
#ifndef KMRCNN_CUDA_COMMON_CUH_
#define KMRCNN_CUDA_COMMON_CUH_

#include <algorithm>
#include <cstdint>

#ifdef KMRCNN_EMULATE_CUDA
#include "cuda_emulation.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace kmrcnn {

template <typename... Parameters, typename... Arguments>
cudaError_t Launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, void* stream,
                   Arguments... arguments) {
  kernel<<<grid, block, 0, static_cast<cudaStream_t>(stream)>>>(arguments...);
  return cudaGetLastError();
}

}  // namespace kmrcnn
#endif

#include "geometry.h"

namespace kmrcnn {

constexpr int kLanes = 32;          // threads along the channels, at most
constexpr int kThreads = 256;       // of a block, at most
constexpr int kResidentBlocks = 3;  // on a multiprocessor: registers for kCells loads at a time
constexpr int kCells = 4;           // that a thread works on at a time
constexpr int kVectorBytes = 16;    // the widest load of a thread

// --- Backwards, for kmrcnn_roi_align_backward_cuda. All gradients are fully written.

cudaError_t BackwardFast(const KmrcnnRoiAlign& call, const void* pooled_gradient, void* scratch,
                         void* stream);
int64_t BackwardFastScratch(const KmrcnnRoiAlign& call);
cudaError_t BackwardDeterministic(const KmrcnnRoiAlign& call, const void* pooled_gradient,
                                  void* scratch, void* stream);
int64_t BackwardDeterministicScratch(const KmrcnnRoiAlign& call);

// --- Elements: sums are float32, whatever the dtype.

__device__ __forceinline__ float ToFloat(float value) { return value; }
__device__ __forceinline__ float ToFloat(__half value) { return __half2float(value); }
__device__ __forceinline__ float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }

__device__ __forceinline__ void Round(float value, float* out) { *out = value; }
__device__ __forceinline__ void Round(float value, __half* out) { *out = __float2half_rn(value); }
__device__ __forceinline__ void Round(float value, __nv_bfloat16* out) {
  *out = __float2bfloat16_rn(value);
}

// Neighbouring channels that one instruction loads or stores.
template <typename T, int kVector>
struct alignas(sizeof(T) * kVector) Vector {
  T of[kVector];
};

template <int kVector, typename T>
__device__ __forceinline__ void LoadVector(const T* from, float* values) {
  const Vector<T, kVector> vector = *reinterpret_cast<const Vector<T, kVector>*>(from);
#pragma unroll
  for (int i = 0; i < kVector; ++i) values[i] = ToFloat(vector.of[i]);
}

template <int kVector, typename T>
__device__ __forceinline__ void StoreVector(const float* values, T* to) {
  Vector<T, kVector> vector;
#pragma unroll
  for (int i = 0; i < kVector; ++i) Round(values[i], &vector.of[i]);
  *reinterpret_cast<Vector<T, kVector>*>(to) = vector;
}

__device__ __forceinline__ int ThreadInBlock() { return threadIdx.y * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int ThreadsOfBlock() { return blockDim.x * blockDim.y; }

// --- What a call has.

template <typename Integer>
KMRCNN_INLINE constexpr Integer DivideUp(Integer a, Integer b) {
  return (a + b - 1) / b;
}

constexpr int64_t AlignUp(int64_t bytes) { return DivideUp<int64_t>(bytes, 256) * 256; }

inline bool HasPooledValues(const KmrcnnRoiAlign& call) {
  return call.num_rois > 0 && call.pooled_height > 0 && call.pooled_width > 0 && call.channels > 0;
}

// Elements of the map of one level, all images together.
KMRCNN_INLINE int64_t LevelSize(const KmrcnnRoiAlign& call, int level) {
  return (int64_t)call.batch * call.height[level] * call.width[level] * call.channels;
}

inline cudaError_t Zero(void* memory, int64_t bytes, void* stream) {
  if (bytes == 0) return cudaSuccess;
  return cudaMemsetAsync(memory, 0, bytes, static_cast<cudaStream_t>(stream));
}

inline cudaError_t ZeroGradients(const KmrcnnRoiAlign& call, void* stream) {
  const int element_bytes = call.dtype == KMRCNN_FLOAT32 ? 4 : 2;
  for (int level = 0; level < call.num_levels; ++level) {
    const int64_t bytes = LevelSize(call, level) * element_bytes;
    const cudaError_t error = Zero(call.gradients[level], bytes, stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

inline bool IsAligned(const void* pointer, int bytes) {
  return reinterpret_cast<uintptr_t>(pointer) % bytes == 0;
}

// Whether each vector of `elements` channels may be loaded at once.
inline bool CanUseVectors(const KmrcnnRoiAlign& call, int elements, const void* pooled) {
  bool can = call.channels % elements == 0 && IsAligned(pooled, kVectorBytes);
  for (int level = 0; level < call.num_levels; ++level) {
    can = can && IsAligned(call.features[level], kVectorBytes) &&
          IsAligned(call.gradients[level], kVectorBytes);
  }
  return can;
}

// Calls function(T{}), T being the type of an element.
template <typename Function>
cudaError_t DispatchDtype(int dtype, Function function) {
  switch (dtype) {
    case KMRCNN_FLOAT32:
      return function(float{});
    case KMRCNN_FLOAT16:
      return function(__half{});
    case KMRCNN_BFLOAT16:
      return function(__nv_bfloat16{});
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace kmrcnn

#endif  // KMRCNN_CUDA_COMMON_CUH_
