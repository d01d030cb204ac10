/* SPDX-License-Identifier: MIT */
/*
 * The system calls of docs/vmm-guide.md as a seccomp filter of the calling thread: whatever else it
 * calls ends the process. mini-vmm --seccomp puts it on its vCPU thread and on the one that drives
 * quotes, so that the list is tested and not only written.
 */
#pragma once

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* 0, or a negative errno: -EOPNOTSUPP on machines other than x86-64. */
static inline int mini_seccomp(void)
{
#if defined(__x86_64__)
    static const uint16_t allowed[] = {
        /* libcoco, exits and driving */
        SYS_poll, SYS_read, SYS_write, SYS_epoll_ctl, SYS_socket, SYS_connect, SYS_getpeername,
        SYS_getsockopt, SYS_sendto, SYS_recvmsg, SYS_recvfrom, SYS_fcntl, SYS_fstat, SYS_newfstatat,
        SYS_close, SYS_futex, SYS_clock_gettime,
        /* its default allocator */
        SYS_brk, SYS_mmap, SYS_munmap, SYS_madvise,
        /* the example's own: KVM's ioctls, whose requests are looked at below; a halted guest, the
           model's guest and firmware; a thread's end */
        SYS_ioctl, SYS_clock_nanosleep, SYS_mprotect, SYS_getrandom, SYS_getpid, SYS_rt_sigprocmask,
        SYS_exit, SYS_exit_group};
    enum {
        N = sizeof(allowed) / sizeof(allowed[0])
    };
    struct sock_filter code[N + 10] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, N + 1),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    for (unsigned i = 0; i < N; i++)
        code[3 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i],
                                                   (uint8_t)(N - i), 0);
    const struct sock_filter end[7] = {
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        /* ioctl: KVM's alone, by the type in the request's second byte. */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff00),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, KVMIO << 8, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    memcpy(code + 3 + N, end, sizeof(end));
    const struct sock_fprog program = {.len = N + 10, .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        return -errno;
    return 0;
#else
    return -EOPNOTSUPP;
#endif
}
