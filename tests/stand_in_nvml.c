/* A stand-in for libnvidia-ml.so.1, from the signatures and structures in NVIDIA's nvml.h.
   GPU 0 is older than Volta and draws nothing; GPU 1 runs four processes.
   NVML_STAND_IN=no-driver: it cannot be initialised; hang: it never answers about processes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9 };

typedef struct { int index; } *device_t;
typedef struct {
    char bus_id_legacy[16];
    unsigned int domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} pci_info_t;
typedef struct {
    unsigned int pid;
    unsigned long long used_bytes;
    unsigned int gpu_instance, compute_instance;
} process_t;

static struct { int index; } gpus[2] = {{0}, {1}};
static int initialised = 0;

static int is_mode(const char *mode) {
    const char *asked = getenv("NVML_STAND_IN");
    return asked && !strcmp(asked, mode);
}

static int list(const process_t *all, unsigned int count, unsigned int *room, process_t *into) {
    if (is_mode("hang")) for (;;) sleep(1000);
    unsigned int given = *room;
    *room = count;
    if (!count) return SUCCESS;
    if (!into || given < count) return INSUFFICIENT_SIZE;
    memcpy(into, all, count * sizeof *all);
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned int flags) {
    if (is_mode("no-driver")) return DRIVER_NOT_LOADED;
    initialised++;
    return SUCCESS;
}
int nvmlShutdown(void) { initialised--; return SUCCESS; }
int stand_in_initialised(void) { return initialised; }
const char *nvmlErrorString(int error) { return "Driver Not Loaded"; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, device_t *handle) {
    *handle = (device_t)&gpus[index];
    return SUCCESS;
}
int nvmlDeviceGetName(device_t handle, char *name, unsigned int length) {
    strncpy(name, handle->index ? "NVIDIA H100 80GB HBM3" : "Quadro P2000", length);
    return SUCCESS;
}
int nvmlDeviceGetPciInfo_v3(device_t handle, pci_info_t *info) {
    memset(info, 0, sizeof *info);
    info->domain = handle->index;
    info->bus = handle->index ? 0xC5 : 1;
    info->device = 3;
    return SUCCESS;
}
int nvmlDeviceGetComputeRunningProcesses_v3(device_t handle, unsigned int *room, process_t *into) {
    static const process_t all[] = {
        {70, 5368709120ULL, ~0u, ~0u}, {71, 1000, ~0u, ~0u}, {90, ~0ULL, ~0u, ~0u}};
    return list(all, handle->index ? 3 : 0, room, into);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(device_t handle, unsigned int *room, process_t *into) {
    static const process_t all[] = {{71, 1000, ~0u, ~0u}, {91, 300, ~0u, ~0u}};
    return handle->index ? list(all, 2, room, into) : NOT_SUPPORTED;
}
int nvmlDeviceGetTotalEnergyConsumption(device_t handle, unsigned long long *millijoules) {
    *millijoules = 987654321012ULL;
    return handle->index ? SUCCESS : NOT_SUPPORTED;
}
