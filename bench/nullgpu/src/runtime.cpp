// Stands in for the CUDA runtime, as far as torch calls it. Kernels do nothing, memory is address space, and waiting ends
// at once. What registers kernels (__cudaRegisterFatBinary and the like) stays the real library's: it needs no driver.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <string>

#include "device.h"
#include "settings.h"

namespace {

// Every answer of the runtime: an error of the start, where there is one, in place of success. The driver itself starts
// whatever its version; it is the runtime that asks for one at least as new as its own.
cudaError_t started() {
    if (const int error = nullgpu_start_error()) return static_cast<cudaError_t>(error);
    return nullgpu::cuda_version() < CUDART_VERSION / 1000 * 1000 ? cudaErrorInsufficientDriver : cudaSuccess;
}

thread_local cudaError_t last_error = cudaSuccess;

cudaError_t failed(cudaError_t error) {
    last_error = error;
    return error;
}

// Streams and events are numbers that nobody looks behind.
template <typename Handle>
cudaError_t new_handle(Handle *handle) {
    static std::atomic<uintptr_t> next{0x1000};
    *handle = reinterpret_cast<Handle>(next++);
    return cudaSuccess;
}

cudaError_t launched(nullgpu_counter which = NULLGPU_KERNELS) {
    nullgpu_counters[which]++;
    return cudaSuccess;
}

void *host_pages(size_t bytes) {
    void *address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return address == MAP_FAILED ? nullptr : address;
}

// What the host reads from the device: words of 8 bytes that hold the integer 1. So a count is one, an index is in
// range, a condition is true, and a floating-point number is finite (the smallest above zero).
void fill(void *to, size_t bytes) {
    auto *bytes_of_it = static_cast<unsigned char *>(to);
    memset(to, 0, bytes);
    for (size_t place = 0; place < bytes; place += 8) bytes_of_it[place] = 1;
}

void copied(void *to, const void *from, size_t bytes, bool waits) {
    const Place target = nullgpu_place(to), source = nullgpu_place(from);
    if (waits) nullgpu_counters[NULLGPU_BLOCKING]++;
    if ((target == Place::pageable) != (source == Place::pageable)) nullgpu_counters[NULLGPU_PAGEABLE]++;
    if (target == Place::device) return;
    if (source == Place::device)
        fill(to, bytes);
    else
        memcpy(to, from, bytes);
}

}  // namespace

extern "C" {

// ---- the device

cudaError_t cudaGetDeviceCount(int *count) {
    const cudaError_t error = started();
    *count = error == cudaSuccess;
    return error == cudaSuccess ? error : failed(error);
}

cudaError_t cudaGetDevice(int *device) {
    *device = 0;
    return started();
}

cudaError_t cudaSetDevice(int) { return started(); }
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int) { return new_handle(pool); }
cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) { return cudaSuccess; }

cudaError_t cudaDeviceCanAccessPeer(int *can, int, int) {
    *can = 0;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *id, int size, int) {
    nullgpu::copy_text(id, size, "0000:07:00.0");
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int) {
    *value = nullgpu_attribute(attribute);
    return started();
}

#undef cudaGetDeviceProperties
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int) {
    memset(properties, 0, sizeof *properties);
    nullgpu::copy_text(properties->name, sizeof properties->name,
                       nullgpu::has_slice() ? nullgpu::slice_name() : nullgpu::card_name());
    properties->totalGlobalMem = nullgpu::cuda_bytes();
    properties->major = nullgpu_attribute(cudaDevAttrComputeCapabilityMajor);
    properties->minor = nullgpu_attribute(cudaDevAttrComputeCapabilityMinor);
    properties->multiProcessorCount = nullgpu_attribute(cudaDevAttrMultiProcessorCount);
    properties->warpSize = nullgpu_attribute(cudaDevAttrWarpSize);
    properties->maxThreadsPerBlock = nullgpu_attribute(cudaDevAttrMaxThreadsPerBlock);
    properties->maxThreadsPerMultiProcessor = nullgpu_attribute(cudaDevAttrMaxThreadsPerMultiProcessor);
    properties->maxBlocksPerMultiProcessor = nullgpu_attribute(cudaDevAttrMaxBlocksPerMultiprocessor);
    properties->maxThreadsDim[0] = properties->maxThreadsDim[1] = 1024;
    properties->maxThreadsDim[2] = 64;
    properties->maxGridSize[0] = nullgpu_attribute(cudaDevAttrMaxGridDimX);
    properties->maxGridSize[1] = properties->maxGridSize[2] = nullgpu_attribute(cudaDevAttrMaxGridDimY);
    properties->regsPerBlock = properties->regsPerMultiprocessor = nullgpu_attribute(cudaDevAttrMaxRegistersPerBlock);
    properties->sharedMemPerBlock = nullgpu_attribute(cudaDevAttrMaxSharedMemoryPerBlock);
    properties->sharedMemPerBlockOptin = nullgpu_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
    properties->sharedMemPerMultiprocessor = nullgpu_attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor);
    properties->l2CacheSize = nullgpu_attribute(cudaDevAttrL2CacheSize);
    properties->memoryBusWidth = nullgpu_attribute(cudaDevAttrGlobalMemoryBusWidth);
    properties->textureAlignment = 512;
    properties->pciBusID = 7;
    properties->concurrentKernels = properties->managedMemory = 1;
    return started();
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = nullgpu::cuda_version();
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

