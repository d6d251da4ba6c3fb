// The inner loops for any CPU: 16-byte vectors (SSE2, NEON).
#define KMRCNN_LOOPS kInnerLoopsBase
#define KMRCNN_VECTOR_BYTES 16
#define KMRCNN_VECTORS_AT_ONCE 4
#include "inner_loops.inc"
