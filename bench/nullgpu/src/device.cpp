// The memory of the null GPU is address space: it has a size, so that it runs out as a real card's does, and no pages.
#include "device.h"

#include <cuda_runtime_api.h>
#include <sys/mman.h>

#include <map>
#include <mutex>

#include "settings.h"

std::atomic<long> nullgpu_counters[NULLGPU_COUNTERS];

namespace {

std::mutex guard;
size_t used = 0;
std::map<uintptr_t, size_t> of_device, pinned;  // first address -> bytes

size_t pages(size_t bytes) { return (bytes + 4095) & ~size_t{4095}; }

bool holds(const std::map<uintptr_t, size_t> &ranges, uintptr_t address) {
    auto range = ranges.upper_bound(address);
    if (range == ranges.begin()) return false;
    --range;
    return address < range->first + range->second;
}

size_t drop(std::map<uintptr_t, size_t> &ranges, uintptr_t address) {
    const auto range = ranges.find(address);
    if (range == ranges.end()) return 0;
    const size_t bytes = range->second;
    ranges.erase(range);
    return bytes;
}

}  // namespace

int nullgpu_take(size_t bytes) {
    const std::lock_guard<std::mutex> lock(guard);
    if (used + bytes > nullgpu::cuda_bytes()) return cudaErrorMemoryAllocation;
    used += bytes;
    return cudaSuccess;
}

void nullgpu_give(size_t bytes) {
    const std::lock_guard<std::mutex> lock(guard);
    used -= bytes;
}

size_t nullgpu_used() {
    const std::lock_guard<std::mutex> lock(guard);
    return used;
}

void *nullgpu_reserve(size_t bytes) {
    void *address = mmap(nullptr, pages(bytes), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return address == MAP_FAILED ? nullptr : address;
}

void nullgpu_release(void *address, size_t bytes) { munmap(address, pages(bytes)); }

void nullgpu_claim(uintptr_t address, size_t bytes) {
    const std::lock_guard<std::mutex> lock(guard);
    of_device[address] = bytes;
}

size_t nullgpu_unclaim(uintptr_t address) {
    const std::lock_guard<std::mutex> lock(guard);
    return drop(of_device, address);
}

void nullgpu_pin(uintptr_t address, size_t bytes) {
    const std::lock_guard<std::mutex> lock(guard);
    pinned[address] = bytes;
}

size_t nullgpu_unpin(uintptr_t address) {
    const std::lock_guard<std::mutex> lock(guard);
    return drop(pinned, address);
}

Place nullgpu_place(const void *address) {
    const std::lock_guard<std::mutex> lock(guard);
    const auto number = reinterpret_cast<uintptr_t>(address);
    if (holds(of_device, number)) return Place::device;
    return holds(pinned, number) ? Place::pinned : Place::pageable;
}

// An A100's (sm_80), by which torch, Inductor and Triton choose kernels and their shapes. Others read as 1: "can do it".
int nullgpu_attribute(int attribute) {
    switch (attribute) {
        case cudaDevAttrComputeCapabilityMajor: return 8;
        case cudaDevAttrComputeCapabilityMinor: return 0;
        case cudaDevAttrMultiProcessorCount: return nullgpu::has_slice() ? 14 * nullgpu::slice_parts() : 108;
        case cudaDevAttrWarpSize: return 32;
        case cudaDevAttrMaxThreadsPerBlock: return 1024;
        case cudaDevAttrMaxThreadsPerMultiProcessor: return 2048;
        case cudaDevAttrMaxBlocksPerMultiprocessor: return 32;
        case cudaDevAttrMaxBlockDimX:
        case cudaDevAttrMaxBlockDimY: return 1024;
        case cudaDevAttrMaxBlockDimZ: return 64;
        case cudaDevAttrMaxGridDimX: return 2147483647;
        case cudaDevAttrMaxGridDimY:
        case cudaDevAttrMaxGridDimZ: return 65535;
        case cudaDevAttrMaxRegistersPerBlock:
        case cudaDevAttrMaxRegistersPerMultiprocessor: return 65536;
        case cudaDevAttrMaxSharedMemoryPerBlock: return 48 << 10;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: return 163 << 10;
        case cudaDevAttrMaxSharedMemoryPerMultiprocessor: return 164 << 10;
        case cudaDevAttrL2CacheSize: return 40 << 20;
        case cudaDevAttrGlobalMemoryBusWidth: return 5120;
        case cudaDevAttrClockRate: return 1410000;
        case cudaDevAttrMemoryClockRate: return 1215000;
        case cudaDevAttrTccDriver:
        case cudaDevAttrIntegrated: return 0;
        case cudaDevAttrComputeMode: return static_cast<int>(nullgpu::number("NULLGPU_COMPUTE_MODE", 0));
        default: return 1;
    }
}

int nullgpu_start_error() {
    if (const int error = static_cast<int>(nullgpu::number("NULLGPU_CUDA_ERROR", 0))) return error;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    const bool hidden = visible && (!*visible || *visible == '-');
    const bool no_slice = nullgpu::in_mig_mode() && !nullgpu::has_slice();
    return hidden || no_slice ? cudaErrorNoDevice : cudaSuccess;
}
