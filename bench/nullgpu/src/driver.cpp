// Stands in for the CUDA driver (libcuda.so.1): what Triton, the loader of Inductor's kernels and torch's allocator of
// expandable segments call. Memory and counters are those of libnullgpu.so.
#include <cuda.h>

#include "device.h"
#include "settings.h"

namespace {

constexpr CUresult DONE = CUDA_SUCCESS;

// Contexts, modules and functions are one thing each that nobody looks into.
template <typename Handle>
CUresult some(Handle *handle) {
    *handle = reinterpret_cast<Handle>(uintptr_t{1});
    return DONE;
}

CUresult started() { return static_cast<CUresult>(nullgpu_start_error()); }

// Loading a kernel needs memory on the device that torch's allocator does not own, so it can fail on its own.
CUresult loaded(CUmodule *module) {
    some(module);
    return static_cast<CUresult>(nullgpu::number("NULLGPU_LOAD_FAIL", 0));
}

CUresult launched() {
    nullgpu_counters[NULLGPU_TRITON]++;
    return DONE;
}

// A piece of memory that expandable segments map into reserved addresses.
struct Piece {
    size_t bytes;
};

Piece *piece(CUmemGenericAllocationHandle handle) { return reinterpret_cast<Piece *>(handle); }

}  // namespace

extern "C" {

// ---- the device and its context

CUresult cuInit(unsigned) { return started(); }

CUresult cuDriverGetVersion(int *version) {
    *version = nullgpu::cuda_version();
    return DONE;
}

CUresult cuDeviceGet(CUdevice *device, int) {
    *device = 0;
    return started();
}

CUresult cuDeviceGetCount(int *count) {
    *count = started() == DONE;
    return started();
}

CUresult cuDeviceGetName(char *name, int size, CUdevice) {
    nullgpu::copy_text(name, size, nullgpu::has_slice() ? nullgpu::slice_name() : nullgpu::card_name());
    return DONE;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice) {
    *value = nullgpu_attribute(attribute);  // both APIs number attributes alike
    return DONE;
}

CUresult cuCtxGetCurrent(CUcontext *context) { return some(context); }
CUresult cuCtxSetCurrent(CUcontext) { return DONE; }
CUresult cuCtxPushCurrent(CUcontext) { return DONE; }
CUresult cuCtxPopCurrent(CUcontext *context) { return some(context); }
CUresult cuCtxSetLimit(CUlimit, size_t) { return DONE; }
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice) { return some(context); }

CUresult cuCtxGetDevice(CUdevice *device) {
    *device = 0;
    return DONE;
}

CUresult cuCtxGetLimit(size_t *value, CUlimit) {
    *value = 0;
    return DONE;
}

CUresult cuDevicePrimaryCtxGetState(CUdevice, unsigned *flags, int *active) {
    *flags = 0;
    *active = 1;
    return DONE;
}

CUresult cuGetErrorString(CUresult error, const char **text) {
    *text = error == CUDA_ERROR_OUT_OF_MEMORY ? "out of memory" : "error of the null GPU";
    return DONE;
}

CUresult cuGetErrorName(CUresult error, const char **name) {
    *name = error == CUDA_ERROR_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_UNKNOWN";
    return DONE;
}

// ---- kernels: loaded and launched, never run

CUresult cuModuleLoad(CUmodule *module, const char *) { return loaded(module); }
CUresult cuModuleLoadData(CUmodule *module, const void *) { return loaded(module); }
CUresult cuModuleLoadDataEx(CUmodule *module, const void *, unsigned, CUjit_option *, void **) { return loaded(module); }
CUresult cuModuleUnload(CUmodule) { return DONE; }
CUresult cuModuleGetFunction(CUfunction *function, CUmodule, const char *) { return some(function); }

CUresult cuLibraryLoadData(CUlibrary *library, const void *, CUjit_option *, void **, unsigned, CUlibraryOption *, void **,
                           unsigned) {
    return some(library);
}
CUresult cuLibraryGetKernel(CUkernel *kernel, CUlibrary, const char *) { return some(kernel); }
CUresult cuKernelGetFunction(CUfunction *function, CUkernel) { return some(function); }

CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction) {
    switch (attribute) {  // no spilled registers, so that Inductor is content with a kernel as it is
        case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = 64; break;
        case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; break;
        default: *value = 0;
    }
    return DONE;
}

CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return DONE; }
CUresult cuFuncSetCacheConfig(CUfunction, CUfunc_cache) { return DONE; }

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction, int, size_t) {
    *blocks = 2;
    return DONE;
}

CUresult cuOccupancyMaxActiveClusters(int *clusters, CUfunction, const CUlaunchConfig *) {
    *clusters = 2;
    return DONE;
}

CUresult cuLaunchKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void **,
                        void **) {
    return launched();
}
CUresult cuLaunchKernelEx(const CUlaunchConfig *, CUfunction, void **, void **) { return launched(); }
CUresult cuLaunchCooperativeKernel(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                                   CUstream, void **) {
    return launched();
}

CUresult cuPointerGetAttribute(void *value, CUpointer_attribute attribute, CUdeviceptr address) {
    if (attribute == CU_POINTER_ATTRIBUTE_DEVICE_POINTER)
        *static_cast<CUdeviceptr *>(value) = address;
    else
        *static_cast<int *>(value) = 0;
    return DONE;
}

// ---- expandable segments: addresses are reserved once, memory is mapped into them piece by piece

CUresult cuMemGetAllocationGranularity(size_t *bytes, const CUmemAllocationProp *, CUmemAllocationGranularity_flags) {
    *bytes = 2 << 20;
    return DONE;
}

CUresult cuMemAddressReserve(CUdeviceptr *address, size_t bytes, size_t, CUdeviceptr, unsigned long long) {
    void *reserved = nullgpu_reserve(bytes);
    if (!reserved) return CUDA_ERROR_OUT_OF_MEMORY;
    *address = reinterpret_cast<CUdeviceptr>(reserved);
    nullgpu_claim(*address, bytes);
    return DONE;
}

CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes) {
    nullgpu_unclaim(address);
    nullgpu_release(reinterpret_cast<void *>(address), bytes);
    return DONE;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes, const CUmemAllocationProp *, unsigned long long) {
    if (nullgpu_take(bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
    *handle = reinterpret_cast<CUmemGenericAllocationHandle>(new Piece{bytes});
    return DONE;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
    nullgpu_give(piece(handle)->bytes);
    delete piece(handle);
    return DONE;
}

CUresult cuMemMap(CUdeviceptr, size_t, size_t, CUmemGenericAllocationHandle, unsigned long long) { return DONE; }
CUresult cuMemUnmap(CUdeviceptr, size_t) { return DONE; }
CUresult cuMemSetAccess(CUdeviceptr, size_t, const CUmemAccessDesc *, size_t) { return DONE; }
}

// Looked up when torch starts, never called by a GPT on one GPU: sharing between processes, several GPUs, parts of a GPU,
// linking at run time, tensor maps of later cards. Whoever does call one is told that it is not supported.
#define UNSUPPORTED(symbol)                                         \
    extern "C" CUresult nullgpu_##symbol() __asm__(#symbol);        \
    extern "C" CUresult nullgpu_##symbol() { return CUDA_ERROR_NOT_SUPPORTED; }

UNSUPPORTED(cuCtxFromGreenCtx)
UNSUPPORTED(cuDeviceGetDevResource)
UNSUPPORTED(cuDevResourceGenerateDesc)
UNSUPPORTED(cuDevSmResourceSplitByCount)
UNSUPPORTED(cuGreenCtxCreate)
UNSUPPORTED(cuGreenCtxDestroy)
UNSUPPORTED(cuGreenCtxStreamCreate)
UNSUPPORTED(cuLinkAddData_v2)
UNSUPPORTED(cuLinkComplete)
UNSUPPORTED(cuLinkCreate_v2)
UNSUPPORTED(cuLinkDestroy)
UNSUPPORTED(cuMemExportToShareableHandle)
UNSUPPORTED(cuMemGetAddressRange_v2)
UNSUPPORTED(cuMemGetAllocationPropertiesFromHandle)
UNSUPPORTED(cuMemImportFromShareableHandle)
UNSUPPORTED(cuMemRetainAllocationHandle)
UNSUPPORTED(cuMemsetD32Async)
UNSUPPORTED(cuMulticastAddDevice)
UNSUPPORTED(cuMulticastBindMem)
UNSUPPORTED(cuMulticastCreate)
UNSUPPORTED(cuMulticastUnbind)
UNSUPPORTED(cuStreamWriteValue32)
UNSUPPORTED(cuTensorMapEncodeTiled)
