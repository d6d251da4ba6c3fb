// JAX's handlers of the same kernels (XLA's foreign function interface): `jax_op.py` binds them.
#include <thread>

#include "roi_align.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

using Integers = ffi::Span<const int64_t>;
using Floats = ffi::Span<const float>;

// Arguments from `first` on are the maps, the boxes and the image indices. settings: pooled height
// and width, sampling ratio, aligned. level_areas has an unused entry for level 0.
ffi::ErrorOr<KmrcnnRoiAlign> ReadCall(const ffi::RemainingArgs& arguments, int first,
                                      Integers settings, Floats scales, Floats level_areas) {
  KmrcnnRoiAlign call{};
  call.num_levels = scales.size();
  if (call.num_levels > KMRCNN_MAX_LEVELS || level_areas.size() != scales.size() ||
      arguments.size() != first + scales.size() + 2) {
    return ffi::Unexpected(ffi::Error::InvalidArgument("wrong number of arguments"));
  }
  call.pooled_height = settings[0];
  call.pooled_width = settings[1];
  call.sampling_ratio = settings[2];
  call.aligned = settings[3];
  for (int level = 0; level < call.num_levels; ++level) {
    const ffi::AnyBuffer map = *arguments.get<ffi::AnyBuffer>(first + level);
    call.batch = map.dimensions()[0];
    call.height[level] = map.dimensions()[1];
    call.width[level] = map.dimensions()[2];
    call.channels = map.dimensions()[3];
    call.features[level] = map.untyped_data();
    call.scale[level] = scales[level];
    call.level_area[level] = level_areas[level];
    call.dtype = map.element_type() == ffi::F32   ? KMRCNN_FLOAT32
                 : map.element_type() == ffi::F16 ? KMRCNN_FLOAT16
                                                  : KMRCNN_BFLOAT16;
  }
  const int boxes_at = first + call.num_levels;
  const ffi::AnyBuffer boxes = *arguments.get<ffi::AnyBuffer>(boxes_at);
  call.num_rois = boxes.dimensions()[0];
  call.boxes = static_cast<const float*>(boxes.untyped_data());
  call.batch_indices = static_cast<const int32_t*>(
      arguments.get<ffi::AnyBuffer>(boxes_at + 1)->untyped_data());
  return call;
}

void SetGradients(const ffi::RemainingRets& gradients, KmrcnnRoiAlign* call) {
  for (int level = 0; level < call->num_levels; ++level) {
    call->gradients[level] = (*gradients.get<ffi::AnyBuffer>(level))->untyped_data();
  }
}

ffi::Error ToError(int status) {
  return status == KMRCNN_OK ? ffi::Error::Success() : ffi::Error::Internal("RoIAlign failed");
}

ffi::Error Forward(ffi::RemainingArgs arguments, ffi::Result<ffi::AnyBuffer> pooled,
                   Integers settings, Floats scales, Floats level_areas) {
  const auto call = ReadCall(arguments, 0, settings, scales, level_areas);
  if (call.has_error()) return call.error();
  const intptr_t threads = std::thread::hardware_concurrency();
  return ToError(kmrcnn_roi_align_forward_cpu(&*call, pooled->untyped_data(),
                                              &kmrcnn_thread_parallel_for, (void*)threads));
}

ffi::Error Backward(ffi::RemainingArgs arguments, ffi::RemainingRets gradients, Integers settings,
                    Floats scales, Floats level_areas) {
  auto call = ReadCall(arguments, 1, settings, scales, level_areas);
  if (call.has_error()) return call.error();
  SetGradients(gradients, &*call);
  const intptr_t threads = std::thread::hardware_concurrency();
  return ToError(kmrcnn_roi_align_backward_cpu(
      &*call, arguments.get<ffi::AnyBuffer>(0)->untyped_data(), &kmrcnn_thread_parallel_for,
      (void*)threads, threads));
}

#ifdef KMRCNN_WITH_CUDA
ffi::Error CudaToError(int error) {
  return error == 0 ? ffi::Error::Success() : ffi::Error::Internal(kmrcnn_cuda_error_string(error));
}

ffi::Error ForwardCuda(void* stream, ffi::RemainingArgs arguments,
                       ffi::Result<ffi::AnyBuffer> pooled, Integers settings, Floats scales,
                       Floats level_areas) {
  const auto call = ReadCall(arguments, 0, settings, scales, level_areas);
  if (call.has_error()) return call.error();
  return CudaToError(kmrcnn_roi_align_forward_cuda(&*call, pooled->untyped_data(), stream));
}

// Deterministic, as JAX's users expect of the same program on the same machine.
ffi::Error BackwardCuda(void* stream, ffi::ScratchAllocator allocator,
                        ffi::RemainingArgs arguments, ffi::RemainingRets gradients,
                        Integers settings, Floats scales, Floats level_areas) {
  auto call = ReadCall(arguments, 1, settings, scales, level_areas);
  if (call.has_error()) return call.error();
  SetGradients(gradients, &*call);
  const int64_t bytes = kmrcnn_roi_align_backward_cuda_scratch(&*call, /*deterministic=*/1);
  const auto scratch = allocator.Allocate(bytes, 256);
  if (!scratch.has_value()) return ffi::Error::Internal("out of memory");
  return CudaToError(kmrcnn_roi_align_backward_cuda(
      &*call, arguments.get<ffi::AnyBuffer>(0)->untyped_data(), *scratch, 1, stream));
}
#endif

#define KMRCNN_SETTINGS \
  Attr<Integers>("settings").Attr<Floats>("scales").Attr<Floats>("level_areas")

}  // namespace

#pragma GCC visibility push(default)
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    kmrcnn_jax_forward, Forward,
    ffi::Ffi::Bind().RemainingArgs().Ret<ffi::AnyBuffer>().KMRCNN_SETTINGS);
XLA_FFI_DEFINE_HANDLER_SYMBOL(kmrcnn_jax_backward, Backward,
                              ffi::Ffi::Bind().RemainingArgs().RemainingRets().KMRCNN_SETTINGS);
#ifdef KMRCNN_WITH_CUDA
using Stream = ffi::PlatformStream<void*>;
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    kmrcnn_jax_forward_cuda, ForwardCuda,
    ffi::Ffi::Bind().Ctx<Stream>().RemainingArgs().Ret<ffi::AnyBuffer>().KMRCNN_SETTINGS);
XLA_FFI_DEFINE_HANDLER_SYMBOL(kmrcnn_jax_backward_cuda, BackwardCuda,
                              ffi::Ffi::Bind()
                                  .Ctx<Stream>()
                                  .Ctx<ffi::ScratchAllocator>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .KMRCNN_SETTINGS);
#endif
#pragma GCC visibility pop
