// The inner loops for CPUs with AVX2, FMA and F16C; compiled with these enabled.
#define KMRCNN_LOOPS kInnerLoopsAvx2
#define KMRCNN_VECTOR_BYTES 32
#define KMRCNN_VECTORS_AT_ONCE 8
#include "inner_loops.inc"