// ---- errors: their texts are part of what nanosolo tells apart

cudaError_t cudaPeekAtLastError() { return last_error; }

cudaError_t cudaGetLastError() {
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

const char *cudaGetErrorString(cudaError_t error) {
    switch (static_cast<int>(error)) {
        case 0: return "no error";
        case 2: return "out of memory";
        case 3: return "initialization error";
        case 35: return "CUDA driver version is insufficient for CUDA runtime version";
        case 46: return "CUDA-capable device(s) is/are busy or unavailable";
        case 100: return "no CUDA-capable device is detected";
        case 101: return "invalid device ordinal";
        case 304: return "OS call failed or operation not supported on this OS";
        case 802: return "system not yet initialized";
        case 803: return "system has unsupported display driver / cuda driver combination";
        case 804: return "forward compatibility was attempted on non supported HW";
        case 999: return "unknown error";
        default: return "unrecognized error code";
    }
}

const char *cudaGetErrorName(cudaError_t error) {
    switch (static_cast<int>(error)) {
        case 0: return "cudaSuccess";
        case 2: return "cudaErrorMemoryAllocation";
        case 3: return "cudaErrorInitializationError";
        case 35: return "cudaErrorInsufficientDriver";
        case 46: return "cudaErrorDevicesUnavailable";
        case 100: return "cudaErrorNoDevice";
        case 101: return "cudaErrorInvalidDevice";
        case 304: return "cudaErrorOperatingSystem";
        case 802: return "cudaErrorSystemNotReady";
        case 803: return "cudaErrorSystemDriverMismatch";
        case 804: return "cudaErrorCompatNotSupportedOnDevice";
        default: return "cudaErrorUnknown";
    }
}

// ---- memory of the device

cudaError_t cudaMalloc(void **address, size_t bytes) {
    *address = nullptr;
    if (const cudaError_t error = started()) return failed(error);
    if (nullgpu_take(bytes)) return failed(cudaErrorMemoryAllocation);
    *address = nullgpu_reserve(bytes);
    if (!*address) {
        nullgpu_give(bytes);
        return failed(cudaErrorMemoryAllocation);
    }
    nullgpu_claim(reinterpret_cast<uintptr_t>(*address), bytes);
    return cudaSuccess;
}

cudaError_t cudaFree(void *address) {
    if (const size_t bytes = nullgpu_unclaim(reinterpret_cast<uintptr_t>(address))) {
        nullgpu_give(bytes);
        nullgpu_release(address, bytes);
    }
    return cudaSuccess;
}

cudaError_t cudaMallocAsync(void **address, size_t bytes, cudaStream_t) { return cudaMalloc(address, bytes); }
cudaError_t cudaFreeAsync(void *address, cudaStream_t) { return cudaFree(address); }

cudaError_t cudaMemGetInfo(size_t *free, size_t *total) {
    *total = nullgpu::cuda_bytes();
    *free = *total - nullgpu_used();
    return started();
}

// ---- memory of the host

cudaError_t cudaHostAlloc(void **address, size_t bytes, unsigned) {
    *address = nullgpu::is_set("NULLGPU_PINNED_FAIL") ? nullptr : host_pages(bytes);
    if (!*address) return failed(cudaErrorMemoryAllocation);
    nullgpu_pin(reinterpret_cast<uintptr_t>(*address), bytes);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *address) {
    if (const size_t bytes = nullgpu_unpin(reinterpret_cast<uintptr_t>(address))) munmap(address, bytes);
    return cudaSuccess;
}

cudaError_t cudaHostRegister(void *address, size_t bytes, unsigned) {
    nullgpu_pin(reinterpret_cast<uintptr_t>(address), bytes);
    return cudaSuccess;
}

cudaError_t cudaHostUnregister(void *address) {
    nullgpu_unpin(reinterpret_cast<uintptr_t>(address));
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *address) {
    memset(attributes, 0, sizeof *attributes);
    const Place place = nullgpu_place(address);
    attributes->type = place == Place::device   ? cudaMemoryTypeDevice
                       : place == Place::pinned ? cudaMemoryTypeHost
                                                : cudaMemoryTypeUnregistered;
    if (place != Place::pageable) attributes->devicePointer = const_cast<void *>(address);
    if (place == Place::pinned) attributes->hostPointer = const_cast<void *>(address);
    return cudaSuccess;
}

// ---- copies

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind) {
    copied(to, from, bytes, true);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t) {
    copied(to, from, bytes, false);
    return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind, cudaStream_t) {
    for (size_t row = 0; row < height; row++)
        copied(static_cast<char *>(to) + row * to_pitch, static_cast<const char *>(from) + row * from_pitch, width, false);
    return cudaSuccess;
}

