/* SPDX-License-Identifier: MIT */
/*
 * The kernel's interface is one ioctl, SEV_ISSUE_CMD = _IOWR('S', 0, 16 bytes), with the packed
 * struct {u32 command; u64 address of the data; u32 error}. All of it is written and read with
 * cursors, so nothing depends on how a compiler lays out a struct.
 *
 * Here are only the two commands that change nothing.
 */
#include "sev/device.h"
#include "bytes.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#define SEV_ISSUE_CMD       0xc0105300ul
#define SEV_GET_ID2         8u
#define SNP_PLATFORM_STATUS 9u

#define ISSUE_SIZE  16u
#define STATUS_SIZE 32u
#define ID2_SIZE    12u

_Static_assert(_IOC(_IOC_READ | _IOC_WRITE, 'S', 0, ISSUE_SIZE) == SEV_ISSUE_CMD,
               "the number of SEV_ISSUE_CMD");

/* --- the system ------------------------------------------------------------------------------ */

static int real_open(const char *path, int flags)
{
    return open(path, flags);
}

static int real_ioctl(int fd, unsigned long request, void *argument)
{
    return ioctl(fd, request, argument);
}

static bool real_cpu(uint32_t *ret_family, uint32_t *ret_model)
{
#if defined(__x86_64__) || defined(__i386__)
    unsigned a, b, c, d;

    /* "AuthenticAMD" */
    if (!__get_cpuid(0, &a, &b, &c, &d) || b != signature_AMD_ebx || c != signature_AMD_ecx ||
        d != signature_AMD_edx)
        return false;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return false;
    uint32_t family = (a >> 8) & 0xf, model = (a >> 4) & 0xf;
    if (family == 0xf) {
        family += (a >> 20) & 0xff;
        model |= ((a >> 16) & 0xf) << 4;
    }
    *ret_family = family;
    *ret_model = model;
    return true;
#else
    (void)ret_family;
    (void)ret_model;
    return false;
#endif
}

struct sev_calls sev_calls = {real_open, real_ioctl, close, real_cpu};

/* --- commands -------------------------------------------------------------------------------- */

int sev_device_open(int flags)
{
    int fd = sev_calls.open(SEV_DEVICE_PATH, flags | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

int sev_device_issue(int fd, uint32_t command, void *data, uint32_t *ret_fw_error)
{
    uint8_t issue[ISSUE_SIZE] __attribute__((aligned(8)));
    struct coco_writer w = coco_writer_of(issue, sizeof(issue));
    struct coco_reader r = coco_reader_of(issue, sizeof(issue));

    coco_write_u32(&w, command);
    coco_write_u64(&w, (uintptr_t)data);
    coco_write_u32(&w, COCO_SEV_FW_NOT_CALLED);
    if (sev_calls.ioctl(fd, SEV_ISSUE_CMD, issue) >= 0)
        return 0;
    int e = -errno;
    (void)coco_read_bytes(&r, 12);
    *ret_fw_error = coco_read_u32(&r);
    return e;
}

int sev_device_status(int fd, struct sev_platform *ret, uint32_t *ret_fw_error)
{
    uint8_t status[STATUS_SIZE] __attribute__((aligned(8))) = {0};
    struct coco_reader r = coco_reader_of(status, sizeof(status));
    int e = sev_device_issue(fd, SNP_PLATFORM_STATUS, status, ret_fw_error);

    if (e < 0)
        return e;
    (void)coco_read_u16(&r); /* version of the firmware's interface */
    bool init = coco_read_u8(&r) != 0;
    (void)coco_read_u8(&r);  /* the RMP is initialised */
    (void)coco_read_u32(&r); /* build */
    /* The first three bits of the firmware's word are those of the record. */
    uint32_t flags =
        coco_read_u32(&r) & (COCO_SEV_MASK_CHIP_ID | COCO_SEV_MASK_CHIP_KEY | COCO_SEV_VLEK_EN);
    (void)coco_read_u32(&r); /* guests */
    ret->flags = flags | (init ? COCO_SEV_SNP_INIT : 0);
    ret->current_tcb = coco_read_u64(&r);
    ret->reported_tcb = coco_read_u64(&r);
    return 0;
}

int sev_device_chip_id(int fd, uint8_t *out, size_t size, uint32_t *ret_fw_error)
{
    uint8_t id[COCO_SNP_CHIP_ID_SIZE] __attribute__((aligned(8))) = {0};
    uint8_t id2[ID2_SIZE] __attribute__((aligned(8)));
    struct coco_writer w = coco_writer_of(id2, sizeof(id2));
    struct coco_reader r = coco_reader_of(id2, sizeof(id2));
    uint8_t any = 0;

    coco_write_u64(&w, (uintptr_t)id);
    coco_write_u32(&w, sizeof(id));
    int e = sev_device_issue(fd, SEV_GET_ID2, id2, ret_fw_error);
    if (e < 0)
        return e;
    (void)coco_read_u64(&r);
    uint32_t length = coco_read_u32(&r);
    for (size_t i = 0; i < size && i < sizeof(id); i++)
        any |= id[i];
    if (length > sizeof(id) || size > length || any == 0)
        return -EBADMSG;
    memcpy(out, id, size);
    return 0;
}
