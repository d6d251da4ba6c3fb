// The TensorFlow ops KmrcnnRoiAlign and KmrcnnRoiAlignGrad: the only file that sees TensorFlow.
#include <limits>
#include <string>
#include <vector>

#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/util/work_sharder.h"
#ifdef KMRCNN_WITH_CUDA
#include "tensorflow/core/util/determinism.h"
#include "xla/stream_executor/stream.h"
#endif

#include "roi_align.h"

namespace kmrcnn {
namespace {

using tensorflow::DEVICE_CPU;
using tensorflow::DeviceBase;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// === op definitions ===

absl::Status PooledShape(InferenceContext* c) {
  int levels, height, width;
  TF_RETURN_IF_ERROR(c->GetAttr("levels", &levels));
  TF_RETURN_IF_ERROR(c->GetAttr("pooled_height", &height));
  TF_RETURN_IF_ERROR(c->GetAttr("pooled_width", &width));
  DimensionHandle batch = c->UnknownDim(), channels = c->UnknownDim(), rois, four;
  for (int level = 0; level < levels; ++level) {
    ShapeHandle features;
    TF_RETURN_IF_ERROR(c->WithRank(c->input(level), 4, &features));
    TF_RETURN_IF_ERROR(c->Merge(batch, c->Dim(features, 0), &batch));
    TF_RETURN_IF_ERROR(c->Merge(channels, c->Dim(features, 3), &channels));
  }
  ShapeHandle boxes, batch_indices;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(levels), 2, &boxes));
  TF_RETURN_IF_ERROR(c->WithValue(c->Dim(boxes, 1), 4, &four));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(levels + 1), 1, &batch_indices));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(boxes, 0), c->Dim(batch_indices, 0), &rois));
  c->set_output(0, c->MakeShape({rois, c->MakeDim(height), c->MakeDim(width), channels}));
  return absl::OkStatus();
}

absl::Status FeatureShapes(InferenceContext* c) {
  int levels;
  TF_RETURN_IF_ERROR(c->GetAttr("levels", &levels));
  for (int level = 0; level < levels; ++level) c->set_output(level, c->input(1 + level));
  return absl::OkStatus();
}

// level_areas: of levels 1, 2, ...; see `KmrcnnRoiAlign::level_area`.
#define KMRCNN_ROI_ALIGN_ATTRIBUTES        \
  Attr("T: {float, half, bfloat16}")       \
      .Attr("levels: int >= 1")            \
      .Attr("pooled_height: int >= 1")     \
      .Attr("pooled_width: int >= 1")      \
      .Attr("sampling_ratio: int >= 0")    \
      .Attr("aligned: bool")               \
      .Attr("spatial_scales: list(float)") \
      .Attr("level_areas: list(float)")

REGISTER_OP("KmrcnnRoiAlign")
    .Input("features: levels * T")
    .Input("boxes: float")
    .Input("batch_indices: int32")
    .Output("pooled: T")
    .KMRCNN_ROI_ALIGN_ATTRIBUTES.SetShapeFn(PooledShape);

REGISTER_OP("KmrcnnRoiAlignGrad")
    .Input("pooled_gradient: T")
    .Input("features: levels * T")
    .Input("boxes: float")
    .Input("batch_indices: int32")
    .Output("feature_gradients: levels * T")
    .KMRCNN_ROI_ALIGN_ATTRIBUTES.SetShapeFn(FeatureShapes);

// === from a kernel's context to a call ===

// The part of a call that the attributes fix.
absl::Status ReadAttributes(OpKernelConstruction* c, KmrcnnRoiAlign* call) {
  tensorflow::DataType dtype;
  bool aligned;
  std::vector<float> scales, areas;
  TF_RETURN_IF_ERROR(c->GetAttr("T", &dtype));
  TF_RETURN_IF_ERROR(c->GetAttr("levels", &call->num_levels));
  TF_RETURN_IF_ERROR(c->GetAttr("pooled_height", &call->pooled_height));
  TF_RETURN_IF_ERROR(c->GetAttr("pooled_width", &call->pooled_width));
  TF_RETURN_IF_ERROR(c->GetAttr("sampling_ratio", &call->sampling_ratio));
  TF_RETURN_IF_ERROR(c->GetAttr("aligned", &aligned));
  TF_RETURN_IF_ERROR(c->GetAttr("spatial_scales", &scales));
  TF_RETURN_IF_ERROR(c->GetAttr("level_areas", &areas));
  const int levels = call->num_levels;
  if (levels > KMRCNN_MAX_LEVELS) {
    return absl::InvalidArgumentError(
        absl::StrCat("features must have at most ", KMRCNN_MAX_LEVELS, " levels, got ", levels));
  }
  if ((int)scales.size() != levels || (int)areas.size() != levels - 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "spatial_scales must have an entry for each of the ", levels, " levels and level_areas ",
        "for each but the first, got ", scales.size(), " and ", areas.size()));
  }
  call->aligned = aligned;
  call->dtype = dtype == tensorflow::DT_FLOAT  ? KMRCNN_FLOAT32
                : dtype == tensorflow::DT_HALF ? KMRCNN_FLOAT16
                                               : KMRCNN_BFLOAT16;
  for (int level = 0; level < levels; ++level) {
    call->scale[level] = scales[level];
    if (level > 0) call->level_area[level] = areas[level - 1];
  }
  return absl::OkStatus();
}

