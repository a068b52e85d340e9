// Stands in for NVML (libnvidia-ml.so.1), as an idle A100 answers it; also what fails on real machines, when asked to.
// There is no nvml.h in torch's wheels, so the structures are written down here as the bindings (pynvml) lay them out.
#include <algorithm>
#include <cstdint>

#include "settings.h"

namespace {

// nvmlReturn_t
constexpr int DONE = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
              DRIVER_NOT_LOADED = 9, TIMEOUT = 10;

struct Memory {  // of nvmlDeviceGetMemoryInfo: the driver's own reserve counts as used
    unsigned long long total, free, used;
};
struct Memory2 {  // of nvmlDeviceGetMemoryInfo_v2: it stands apart
    unsigned version;
    unsigned long long total, reserved, free, used;
};
struct Process1 {
    unsigned pid;
    unsigned long long used;
};
struct Process {
    unsigned pid;
    unsigned long long used;
    unsigned gpu_instance, compute_instance;
};

// Handles: the card, and its slice in MIG mode.
void *const card = reinterpret_cast<void *>(uintptr_t{1});
void *const slice = reinterpret_cast<void *>(uintptr_t{2});

unsigned processes() { return static_cast<unsigned>(nullgpu::number("NULLGPU_PROCESSES", 0)); }
unsigned pid_of(unsigned process) { return 4'194'000 + process; }  // below pid_max, above what a machine gives out
constexpr double OF_A_PROCESS = 2 * nullgpu::GIB;

unsigned long long total(void *device) {
    return static_cast<unsigned long long>(device == slice ? nullgpu::slice_bytes()
                                                           : nullgpu::number("NULLGPU_NVML_GIB", 40.0) * nullgpu::GIB);
}

unsigned long long reserved() {
    return static_cast<unsigned long long>(nullgpu::number("NULLGPU_RESERVED_MIB", 571) * nullgpu::MIB);
}

unsigned long long used() {
    const double others = nullgpu::number("NULLGPU_USED_MIB", 0) * nullgpu::MIB + processes() * OF_A_PROCESS;
    return static_cast<unsigned long long>(others);
}

// The two calls of whoever asks for processes: first with no room, to hear how many there are, then with enough.
template <typename Kind>
int list_processes(unsigned *count, Kind *into) {
    const unsigned room = *count;
    *count = processes();
    if (room < *count) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < *count; i++) {
        into[i] = Kind{};
        into[i].pid = pid_of(i);
        into[i].used = static_cast<unsigned long long>(OF_A_PROCESS);
    }
    return DONE;
}

template <typename Value>
int answer(Value *to, Value value) {
    *to = value;
    return DONE;
}

int say(char *to, unsigned size, const std::string &text) {
    nullgpu::copy_text(to, size, text);
    return DONE;
}

}  // namespace

extern "C" {

// ---- the library and the driver

int nvmlInitWithFlags(unsigned) { return static_cast<int>(nullgpu::number("NULLGPU_NVML_FAIL", 0)); }
int nvmlInit_v2() { return nvmlInitWithFlags(0); }
int nvmlInit() { return nvmlInitWithFlags(0); }
int nvmlShutdown() { return DONE; }
int nvmlSystemGetDriverVersion(char *to, unsigned size) { return say(to, size, nullgpu::driver_version()); }
int nvmlSystemGetCudaDriverVersion(int *version) { return answer(version, nullgpu::cuda_version()); }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { return answer(version, nullgpu::cuda_version()); }

const char *nvmlErrorString(int error) {
    switch (error) {
        case DONE: return "Success";
        case INVALID_ARGUMENT: return "Invalid Argument";
        case NOT_SUPPORTED: return "Not Supported";
        case 4: return "Insufficient Permissions";
        case NOT_FOUND: return "Not Found";
        case INSUFFICIENT_SIZE: return "Insufficient Size";
        case DRIVER_NOT_LOADED: return "Driver Not Loaded";
        case TIMEOUT: return "Timeout";
        case 15: return "GPU is lost";
        case 18: return "Driver/library version mismatch";
        default: return "Unknown Error";
    }
}

// ---- devices

int nvmlDeviceGetCount_v2(unsigned *count) { return answer(count, 1u); }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    return index ? INVALID_ARGUMENT : answer(device, card);
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    return answer(device, strncmp(uuid, "MIG-", 4) == 0 ? slice : card);
}
int nvmlDeviceGetHandleByPciBusId_v2(const char *, void **device) { return answer(device, card); }
int nvmlDeviceGetMigMode(void *, unsigned *current, unsigned *pending) {
    *pending = nullgpu::in_mig_mode();
    return answer(current, *pending);
}
int nvmlDeviceGetMaxMigDeviceCount(void *, unsigned *count) { return answer(count, nullgpu::in_mig_mode() ? 7u : 0u); }
int nvmlDeviceGetMigDeviceHandleByIndex(void *, unsigned index, void **device) {
    return index == 0 && nullgpu::has_slice() ? answer(device, slice) : NOT_FOUND;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *, void **device) { return answer(device, card); }
