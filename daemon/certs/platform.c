/* SPDX-License-Identifier: MIT */
/*
 * Asking the platform. One reading is one connection to the helper: the requests in one write
 * (SNP_PLATFORM_STATUS, and once in cocod's life the chip's id, which never changes), a fixed-size
 * record for each, close. Whatever goes wrong, silence for 180 ms included, ends the reading with
 * "not known". When to read is not decided here.
 */
#include "certs/platform.h"
#include "base/container_of.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/timer.h"
#include "observe/counters.h"
#include "sev_msg.h"
#include "status.h"
#include "why.h"
#include <errno.h>
#include <event2/event_struct.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define ID_STATUS  1u
#define ID_CHIP_ID 2u

struct platform {
    struct event_base *base;
    struct platform_options options;
    uint8_t chip_id[COCO_SNP_CHIP_ID_SIZE];
    size_t chip_id_size; /* 0: not asked yet */

    /* The reading that is under way. */
    int fd; /* -1: none */
    platform_told *told;
    void *data;
    struct event readable;
    struct timer give_up;
    size_t wanted, received; /* bytes */
    uint8_t in[2 * COCO_SEV_REPLY_SIZE];
    bool failed_here;
};

static void drop_reading(struct platform *platform)
{
    if (platform->fd < 0)
        return;
    event_del(&platform->readable);
    timer_disarm(&platform->give_up);
    close(platform->fd);
    platform->fd = -1;
}

static void tell(struct platform *platform, const struct platform_state *state, const char *why)
{
    platform_told *told = platform->told;

    drop_reading(platform);
    platform->told = NULL;
    if (state)
        metrics.platform_reads++;
    else
        metrics.platform_failures++;
    told(platform->data, state, why);
}

static void __attribute__((format(printf, 2, 3)))
fail(struct platform *platform, const char *fmt, ...)
{
    char what[160];
    struct why why;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    why_write(&why,
              "the platform's TCB is not known: %s; look at `systemctl status cocod-sev.socket "
              "cocod-sev.service`",
              what);
    tell(platform, NULL, why.text);
}

/* Negative: the reading has failed. */
static int take_reply(struct platform *platform, const uint8_t *in, uint16_t op, uint32_t id,
                      struct coco_sev_reply *reply)
{
    if (coco_sev_reply_decode(in, reply) < 0 || reply->op != op || reply->id != id) {
        fail(platform, "the helper at %s answered with something else", platform->options.path);
        return -EBADMSG;
    }
    if (reply->status != COCO_OK) {
        fail(platform, "the helper's answer is %s%s%s", coco_status_name(reply->status),
             reply->fw_error ? ", the firmware's " : "",
             reply->fw_error ? coco_sev_fw_error_text(reply->fw_error) : "");
        return -EIO;
    }
    return 0;
}

static void take_replies(struct platform *platform)
{
    struct platform_state state = {.vlek_en = false};
    const uint8_t *in = platform->in;
    struct coco_sev_reply reply;

    if (platform->wanted > COCO_SEV_REPLY_SIZE) {
        if (take_reply(platform, in, COCO_SEV_CHIP_ID, ID_CHIP_ID, &reply) < 0)
            return;
        memcpy(platform->chip_id, reply.chip_id, sizeof(reply.chip_id));
        platform->chip_id_size = reply.chip_id_size;
        in += COCO_SEV_REPLY_SIZE;
    }
    if (take_reply(platform, in, COCO_SEV_STATUS, ID_STATUS, &reply) < 0)
        return;
    enum coco_snp_product product = coco_snp_product_of_cpu(reply.cpu_family, reply.cpu_model);
    if (!product) {
        char names[COCO_SNP_NAMES_SIZE];
        struct why why;
        coco_snp_product_names(names);
        why_write(
            &why,
            "this CPU (family %02Xh, model %02Xh) is not one that cocod knows (it knows %s): "
            "guests here fetch their certificates themselves, until a newer cocod serves them",
            reply.cpu_family, reply.cpu_model, names);
        tell(platform, NULL, why.text);
        return;
    }
    if (coco_snp_tcb_decode(product, reply.reported_tcb, &state.reported) < 0) {
        fail(platform, "the TCB %016llx that it reports is not laid out as %s's",
             (unsigned long long)reply.reported_tcb, coco_snp_product_name(product));
        return;
    }
    /* The firmware may give 64 bytes for a chip whose id has 8: zeros behind them. */
    size_t chip_size = coco_snp_product_chip_id_size(product);
    if (platform->chip_id_size < chip_size) {
        fail(platform, "the chip's id is %zu bytes long, not %zu", platform->chip_id_size,
             chip_size);
        return;
    }
    state.product = product;
    memcpy(state.chip_id, platform->chip_id, chip_size);
    state.vlek_en = reply.flags & COCO_SEV_VLEK_EN;
    state.mask_chip_key = reply.flags & COCO_SEV_MASK_CHIP_KEY;
    tell(platform, &state, NULL);
}

