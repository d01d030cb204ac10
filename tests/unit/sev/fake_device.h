/* SPDX-License-Identifier: MIT */
/*
 * /dev/sev, played by the test: it takes the argument of the ioctl apart byte by byte, as the
 * kernel's documentation lays it out, so the programs' own definitions are not believed. It
 * remembers what was opened how, and every command that came.
 */
#pragma once

#include "sev/device.h"
#include "support.h"
#include <fcntl.h>

static struct fake_device {
    bool amd;
    uint32_t family, model;
    int open_errno; /* 0: opens */
    int command_errno;
    uint32_t fw_error;
    bool no_fw_error; /* fails without touching the error */
    int fail_after;   /* commands that succeed before `command_errno` counts */

    uint8_t status[32];
    uint8_t id[64];
    uint32_t id_length;
    const uint8_t *expected_hashstick; /* 432 bytes */
    bool load_is_lost;                 /* VLEK_LOAD succeeds and does nothing */
    bool load_moves_tcb;

    int flags[16];
    unsigned n_open, n_close;
    uint32_t commands[64];
    unsigned n_commands;
} dev;

#define FAKE_FD 4711

static int fake_open(const char *path, int flags)
{
    ck_assert_str_eq(path, "/dev/sev");
    ck_assert(flags & O_CLOEXEC);
    if (dev.open_errno) {
        errno = dev.open_errno;
        return -1;
    }
    dev.flags[dev.n_open++ % 16] = flags & O_ACCMODE;
    return FAKE_FD;
}

static int fake_close(int fd)
{
    ck_assert_int_eq(fd, FAKE_FD);
    ck_assert_uint_lt(dev.n_close, dev.n_open);
    dev.n_close++;
    return 0;
}

static bool fake_cpu(uint32_t *ret_family, uint32_t *ret_model)
{
    *ret_family = dev.amd ? dev.family : 0;
    *ret_model = dev.amd ? dev.model : 0;
    return dev.amd;
}

static uint64_t fake_le(const uint8_t *p, size_t n)
{
    uint64_t v = 0;

    while (n-- > 0)
        v = v << 8 | p[n];
    return v;
}

static void fake_get_id2(uint8_t *data)
{
    uint8_t *out;
    uintptr_t address = (uintptr_t)fake_le(data, 8);

    memcpy(&out, &address, sizeof(out));
    ck_assert_uint_eq(fake_le(data + 8, 4), 64);
    memcpy(out, dev.id, 64);
    memcpy(data + 8, &dev.id_length, 4);
}

static void fake_vlek_load(const uint8_t *data)
{
    const uint8_t *hashstick;
    uintptr_t address = (uintptr_t)fake_le(data + 8, 8);

    ck_assert_int_eq(dev.flags[(dev.n_open - 1) % 16], O_RDWR);
    ck_assert_uint_eq(fake_le(data, 4), 16);
    ck_assert_uint_eq(fake_le(data + 4, 4), 0);
    memcpy(&hashstick, &address, sizeof(hashstick));
    ck_assert_mem_eq(hashstick, dev.expected_hashstick, 432);
    if (!dev.load_is_lost)
        dev.status[8] |= 4;
    if (dev.load_moves_tcb)
        dev.status[24]++;
}

static int fake_ioctl(int fd, unsigned long request, void *argument)
{
    uint8_t *issue = argument, *data;
    uintptr_t address = (uintptr_t)fake_le(issue + 4, 8);
    uint32_t command = (uint32_t)fake_le(issue, 4);

    ck_assert_int_eq(fd, FAKE_FD);
    ck_assert_uint_eq(request, 0xc0105300);
    memcpy(&data, &address, sizeof(data));
    dev.commands[dev.n_commands++ % 64] = command;
    if (dev.command_errno && dev.fail_after-- <= 0) {
        if (!dev.no_fw_error)
            memcpy(issue + 12, &dev.fw_error, 4);
        errno = dev.command_errno;
        return -1;
    }
    if (command == 9)
        memcpy(data, dev.status, 32);
    else if (command == 8)
        fake_get_id2(data);
    else if (command == 12)
        fake_vlek_load(data);
    else
        ck_abort_msg("command %u must never be issued", command);
    return 0;
}

/* A Milan, initialised, current TCB 4.0.24.219, reported 4.0.22.213, no VLEK. */
static void fake_device_setup(void)
{
    static const uint8_t status[32] = {1, 55, 1, 1, 8, 0, 0,  0,   0, 0, 0, 0, 3, 0, 0,  0,
                                       4, 0,  0, 0, 0, 0, 24, 219, 4, 0, 0, 0, 0, 0, 22, 213};

    memset(&dev, 0, sizeof(dev));
    dev.amd = true;
    dev.family = 0x19;
    dev.model = 0x01;
    dev.id_length = 64;
    memcpy(dev.status, status, sizeof(status));
    for (unsigned i = 0; i < 64; i++)
        dev.id[i] = (uint8_t)(i + 1);
    sev_calls = (struct sev_calls){fake_open, fake_ioctl, fake_close, fake_cpu};
}

static void fake_device_teardown(void)
{
    ck_assert_uint_eq(dev.n_open, dev.n_close);
}
