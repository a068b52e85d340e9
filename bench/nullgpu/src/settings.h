// What kind of machine the null GPU pretends to be: the environment variables that all stand-ins read.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace nullgpu {

constexpr double GIB = 1024.0 * 1024.0 * 1024.0;
constexpr double MIB = 1024.0 * 1024.0;

inline std::string text(const char *variable, const char *otherwise) {
    const char *value = getenv(variable);
    return value && *value ? value : otherwise;
}

inline double number(const char *variable, double otherwise) {
    const char *value = getenv(variable);
    return value && *value ? atof(value) : otherwise;
}

inline bool is_set(const char *variable) { return number(variable, 0) != 0; }

// The version of the NVIDIA driver.
inline std::string driver_version() { return text("NULLGPU_DRIVER", "580.95.05"); }

// The newest CUDA that this driver knows, as 1000 x major + 10 x minor (NVIDIA's table of driver and CUDA releases).
inline int cuda_version() {
    static const struct { int driver, cuda; } releases[] = {
        {580, 13000}, {575, 12090}, {570, 12080}, {565, 12070}, {560, 12060}, {555, 12050}, {550, 12040},
        {545, 12030}, {535, 12020}, {530, 12010}, {525, 12000}, {515, 11070}, {470, 11040}, {450, 11000},
    };
    const int driver = atoi(driver_version().c_str());
    for (const auto &release : releases)
        if (driver >= release.driver) return release.cuda;
    return 10020;
}

// The MIG profile of the one slice that is visible, such as 3g.20gb; "none" is a card in MIG mode without slices.
inline std::string mig_profile() { return text("NULLGPU_MIG", ""); }
inline bool in_mig_mode() { return !mig_profile().empty(); }
inline bool has_slice() { return in_mig_mode() && mig_profile() != "none"; }

// The slice's share of the card: 3g.20gb has 3 x 14 multiprocessors and a little less than 20 GiB.
inline int slice_parts() { return atoi(mig_profile().c_str()); }
inline double slice_bytes() {
    const std::string profile = mig_profile();
    const size_t dot = profile.find('.');
    return dot == std::string::npos ? 0 : atof(profile.c_str() + dot + 1) * 0.98 * GIB;
}

inline std::string card_name() { return text("NULLGPU_NAME", "NVIDIA A100-SXM4-40GB"); }
inline std::string slice_name() { return card_name() + " MIG " + mig_profile(); }

// Memory of the card that CUDA can use, in bytes. An A100 of 40 GB leaves 39.39 to 39.56 GiB, by driver.
inline size_t cuda_bytes() {
    return static_cast<size_t>(has_slice() ? slice_bytes() : number("NULLGPU_GIB", 39.39) * GIB);
}

inline void copy_text(char *to, size_t size, const std::string &value) { snprintf(to, size, "%s", value.c_str()); }

}  // namespace nullgpu
