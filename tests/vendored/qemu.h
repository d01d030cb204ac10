/* SPDX-License-Identifier: MIT */
/* As much of QEMU's interface as docs/vmm-guide.md uses. */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct QEMUTimer QEMUTimer;
typedef void QEMUTimerCB(void *opaque);
typedef void IOHandler(void *opaque);
typedef enum {
    QEMU_CLOCK_REALTIME
} QEMUClockType;

int64_t qemu_clock_get_ms(QEMUClockType type);
QEMUTimer *timer_new_ms(QEMUClockType type, QEMUTimerCB *cb, void *opaque);
void timer_mod(QEMUTimer *timer, int64_t at_ms);
void timer_del(QEMUTimer *timer);
void qemu_set_fd_handler(int fd, IOHandler *fd_read, IOHandler *fd_write, void *opaque);

#define qatomic_set(at, value) __atomic_store_n(at, value, __ATOMIC_RELAXED)
