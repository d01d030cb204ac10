/* SPDX-License-Identifier: MIT */
/*
 * What is asked, and who asks. PROTOCOL.md "The platform helper".
 *
 * The firmware is asked while everybody waits: there is one firmware. /dev/sev is opened read-only
 * for each question: so this process holds nothing that could be used for more, and the driver's
 * module can be unloaded.
 *
 * Always holds: at most HELPER_CONNECTIONS connections, each with at most one unfinished question.
 * A newcomer takes the place of who was silent for longest, so nobody can keep cocod out. A reply
 * that the socket does not take ends the connection, as a malformed question does. Nothing
 * allocates.
 */
#include "sev/helper.h"
#include "sev/device.h"
#include "status.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- one question ---------------------------------------------------------------------------- */

/* What the contract calls an errno of open() or ioctl() on /dev/sev. */
static uint32_t status_of(int e)
{
    switch (-e) {
    case ENOENT:
    case ENXIO:
    case ENODEV:
        return COCO_ENODEV;
    case EACCES:
    case EPERM:
        return COCO_EACCES;
    case EINVAL: /* not known to this kernel, or SNP was never initialised */
    case ENOTTY:
        return COCO_EOPNOTSUPP;
    case EINTR:
    case EAGAIN:
    case EBUSY:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return COCO_EAGAIN;
    case EBADMSG:
        return COCO_EBADMSG;
    default:
        return COCO_EIO;
    }
}

static int ask(int fd, struct coco_sev_reply *m, uint32_t *fw_error)
{
    struct sev_platform platform;
    size_t size =
        coco_snp_product_chip_id_size(coco_snp_product_of_cpu(m->cpu_family, m->cpu_model));

    if (m->op == COCO_SEV_CHIP_ID) {
        if (size == 0)
            size = COCO_SNP_CHIP_ID_SIZE;
        int r = sev_device_chip_id(fd, m->chip_id, size, fw_error);
        m->chip_id_size = r < 0 ? 0 : (uint32_t)size;
        return r;
    }
    int r = sev_device_status(fd, &platform, fw_error);
    if (r < 0)
        return r;
    m->flags = platform.flags;
    m->current_tcb = platform.current_tcb;
    m->reported_tcb = platform.reported_tcb;
    return 0;
}

void helper_answer(const struct coco_sev_request *request, struct coco_sev_reply *ret)
{
    struct coco_sev_reply m = {.op = request->op, .id = request->id};
    uint32_t fw_error = COCO_SEV_FW_NOT_CALLED;
    int r = -ENODEV;

    if (sev_calls.cpu(&m.cpu_family, &m.cpu_model)) {
        int fd = r = sev_device_open(O_RDONLY);
        if (fd >= 0) {
            r = ask(fd, &m, &fw_error);
            (void)sev_calls.close(fd);
        }
    }
    m.status = r < 0 ? status_of(r) : COCO_OK;
    m.fw_error = m.status == COCO_EIO ? fw_error : 0;
    *ret = m;
}

/* --- connections ----------------------------------------------------------------------------- */

static void drop(struct helper_connection *c)
{
    (void)close(c->fd);
    *c = (struct helper_connection){.fd = -1};
}

static bool reply(int fd, const uint8_t question[COCO_SEV_REQUEST_SIZE])
{
    uint8_t bytes[COCO_SEV_REPLY_SIZE];
    struct coco_sev_request request;
    struct coco_sev_reply m;

    if (coco_sev_request_decode(question, &request) < 0)
        return false;
    helper_answer(&request, &m);
    if (coco_sev_reply_encode(&m, bytes) < 0)
        return false;
    return send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(bytes);
}

/* At most one question a wake-up, so that the others have their turn. */
static void read_from(struct helper *h, struct helper_connection *c)
{
    ssize_t n = recv(c->fd, c->bytes + c->got, sizeof(c->bytes) - c->got, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        drop(c);
        return;
    }
    c->used = h->wakeups;
    c->got += (size_t)n;
    if (c->got < sizeof(c->bytes))
        return;
    c->got = 0;
    if (!reply(c->fd, c->bytes))
        drop(c);
}

static int take(struct helper *h)
{
    struct helper_connection *place = &h->connections[0];
    int fd = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED ? 0 : -errno;
    for (size_t i = 0; i < HELPER_CONNECTIONS; i++) {
        struct helper_connection *c = &h->connections[i];
        if (c->fd < 0 || (place->fd >= 0 && c->used < place->used))
            place = c;
    }
    if (place->fd >= 0)
        drop(place);
    *place = (struct helper_connection){.fd = fd, .used = h->wakeups};
    return 0;
}

void helper_init(struct helper *helper, int listener)
{
    *helper = (struct helper){.listener = listener};
    for (size_t i = 0; i < HELPER_CONNECTIONS; i++)
        helper->connections[i].fd = -1;
}

int helper_turn(struct helper *h, int timeout_ms)
{
    struct pollfd p[HELPER_CONNECTIONS + 1] = {{.fd = h->listener, .events = POLLIN}};

    for (size_t i = 0; i < HELPER_CONNECTIONS; i++)
        p[i + 1] = (struct pollfd){.fd = h->connections[i].fd, .events = POLLIN};
    int n = poll(p, HELPER_CONNECTIONS + 1, timeout_ms);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    if (n == 0)
        return 0;
    h->wakeups++;
    for (size_t i = 0; i < HELPER_CONNECTIONS; i++)
        if (p[i + 1].revents)
            read_from(h, &h->connections[i]);
    return p[0].revents ? take(h) : 0;
}

void helper_done(struct helper *helper)
{
    for (size_t i = 0; i < HELPER_CONNECTIONS; i++)
        if (helper->connections[i].fd >= 0)
            drop(&helper->connections[i]);
    (void)close(helper->listener);
}
