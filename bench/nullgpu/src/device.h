// The state of the device that is not there: its memory, the addresses that belong to it, and what was asked of it.
//
// It lives in libnullgpu.so, which is preloaded; the driver's stand-in, a library of its own, reaches it by these names.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

extern "C" {

// What was asked of the device since the process began. Read from Python, by ctypes, in this order: see counters.py.
enum nullgpu_counter {
    NULLGPU_KERNELS,        // launches of kernels that torch was compiled with
    NULLGPU_TRITON,         // launches of kernels that were loaded through the driver: Triton's
    NULLGPU_GEMMS,          // matrix products that cuBLAS was asked for
    NULLGPU_STREAM_SYNCS,   // waits of the host for a stream: what reading a number costs
    NULLGPU_DEVICE_SYNCS,   // waits for the whole device
    NULLGPU_EVENT_SYNCS,    // waits for an event
    NULLGPU_BLOCKING,       // copies that return when they are done
    NULLGPU_PAGEABLE,       // copies between the device and memory that is not pinned: they cannot overlap with work
    NULLGPU_COUNTERS
};
extern std::atomic<long> nullgpu_counters[NULLGPU_COUNTERS];

int nullgpu_take(size_t bytes);  // reserves memory of the device: 0, or 2 (both APIs' "out of memory")
void nullgpu_give(size_t bytes);
size_t nullgpu_used();
void nullgpu_claim(uintptr_t address, size_t bytes);  // addresses that now mean the device
size_t nullgpu_unclaim(uintptr_t address);            // their size; 0 for addresses that never did
int nullgpu_attribute(int attribute);                 // the same numbers in the runtime's API and the driver's
int nullgpu_start_error();                            // why the driver cannot start here, 0 when it can
}

// Addresses without memory behind them: only the device may use them, as the host finds out by SIGSEGV.
void *nullgpu_reserve(size_t bytes);
void nullgpu_release(void *address, size_t bytes);

// The sort of memory that a host pointer is in.
enum class Place { device, pinned, pageable };
Place nullgpu_place(const void *address);
void nullgpu_pin(uintptr_t address, size_t bytes);
size_t nullgpu_unpin(uintptr_t address);
