/* SPDX-License-Identifier: MIT */
/*
 * /dev/sev: what cocod-sev and cocod-vlek-load ask the firmware. The definitions are cocod's own,
 * since the installed kernel headers may be older than the commands.
 */
#pragma once

#include "sev_msg.h"

#define SEV_DEVICE_PATH "/dev/sev"

/* What is asked of the system; only tests assign to it. */
struct sev_calls {
    int (*open)(const char *path, int flags);
    int (*ioctl)(int fd, unsigned long request, void *argument);
    int (*close)(int fd);
    /* CPUID's family and model with the extended parts added; false: no CPU of AMD's. */
    bool (*cpu)(uint32_t *ret_family, uint32_t *ret_model);
};

extern struct sev_calls sev_calls;

/* A descriptor, or negative errno. */
int sev_device_open(int flags);

/* One command: `data` as the kernel wants it. 0 or ioctl's errno, negative; then `ret_fw_error` is
 * the firmware's status, or COCO_SEV_FW_NOT_CALLED. */
int sev_device_issue(int fd, uint32_t command, void *data, uint32_t *ret_fw_error);

struct sev_platform {
    uint32_t flags; /* COCO_SEV_… */
    uint64_t current_tcb, reported_tcb;
};

/* SNP_PLATFORM_STATUS; as sev_device_issue. */
int sev_device_status(int fd, struct sev_platform *ret, uint32_t *ret_fw_error);
/* SEV_GET_ID2: `size` bytes of the chip's id, at most 64. -EBADMSG where the firmware gave fewer,
 * or zeros; else as sev_device_issue. */
int sev_device_chip_id(int fd, uint8_t *out, size_t size, uint32_t *ret_fw_error);