cudaError_t cudaMemcpyPeerAsync(void *, int, const void *, int, size_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaMemcpyToSymbol(const void *, const void *, size_t, size_t, cudaMemcpyKind) { return cudaSuccess; }
cudaError_t cudaMemset(void *, int, size_t) { return launched(); }
cudaError_t cudaMemsetAsync(void *, int, size_t, cudaStream_t) { return launched(); }

cudaError_t cudaGetSymbolAddress(void **address, const void *) {
    static char variables[1 << 16];  // whatever it is that a kernel would look at
    *address = variables;
    return cudaSuccess;
}

// ---- kernels

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, const void *) {
    memset(attributes, 0, sizeof *attributes);
    attributes->maxThreadsPerBlock = 1024;
    attributes->numRegs = 32;
    attributes->binaryVersion = attributes->ptxVersion = 80;
    attributes->maxDynamicSharedSizeBytes = nullgpu_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *, int, size_t, unsigned) {
    *blocks = 2;
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *, int, size_t) {
    *blocks = 2;
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *, cudaFuncAttribute, int) { return cudaSuccess; }
cudaError_t cudaKernelSetAttributeForDevice(cudaKernel_t, cudaFuncAttribute, int, int) { return cudaSuccess; }
cudaError_t cudaLaunchKernel(const void *, dim3, dim3, void **, size_t, cudaStream_t) { return launched(); }
cudaError_t cudaLaunchCooperativeKernel(const void *, dim3, dim3, void **, size_t, cudaStream_t) { return launched(); }
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *, const void *, void **) { return launched(); }

// What nvcc makes of kernel<<<...>>>() since CUDA 12: a kernel's handle, then a launch by it.
cudaError_t __cudaLaunchKernel(cudaKernel_t, dim3, dim3, void **, size_t, cudaStream_t) { return launched(); }
char __cudaInitModule(void **) { return 0; }

cudaError_t __cudaGetKernel(cudaKernel_t *kernel, const void *function) {
    *kernel = static_cast<cudaKernel_t>(const_cast<void *>(function));
    return cudaSuccess;
}

// ---- streams and events: everything is done as soon as it is asked for; waiting is counted

cudaError_t cudaStreamCreate(cudaStream_t *stream) { return new_handle(stream); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) { return new_handle(stream); }
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned, int) { return new_handle(stream); }
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamQuery(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return launched(NULLGPU_STREAM_SYNCS); }
cudaError_t cudaDeviceSynchronize() { return launched(NULLGPU_DEVICE_SYNCS); }
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode *) { return cudaSuccess; }

cudaError_t cudaStreamGetPriority(cudaStream_t, int *priority) {
    *priority = 0;
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus *status) {
    *status = cudaStreamCaptureStatusNone;
    return cudaSuccess;
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t, cudaStreamCaptureStatus *status, unsigned long long *id, cudaGraph_t *,
                                     const cudaGraphNode_t **, const cudaGraphEdgeData **, size_t *) {
    *status = cudaStreamCaptureStatusNone;
    if (id) *id = 0;
    return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t, cudaHostFn_t function, void *data) {
    function(data);
    return cudaSuccess;
}

cudaError_t cudaStreamAddCallback(cudaStream_t stream, cudaStreamCallback_t function, void *data, unsigned) {
    function(stream, cudaSuccess, data);
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event) { return new_handle(event); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) { return new_handle(event); }
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventQuery(cudaEvent_t) { return cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaEventRecordWithFlags(cudaEvent_t, cudaStream_t, unsigned) { return cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return launched(NULLGPU_EVENT_SYNCS); }

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t, cudaEvent_t) {
    *milliseconds = 1.0f;  // above zero: somebody may divide by it
    return cudaSuccess;
}

// ---- the way to the driver's functions: to those of driver.cpp, and to no others

cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult *result) {
    static void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    *function = driver ? dlsym(driver, name) : nullptr;
    if (driver && !*function) *function = dlsym(driver, (std::string(name) + "_v2").c_str());
    if (result) *result = *function ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return *function ? cudaSuccess : failed(cudaErrorSymbolNotFound);
}
}
