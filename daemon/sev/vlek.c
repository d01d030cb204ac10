/* SPDX-License-Identifier: MIT */
/*
 * A hashstick (432 bytes) is a VLEK wrapped for one chip at one reported TCB:
 *
 *     0x000 iv[12]  0x00c zeros[4]  0x010 wrapped key[384]  0x190 TCB_VERSION u64  0x198 zeros[8]
 *     0x1a0 authentication tag[16]
 *
 * The firmware refuses one of another TCB with BAD_SVN and one of another chip with
 * BAD_MEASUREMENT. The TCB is compared here first, so that the refusal names both. SNP must be
 * initialised: otherwise older kernels load into a firmware that they shut down again, and report
 * success. /dev/sev is opened for writing last, and the firmware's word afterwards is what counts.
 *
 * `cococtl certs rotate --exec` runs this and excludes VMMs: the lock is inherited, and held until
 * this ends.
 */
#include "sev/vlek.h"
#include "bytes.h"
#include "sev/device.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define SNP_VLEK_LOAD 12u

#define LOAD_SIZE 16u
#define NAME_SIZE 4096u

struct host {
    enum coco_snp_product product;
    struct sev_platform platform;
    struct coco_snp_tcb reported;
    char tcb_text[COCO_SNP_TCB_TEXT_SIZE];
};

/* A failed command, in words. */
static int say_command(int e, uint32_t fw_error, const char *command, struct why *why)
{
    if (e == -EIO)
        return why_set(why, e, "%s failed: firmware status 0x%x, %s", command, fw_error,
                       coco_sev_fw_error_text(fw_error));
    return why_set(why, e, "%s failed: %s", command, strerror(-e));
}

/* The TCB that a hashstick was made for. */
static int parse(const uint8_t *hashstick, size_t size, enum coco_snp_product product,
                 struct coco_snp_tcb *ret, struct why *why)
{
    struct coco_reader r = coco_reader_of(hashstick, size);

    if (size != VLEK_HASHSTICK_SIZE)
        return why_set(why, -EBADMSG, "a hashstick has %u bytes, this has %zu", VLEK_HASHSTICK_SIZE,
                       size);
    (void)coco_read_bytes(&r, 12);
    coco_read_zeros(&r, 4);
    (void)coco_read_bytes(&r, 384);
    uint64_t version = coco_read_u64(&r);
    coco_read_zeros(&r, 8);
    (void)coco_read_bytes(&r, 16);
    if (!coco_reader_done(&r))
        return why_set(why, -EBADMSG,
                       "a reserved byte is not zero: this is no hashstick that is known here");
    if (coco_snp_tcb_decode(product, version, ret) < 0)
        return why_set(why, -EBADMSG, "its TCB 0x%016llx has not the layout of this CPU's",
                       (unsigned long long)version);
    return 0;
}

static int read_host(int fd, struct host *h, struct why *why)
{
    uint32_t fw_error = COCO_SEV_FW_NOT_CALLED, family = 0, model = 0;

    if (!sev_calls.cpu(&family, &model))
        return why_set(why, -ENODEV, "this CPU is not one of AMD's");
    h->product = coco_snp_product_of_cpu(family, model);
    if (!coco_snp_product_name(h->product))
        return why_set(why, -ENODEV, "CPU family 0x%x, model 0x%x is not known here", family,
                       model);
    int r = sev_device_status(fd, &h->platform, &fw_error);
    if (r < 0)
        return say_command(r, fw_error, "SNP_PLATFORM_STATUS", why);
    if (!(h->platform.flags & COCO_SEV_SNP_INIT))
        return why_set(
            why, -ENODEV,
            "SNP is not initialised, so the firmware would not keep a VLEK: load kvm_amd");
    if (coco_snp_tcb_decode(h->product, h->platform.reported_tcb, &h->reported) < 0)
        return why_set(why, -EBADMSG, "the reported TCB 0x%016llx has not the layout of this CPU's",
                       (unsigned long long)h->platform.reported_tcb);
    coco_snp_tcb_format(h->product, &h->reported, h->tcb_text);
    return 0;
}

/* In a folder: the name of the hashstick for this chip and TCB. */
static int find(const char *path, int fd, const struct host *h, char name[NAME_SIZE],
                struct why *why)
{
    uint8_t id[COCO_SNP_CHIP_ID_SIZE];
    char hex[2 * COCO_SNP_CHIP_ID_SIZE + 1];
    size_t size = coco_snp_product_chip_id_size(h->product);
    uint32_t fw_error = COCO_SEV_FW_NOT_CALLED;
    struct stat st;
    int n;