// The part that the inputs fix; the maps are inputs first, first + 1, ...
absl::Status ReadInputs(OpKernelContext* c, int first, KmrcnnRoiAlign* call) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  const Tensor& boxes = c->input(first + call->num_levels);
  const Tensor& batch_indices = c->input(first + call->num_levels + 1);
  if (boxes.dims() != 2 || boxes.dim_size(1) != 4 || boxes.dim_size(0) > kMost) {
    return absl::InvalidArgumentError(
        absl::StrCat("boxes must have shape (N, 4), got ", boxes.shape().DebugString()));
  }
  if (batch_indices.dims() != 1 || batch_indices.dim_size(0) != boxes.dim_size(0)) {
    return absl::InvalidArgumentError(absl::StrCat("batch_indices must have shape (",
                                                   boxes.dim_size(0), ",), got ",
                                                   batch_indices.shape().DebugString()));
  }
  const Tensor& finest = c->input(first);
  for (int level = 0; level < call->num_levels; ++level) {
    const Tensor& map = c->input(first + level);
    bool usable = map.dims() == 4;
    for (int d = 0; usable && d < 4; ++d) usable = map.dim_size(d) < kMost / 8;
    usable = usable && map.dim_size(1) > 0 && map.dim_size(2) > 0 &&
             map.dim_size(0) == finest.dim_size(0) && map.dim_size(3) == finest.dim_size(3);
    if (!usable) {
      return absl::InvalidArgumentError(
          absl::StrCat("features must have shape (B, h, w, C) with h, w > 0 and the same B and C ",
                       "on all levels, got ", map.shape().DebugString(), " at level ", level));
    }
    call->height[level] = map.dim_size(1);
    call->width[level] = map.dim_size(2);
    call->features[level] = map.data();
  }
  call->batch = finest.dim_size(0);
  call->channels = finest.dim_size(3);
  call->num_rois = boxes.dim_size(0);
  call->boxes = static_cast<const float*>(boxes.data());
  call->batch_indices = static_cast<const int32_t*>(batch_indices.data());
  return absl::OkStatus();
}

absl::Status PooledTensorShape(const KmrcnnRoiAlign& call, TensorShape* shape) {
  return TensorShape::BuildTensorShape(
      {call.num_rois, call.pooled_height, call.pooled_width, call.channels}, shape);
}

// === kernels ===

// What the CPU and the GPU kernel share. `Device` has Forward(context, call, pooled) and
// Backward(context, call, pooled_gradient).
template <typename Device>
class RoiAlignOp : public OpKernel {
 public:
  explicit RoiAlignOp(OpKernelConstruction* c) : OpKernel(c) {
    OP_REQUIRES_OK(c, ReadAttributes(c, &attributes_));
  }

  void Compute(OpKernelContext* c) override {
    KmrcnnRoiAlign call = attributes_;
    OP_REQUIRES_OK(c, ReadInputs(c, 0, &call));
    TensorShape shape;
    OP_REQUIRES_OK(c, PooledTensorShape(call, &shape));
    Tensor* pooled;
    OP_REQUIRES_OK(c, c->allocate_output(0, shape, &pooled));
    if (pooled->NumElements() > 0) OP_REQUIRES_OK(c, Device::Forward(c, call, pooled->data()));
  }

 private:
  KmrcnnRoiAlign attributes_{};
};

template <typename Device>
class RoiAlignGradOp : public OpKernel {
 public:
  explicit RoiAlignGradOp(OpKernelConstruction* c) : OpKernel(c) {
    OP_REQUIRES_OK(c, ReadAttributes(c, &attributes_));
  }