static void on_readable(evutil_socket_t fd, short what, void *data)
{
    struct platform *platform = data;
    ssize_t n = sys.recv(fd, platform->in + platform->received,
                         platform->wanted - platform->received, MSG_DONTWAIT);

    (void)what;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        fail(platform, "the helper at %s closed the connection%s%s", platform->options.path,
             n < 0 ? ": " : " without an answer", n < 0 ? strerror(errno) : "");
        return;
    }
    platform->received += (size_t)n;
    if (platform->received == platform->wanted)
        take_replies(platform);
}

static void on_give_up(struct timer *timer)
{
    struct platform *platform = container_of(timer, struct platform, give_up);

    fail(platform, "the helper at %s did not answer within %u ms", platform->options.path,
         PLATFORM_TIMEOUT_US / 1000u);
}

static int send_requests(struct platform *platform)
{
    uint8_t out[2 * COCO_SEV_REQUEST_SIZE];
    struct iovec iov = {.iov_base = out};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    const struct coco_sev_request status = {.op = COCO_SEV_STATUS, .id = ID_STATUS};
    const struct coco_sev_request chip_id = {.op = COCO_SEV_CHIP_ID, .id = ID_CHIP_ID};

    platform->wanted = platform->received = 0;
    if (platform->chip_id_size == 0) {
        (void)coco_sev_request_encode(&chip_id, out);
        iov.iov_len += COCO_SEV_REQUEST_SIZE;
        platform->wanted += COCO_SEV_REPLY_SIZE;
    }
    (void)coco_sev_request_encode(&status, out + iov.iov_len);
    iov.iov_len += COCO_SEV_REQUEST_SIZE;
    platform->wanted += COCO_SEV_REPLY_SIZE;
    ssize_t n = sys.sendmsg(platform->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    return n == (ssize_t)iov.iov_len ? 0 : n < 0 ? -errno : -EIO;
}

static int connect_helper(struct platform *platform)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = sys.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", platform->options.path);
    if (sys.connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        event_assign(&platform->readable, platform->base, fd, EV_READ | EV_PERSIST, on_readable,
                     platform) < 0 ||
        event_add(&platform->readable, NULL) < 0) {
        int r = errno ? -errno : -ENOMEM;
        close(fd);
        return r;
    }
    platform->fd = fd;
    return 0;
}

static bool is_passing(int r)
{
    return r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -ENOBUFS;
}

static void read_sev(struct platform *platform)
{
    int r = connect_helper(platform);

    if (r == 0) {
        timer_arm(&platform->give_up, sys.now_us() + PLATFORM_TIMEOUT_US);
        r = send_requests(platform);
    }
    platform->failed_here = r < 0 && is_passing(r);
    if (r < 0)
        fail(platform, "the helper at %s cannot be asked: %s", platform->options.path,
             strerror(-r));
}

void platform_read(struct platform *platform, platform_told *told, void *data)
{
    drop_reading(platform);
    platform->told = told;
    platform->data = data;
    if (platform->options.kind == PLATFORM_FIXED)
        tell(platform, &platform->options.fixed, NULL);
    else
        read_sev(platform);
}

bool platform_failed_here(const struct platform *platform)
{
    return platform->failed_here;
}

struct platform *platform_new(struct event_base *base, struct timers *timers,
                              const struct platform_options *options)
{
    struct platform *platform = sys.alloc(sizeof(*platform));

    if (!platform)
        return NULL;
    platform->base = base;
    platform->options = *options;
    platform->fd = -1;
    if (timer_init(&platform->give_up, timers, on_give_up) < 0) {
        sys.free(platform);
        return NULL;
    }
    return platform;
}

void platform_free(struct platform *platform)
{
    if (!platform)
        return;
    drop_reading(platform);
    timer_done(&platform->give_up);
    sys.free(platform);
}

void platform_set_options(struct platform *platform, const struct platform_options *options)
{
    drop_reading(platform);
    platform->options = *options;
    platform->chip_id_size = 0;
}

enum platform_kind platform_kind(const struct platform *platform)
{
    return platform ? platform->options.kind : PLATFORM_NONE;
}