int nvmlDeviceGetName(void *device, char *to, unsigned size) {
    return say(to, size, device == slice ? nullgpu::slice_name() : nullgpu::card_name());
}
int nvmlDeviceGetUUID(void *device, char *to, unsigned size) {
    return say(to, size, std::string(device == slice ? "MIG" : "GPU") + "-00000000-0000-0000-0000-000000000001");
}
int nvmlDeviceGetCudaComputeCapability(void *, int *major, int *minor) {
    *minor = 0;
    return answer(major, 8);
}
int nvmlDeviceGetComputeMode(void *, int *mode) {
    return answer(mode, static_cast<int>(nullgpu::number("NULLGPU_COMPUTE_MODE", 0)));
}

// ---- what is going on

int nvmlDeviceGetMemoryInfo(void *device, Memory *memory) {
    const unsigned long long all = total(device), taken = std::min(all, used() + reserved());
    return answer(memory, Memory{all, all - taken, taken});
}
int nvmlDeviceGetMemoryInfo_v2(void *device, Memory2 *memory) {
    const unsigned long long all = total(device), kept = reserved(), taken = std::min(all - kept, used());
    return answer(memory, Memory2{memory->version, all, kept, all - kept - taken, taken});
}
int nvmlDeviceGetComputeRunningProcesses(void *, unsigned *count, Process1 *into) { return list_processes(count, into); }
int nvmlDeviceGetComputeRunningProcesses_v2(void *, unsigned *count, Process *into) { return list_processes(count, into); }
int nvmlDeviceGetComputeRunningProcesses_v3(void *, unsigned *count, Process *into) { return list_processes(count, into); }
int nvmlDeviceGetUtilizationRates(void *, unsigned *rates) {
    rates[1] = 0;
    return answer(rates, 0u);
}
int nvmlDeviceGetTemperature(void *, int, unsigned *degrees) { return answer(degrees, 35u); }
int nvmlDeviceGetPowerUsage(void *, unsigned *milliwatts) { return answer(milliwatts, 55'000u); }
int nvmlDeviceGetClockInfo(void *, int, unsigned *megahertz) { return answer(megahertz, 1410u); }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *, unsigned long long *reasons) { return answer(reasons, 1ull); }
int nvmlDeviceGetTotalEccErrors(void *, int, int, unsigned long long *count) { return answer(count, 0ull); }
int nvmlDeviceGetRemappedRows(void *, unsigned *correctable, unsigned *uncorrectable, unsigned *pending, unsigned *failed) {
    *correctable = *uncorrectable = *pending = *failed = 0;
    return DONE;
}
int nvmlEventSetCreate(void **events) { return answer(events, card); }
int nvmlDeviceRegisterEvents(void *, unsigned long long, void *) { return DONE; }
int nvmlEventSetWait_v2(void *, void *, unsigned) { return TIMEOUT; }  // no Xid ever happens

// ---- asked by torch's allocator before it makes its first expandable segment

int nvmlDeviceGetGpuFabricInfoV(void *, void *) { return static_cast<int>(nullgpu::number("NULLGPU_FABRIC", 0)); }
int nvmlDeviceGetNvLinkRemoteDeviceType(void *, unsigned, int *) { return NOT_SUPPORTED; }
int nvmlDeviceGetNvLinkRemotePciInfo_v2(void *, unsigned, void *) { return NOT_SUPPORTED; }
}