  void Compute(OpKernelContext* c) override {
    KmrcnnRoiAlign call = attributes_;
    OP_REQUIRES_OK(c, ReadInputs(c, 1, &call));
    TensorShape expected;
    OP_REQUIRES_OK(c, PooledTensorShape(call, &expected));
    const Tensor& pooled_gradient = c->input(0);
    OP_REQUIRES(c, pooled_gradient.shape() == expected,
                absl::InvalidArgumentError(
                    absl::StrCat("pooled_gradient must have shape ", expected.DebugString(),
                                 ", got ", pooled_gradient.shape().DebugString())));
    for (int level = 0; level < call.num_levels; ++level) {
      Tensor* gradient;
      OP_REQUIRES_OK(c, c->allocate_output(level, c->input(1 + level).shape(), &gradient));
      call.gradients[level] = gradient->data();
    }
    if (call.batch == 0 || call.channels == 0) return;
    OP_REQUIRES_OK(c, Device::Backward(c, call, pooled_gradient.data()));
  }

 private:
  KmrcnnRoiAlign attributes_{};
};

struct Cpu {
  static absl::Status Forward(OpKernelContext* c, const KmrcnnRoiAlign& call, void* pooled) {
    return ToStatus(kmrcnn_roi_align_forward_cpu(&call, pooled, &ParallelFor, Pool(c)));
  }

  static absl::Status Backward(OpKernelContext* c, const KmrcnnRoiAlign& call,
                               const void* pooled_gradient) {
    return ToStatus(kmrcnn_roi_align_backward_cpu(&call, pooled_gradient, &ParallelFor, Pool(c),
                                                  Pool(c)->num_threads));
  }

 private:
  using Workers = DeviceBase::CpuWorkerThreads;

  static Workers* Pool(OpKernelContext* c) {
    return const_cast<Workers*>(c->device()->tensorflow_cpu_worker_threads());
  }

  static void ParallelFor(void* pool, int64_t count, int64_t cost_per_item, KmrcnnRange fn,
                          void* argument) {
    Workers* workers = static_cast<Workers*>(pool);
    tensorflow::Shard(workers->num_threads, workers->workers, count, cost_per_item,
                      [=](int64_t begin, int64_t end) { fn(argument, begin, end); });
  }

  static absl::Status ToStatus(int status) {
    if (status == KMRCNN_OK) return absl::OkStatus();
    if (status == KMRCNN_OUT_OF_MEMORY) return absl::ResourceExhaustedError("out of memory");
    return absl::InternalError(absl::StrCat("RoIAlign failed with status ", status));
  }
};

#ifdef KMRCNN_WITH_CUDA
// The stream's handle is all that is needed of the GPU: no CUDA header, no Eigen device.
struct Gpu {
  static absl::Status Forward(OpKernelContext* c, const KmrcnnRoiAlign& call, void* pooled) {
    return ToStatus(kmrcnn_roi_align_forward_cuda(&call, pooled, Stream(c)));
  }

  static absl::Status Backward(OpKernelContext* c, const KmrcnnRoiAlign& call,
                               const void* pooled_gradient) {
    const bool deterministic = tensorflow::OpDeterminismRequired();
    const int64_t bytes = kmrcnn_roi_align_backward_cuda_scratch(&call, deterministic);
    Tensor scratch;
    TF_RETURN_IF_ERROR(c->allocate_temp(tensorflow::DT_INT8, TensorShape({bytes}), &scratch));
    return ToStatus(kmrcnn_roi_align_backward_cuda(&call, pooled_gradient, scratch.data(),
                                                   deterministic, Stream(c)));
  }

 private:
  static void* Stream(OpKernelContext* c) {
    return c->op_device_context()->stream()->platform_specific_handle().stream;
  }

  static absl::Status ToStatus(int error) {
    if (error == 0) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("CUDA: ", kmrcnn_cuda_error_string(error)));
  }
};
#endif

#define KMRCNN_REGISTER(where, Kernels, T)                                                 \
  REGISTER_KERNEL_BUILDER(Name("KmrcnnRoiAlign").Device(where).TypeConstraint<T>("T"),     \
                          RoiAlignOp<Kernels>);                                            \
  REGISTER_KERNEL_BUILDER(Name("KmrcnnRoiAlignGrad").Device(where).TypeConstraint<T>("T"), \
                          RoiAlignGradOp<Kernels>);

KMRCNN_REGISTER(DEVICE_CPU, Cpu, float)
KMRCNN_REGISTER(DEVICE_CPU, Cpu, Eigen::half)
KMRCNN_REGISTER(DEVICE_CPU, Cpu, tensorflow::bfloat16)
#ifdef KMRCNN_WITH_CUDA
KMRCNN_REGISTER(tensorflow::DEVICE_GPU, Gpu, float)
KMRCNN_REGISTER(tensorflow::DEVICE_GPU, Gpu, Eigen::half)
KMRCNN_REGISTER(tensorflow::DEVICE_GPU, Gpu, tensorflow::bfloat16)
#endif

}  // namespace
}  // namespace kmrcnn
