// RoIAlign over a feature pyramid: the plain C interface of the kernels.
//
// No TensorFlow and no CUDA header is needed to include this file: the same kernels serve the
// TensorFlow op, JAX and ctypes. Maps and pooled values are NHWC, boxes xyxy in pixels.
#ifndef KMRCNN_ROI_ALIGN_H_
#define KMRCNN_ROI_ALIGN_H_

#include <stdint.h>

#define KMRCNN_MAX_LEVELS 8
#define KMRCNN_PUBLIC extern "C" __attribute__((visibility("default")))

enum KmrcnnDtype { KMRCNN_FLOAT32 = 0, KMRCNN_FLOAT16 = 1, KMRCNN_BFLOAT16 = 2 };

// What the CPU functions return. The CUDA functions return a cudaError_t instead (0: success).
enum KmrcnnStatus { KMRCNN_OK = 0, KMRCNN_BAD_DTYPE = 1, KMRCNN_OUT_OF_MEMORY = 2 };

// One call. Plain data: CUDA kernels take it by value, ctypes mirrors it field by field.
struct KmrcnnRoiAlign {
  int32_t num_levels;      // L, 1..KMRCNN_MAX_LEVELS
  int32_t batch;           // B
  int32_t channels;        // C
  int32_t num_rois;        // N
  int32_t pooled_height;   // bins along y
  int32_t pooled_width;    // bins along x
  int32_t sampling_ratio;  // samples per bin and axis; 0: ceil(bin size)
  int32_t aligned;         // 1: pixel centres sit at integers (boxes are shifted by half a pixel)
  int32_t dtype;           // KmrcnnDtype of maps, pooled values and gradients
  int32_t height[KMRCNN_MAX_LEVELS];
  int32_t width[KMRCNN_MAX_LEVELS];
  float scale[KMRCNN_MAX_LEVELS];       // cells per pixel: 1 / stride
  float level_area[KMRCNN_MAX_LEVELS];  // [k]: smallest box, in pixels^2, of level k; [0] unused
  const void* features[KMRCNN_MAX_LEVELS];  // (B, height, width, C)
  void* gradients[KMRCNN_MAX_LEVELS];       // the same shapes; only the backward writes them
  const float* boxes;                       // (N, 4)
  const int32_t* batch_indices;             // (N,); outside 0..B-1: the RoI is padding, it gives 0
};

// Runs fn(argument, begin, end) for ranges that make up [0, count), maybe on several threads.
typedef void (*KmrcnnRange)(void* argument, int64_t begin, int64_t end);
typedef void (*KmrcnnParallelFor)(void* pool, int64_t count, int64_t cost_per_item, KmrcnnRange fn,
                                  void* argument);

// pooled: (N, pooled_height, pooled_width, C), fully written.
KMRCNN_PUBLIC int kmrcnn_roi_align_forward_cpu(const KmrcnnRoiAlign* call, void* pooled,
                                               KmrcnnParallelFor parallel_for, void* pool);

// pooled_gradient: as pooled. call->gradients are fully written; the same bits for any `threads`.
KMRCNN_PUBLIC int kmrcnn_roi_align_backward_cpu(const KmrcnnRoiAlign* call,
                                                const void* pooled_gradient,
                                                KmrcnnParallelFor parallel_for, void* pool,
                                                int threads);

// Instruction set of the inner loops: 0 baseline, 1 AVX2 + FMA + F16C. wanted < 0: the best one
// this CPU has; a set that it lacks is not taken. Returns the one now in use.
KMRCNN_PUBLIC int kmrcnn_cpu_isa(int wanted);

// A parallel_for on its own threads, for callers without a pool; `threads` is a number, not a
// pointer.
KMRCNN_PUBLIC void kmrcnn_thread_parallel_for(void* threads, int64_t count, int64_t cost_per_item,
                                              KmrcnnRange fn, void* argument);

// stream: a cudaStream_t (CUstream). All pointers of the call are device pointers.
KMRCNN_PUBLIC int kmrcnn_roi_align_forward_cuda(const KmrcnnRoiAlign* call, void* pooled,
                                                void* stream);

// Bytes of device memory, aligned to 256, that the backward needs as `scratch`.
KMRCNN_PUBLIC int64_t kmrcnn_roi_align_backward_cuda_scratch(const KmrcnnRoiAlign* call,
                                                             int deterministic);

// deterministic 0: atomic additions; 1: every pixel is summed by one thread in the order of RoIs.
KMRCNN_PUBLIC int kmrcnn_roi_align_backward_cuda(const KmrcnnRoiAlign* call,
                                                 const void* pooled_gradient, void* scratch,
                                                 int deterministic, void* stream);

KMRCNN_PUBLIC const char* kmrcnn_cuda_error_string(int error);

#endif  // KMRCNN_ROI_ALIGN_H_
