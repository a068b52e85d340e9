// Stands in for cuBLAS and cuBLASLt, as far as a GPT's products call them: it counts products and computes none.
//
// cuBLAS's headers want parts of CUDA that no wheel brings, so what is needed of them is written down here: statuses and
// modes are ints, and the layouts, preferences and handles are objects that torch only hands back.
#include <cstddef>
#include <cstdint>

#include "device.h"
#include "settings.h"

namespace {

// cublasStatus_t
constexpr int DONE = 0, ALLOC_FAILED = 3;

constexpr size_t OBJECT = 512;     // bytes: more than any of these objects has
constexpr size_t HEURISTIC = 128;  // bytes of one cublasLtMatmulHeuristicResult_t

int create(void **object) {
    *object = calloc(1, OBJECT);
    return *object ? DONE : ALLOC_FAILED;
}

int destroy(void *object) {
    free(object);
    return DONE;
}

int counted() {
    nullgpu_counters[NULLGPU_GEMMS]++;
    return DONE;
}

}  // namespace

extern "C" {

int cublasCreate_v2(void **handle) { return nullgpu::is_set("NULLGPU_BLAS_FAIL") ? ALLOC_FAILED : create(handle); }
int cublasDestroy_v2(void *handle) { return destroy(handle); }
int cublasSetMathMode(void *, int) { return DONE; }
int cublasSetPointerMode_v2(void *, int) { return DONE; }
int cublasSetStream_v2(void *, void *) { return DONE; }
int cublasSetWorkspace_v2(void *, void *, size_t) { return DONE; }
int cublasSetSmCountTarget(void *, int) { return DONE; }

int cublasGetMathMode(void *, int *mode) {
    *mode = 0;  // CUBLAS_DEFAULT_MATH
    return DONE;
}

int cublasGetPointerMode_v2(void *, int *mode) {
    *mode = 0;  // CUBLAS_POINTER_MODE_HOST
    return DONE;
}

size_t cublasLtGetVersion() { return 130101; }
int cublasLtMatmulDescCreate(void **description, int, int) { return create(description); }
int cublasLtMatmulDescDestroy(void *description) { return destroy(description); }
int cublasLtMatmulDescSetAttribute(void *, int, const void *, size_t) { return DONE; }
int cublasLtMatmulPreferenceCreate(void **preference) { return create(preference); }
int cublasLtMatmulPreferenceDestroy(void *preference) { return destroy(preference); }
int cublasLtMatmulPreferenceSetAttribute(void *, int, const void *, size_t) { return DONE; }
int cublasLtMatrixLayoutCreate(void **layout, int, uint64_t, uint64_t, int64_t) { return create(layout); }
int cublasLtMatrixLayoutDestroy(void *layout) { return destroy(layout); }
int cublasLtMatrixLayoutSetAttribute(void *, int, const void *, size_t) { return DONE; }

// One algorithm is always found, and it needs no workspace of its own.
int cublasLtMatmulAlgoGetHeuristic(void *, void *, void *, void *, void *, void *, void *, int, void *results, int *found) {
    memset(results, 0, HEURISTIC);
    *found = 1;
    return DONE;
}

// The products. C's calling convention lets a function leave its arguments alone.
int cublasLtMatmul() { return counted(); }
int cublasGemmEx() { return counted(); }
int cublasGemmStridedBatchedEx() { return counted(); }
int cublasSgemm_v2() { return counted(); }
int cublasSgemmEx() { return counted(); }
int cublasSgemmStridedBatched() { return counted(); }
int cublasSgemv_v2() { return counted(); }
int cublasSdot_v2() { return counted(); }
int cublasDotEx() { return counted(); }
}