    if (stat(path, &st) < 0)
        return why_set(why, -errno, "%s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode)) {
        int r = sev_device_chip_id(fd, id, size, &fw_error);
        if (r < 0)
            return say_command(r, fw_error, "SEV_GET_ID2", why);
        for (size_t i = 0; i < size; i++)
            (void)snprintf(hex + 2 * i, 3, "%02x", id[i]);
        n = snprintf(name, NAME_SIZE, "%s/%s/%s.hashstick", path, hex, h->tcb_text);
    } else {
        n = snprintf(name, NAME_SIZE, "%s", path);
    }
    return n < (int)NAME_SIZE ? 0 : why_set(why, -ENAMETOOLONG, "%s: too long", path);
}

/* The file's bytes, for this host as it is now. */
static int take_hashstick(const char *name, const struct host *h,
                          uint8_t out[VLEK_HASHSTICK_SIZE + 1], struct why *why)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    ssize_t n = fd < 0 ? -1 : read(fd, out, VLEK_HASHSTICK_SIZE + 1);
    int e = n < 0 ? -errno : 0;
    char text[COCO_SNP_TCB_TEXT_SIZE];
    struct coco_snp_tcb tcb;
    struct why reason;

    if (fd >= 0)
        (void)close(fd);
    if (e < 0)
        return why_set(why, e, "%s: %s", name, strerror(-e));
    int r = parse(out, (size_t)n, h->product, &tcb, &reason);
    if (r < 0)
        return why_set(why, r, "%s: %s", name, reason.text);
    if (coco_snp_tcb_compare(&tcb, &h->reported) == COCO_SNP_TCB_EQUAL)
        return 0;
    coco_snp_tcb_format(h->product, &tcb, text);
    return why_set(why, -ESTALE,
                   "%s is for TCB %s, and this host reports %s: get a hashstick for that one", name,
                   text, h->tcb_text);
}

static int issue_load(const uint8_t *hashstick, struct why *why)
{
    uint8_t load[LOAD_SIZE] __attribute__((aligned(8)));
    struct coco_writer w = coco_writer_of(load, sizeof(load));
    uint32_t fw_error = COCO_SEV_FW_NOT_CALLED;

    coco_write_u32(&w, LOAD_SIZE);
    coco_write_u32(&w, 0); /* version of the wrapping, and three reserved bytes */
    coco_write_u64(&w, (uintptr_t)hashstick);
    int fd = sev_device_open(O_RDWR);
    if (fd < 0)
        return why_set(why, fd, SEV_DEVICE_PATH ", for writing: %s", strerror(-fd));
    int r = sev_device_issue(fd, SNP_VLEK_LOAD, load, &fw_error);
    (void)sev_calls.close(fd);
    return r < 0 ? say_command(r, fw_error, "SNP_VLEK_LOAD", why) : 0;
}

static int load_with(int fd, const char *path, struct why *why)
{
    uint8_t hashstick[VLEK_HASHSTICK_SIZE + 1] __attribute__((aligned(8)));
    struct sev_platform after;
    uint32_t fw_error = COCO_SEV_FW_NOT_CALLED;
    char name[NAME_SIZE];
    struct host h = {.product = COCO_SNP_UNKNOWN_PRODUCT};
    int r = read_host(fd, &h, why);

    if (r == 0)
        r = find(path, fd, &h, name, why);
    if (r == 0)
        r = take_hashstick(name, &h, hashstick, why);
    if (r == 0)
        r = issue_load(hashstick, why);
    if (r < 0)
        return r;
    r = sev_device_status(fd, &after, &fw_error);
    if (r < 0)
        return say_command(-EIO, fw_error, "SNP_VLEK_LOAD succeeded, then SNP_PLATFORM_STATUS",
                           why);
    if (!(after.flags & COCO_SEV_VLEK_EN) || after.reported_tcb != h.platform.reported_tcb)
        return why_set(why, -EIO, "SNP_VLEK_LOAD succeeded, but %s",
                       after.flags & COCO_SEV_VLEK_EN ? "meanwhile the reported TCB has changed"
                                                      : "the firmware says that no VLEK is loaded");
    (void)why_set(why, 0, "loaded %s for TCB %s", name, h.tcb_text);
    return 0;
}

int vlek_load(const char *path, struct why *why)
{
    int fd = sev_device_open(O_RDONLY);

    if (fd < 0)
        return why_set(why, fd, SEV_DEVICE_PATH ": %s", strerror(-fd));
    int r = load_with(fd, path, why);
    (void)sev_calls.close(fd);
    return r;
}
