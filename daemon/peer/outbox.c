/* SPDX-License-Identifier: MIT */
/*
 * A reply is written at once, header from the stack and table from its blob, with one sendmsg. Only
 * what the socket does not take is queued, by reference to the blob. What is queued goes out
 * several replies at a time, within the turn's budget. A descriptor goes with its own reply's first
 * byte.
 */
#include "peer/outbox.h"
#include "base/invariant.h"
#include "base/sys.h"
#include "observe/counters.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utlist.h>

/* Heads of replies, and the blob that belongs to the last of them: with it, it is full. */
struct outgoing {
    struct outgoing *next, *prev;
    struct blob *blob;
    size_t blob_sent;
    size_t head_size;
    size_t head_sent;
    size_t charged; /* bytes */
    int pass_fd;
    uint8_t head[];
};

#define OUTGOING_ROOM (PEER_REPLY_BUFFER - sizeof(struct outgoing))

static size_t head_left(const struct outgoing *out)
{
    return out->head_size - out->head_sent;
}

static size_t bytes_left(const struct outgoing *out)
{
    return head_left(out) + (out->blob ? out->blob->size - out->blob_sent : 0);
}

static void count_unsent(struct outbox *outbox, size_t more, size_t less)
{
    outbox->unsent += (uint32_t)more - (uint32_t)less;
    metrics.now_unsent_bytes += more - less;
}

static void close_passed(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void outgoing_free(struct outbox *outbox, struct account *account, struct outgoing *out)
{
    count_unsent(outbox, 0, bytes_left(out));
    close_passed(&out->pass_fd);
    account_uncharge(account, CHARGE_BYTES, out->charged);
    blob_unref(out->blob);
    DL_DELETE(outbox->first, out);
    sys.free(out);
}

/* One sendmsg. Returns bytes taken, or negative errno. */
static ssize_t send_some(int fd, struct iovec *iov, size_t n_iov, int pass_fd)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n_iov};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;

    if (pass_fd >= 0) {
        memset(&control, 0, sizeof(control));
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &pass_fd, sizeof(int));
    }
    for (;;) {
        ssize_t n = sys.sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            return n;
        if (errno != EINTR)
            return -errno;
    }
}

static void add_iovec(struct iovec *iov, size_t *n_iov, const uint8_t *data, size_t size)
{
    if (size > 0)
        iov[(*n_iov)++] = (struct iovec){(void *)(uintptr_t)data, size};
}

static void add_outgoing(struct iovec *iov, size_t *n_iov, const struct outgoing *out)
{
    add_iovec(iov, n_iov, out->head + out->head_sent, head_left(out));
    if (out->blob)
        add_iovec(iov, n_iov, out->blob->data + out->blob_sent, out->blob->size - out->blob_sent);
}

/* The queue's beginning, as far as a turn goes: whole replies, or a part of one that is longer.
 * Returns how many pieces of memory that is. */
static size_t gather(const struct outbox *outbox, struct iovec iov[static 2 * PEER_TURN_REPLIES])
{
    size_t n = 0, size = 0;
    const struct outgoing *out = outbox->first;

    for (unsigned i = 0; out && i < PEER_TURN_REPLIES; i++, out = out->next) {
        if (i > 0 && (out->pass_fd >= 0 || size + bytes_left(out) > PEER_TURN_BYTES))
            break;
        add_outgoing(iov, &n, out);
        size += bytes_left(out);
    }
    if (size > PEER_TURN_BYTES) /* it is the first one's blob that is so long */
        iov[n - 1].iov_len -= size - PEER_TURN_BYTES;
    return n;
}

int outbox_flush(struct outbox *outbox, int fd, struct account *account, bool *ret_took)
{
    struct iovec iov[2 * PEER_TURN_REPLIES];
    struct outgoing *out = outbox->first;
    size_t n_iov = gather(outbox, iov);
    int n_gone = 0;

    ssize_t n = send_some(fd, iov, n_iov, out->pass_fd);
    *ret_took = n >= 0;
    if (n < 0)
        return n == -EAGAIN ? 0 : (int)n;
    close_passed(&out->pass_fd);
    for (size_t left = (size_t)n; (out = outbox->first); n_gone++) {
        size_t taken = left < bytes_left(out) ? left : bytes_left(out);
        size_t of_head = taken < head_left(out) ? taken : head_left(out);
        count_unsent(outbox, 0, taken);
        out->head_sent += of_head;
        out->blob_sent += taken - of_head;
        left -= taken;
        if (bytes_left(out) > 0)
            break;
        outgoing_free(outbox, account, out);
    }
    return n_gone;
}

void outbox_clear(struct outbox *outbox, struct account *account)
{
    while (outbox->first)
        outgoing_free(outbox, account, outbox->first);
}

static void charge(struct account *account, struct outgoing *out, size_t size)
{
    out->charged += account_bytes(size);
    account_charge_anyway(account, CHARGE_BYTES, account_bytes(size));
}

/* Where the next reply's head goes: behind the last one's, or into a buffer of its own, of which
 * the first goes with the place. NULL: out of memory. */
static struct outgoing *outgoing_for(struct outbox *outbox, struct account *account,
                                     size_t head_size, int pass_fd)
{
    struct outgoing *out = outbox->first ? outbox->first->prev : NULL;
    invariant(out || !outbox->first);

    if (out && !out->blob && pass_fd < 0 && OUTGOING_ROOM - out->head_size >= head_size)
        return out;
    out = sys.alloc(PEER_REPLY_BUFFER);
    if (!out)
        return NULL;
    if (outbox->first)
        charge(account, out, PEER_REPLY_BUFFER);
    out->pass_fd = pass_fd;
    DL_APPEND(outbox->first, out);
    return out;
}

/* `sent` bytes of it are sent; 0 where others are before it. Takes pass_fd over where it returns
 * true; false: out of memory. */
static bool enqueue(struct outbox *outbox, struct account *account, const uint8_t *head,
                    size_t head_size, struct blob *blob, size_t sent, int pass_fd)
{
    struct outgoing *out = outgoing_for(outbox, account, head_size, pass_fd);
    size_t head_sent = sent < head_size ? sent : head_size;

    if (!out)
        return false;
    if (head_size > 0)
        memcpy(out->head + out->head_size, head, head_size);
    out->head_size += head_size;
    out->head_sent += head_sent;
    if (blob) {
        if (!blob->common)
            charge(account, out, sizeof(*blob) + blob->capacity);
        out->blob = blob_ref(blob);
        out->blob_sent = sent - head_sent;
    }
    count_unsent(outbox, head_size + (blob ? blob->size : 0), sent);
    return true;
}

int outbox_send(struct outbox *outbox, int fd, struct account *account, const void *head,
                size_t head_size, struct blob *blob, int pass_fd)
{
    size_t total = head_size + (blob ? blob->size : 0), n_iov = 0;
    struct iovec iov[2];
    ssize_t n = -EAGAIN;
    int r = 0;

    invariant(head_size <= PEER_HEAD_MAX && total > 0);
    if (!outbox->first) {
        add_iovec(iov, &n_iov, head, head_size);
        if (blob)
            add_iovec(iov, &n_iov, blob->data, blob->size);
        n = send_some(fd, iov, n_iov, pass_fd);
    }
    if (n < 0 && n != -EAGAIN)
        r = (int)n;
    size_t sent = n > 0 ? (size_t)n : 0;
    if (n > 0)
        close_passed(&pass_fd);
    if (r == 0 && sent < total) {
        if (enqueue(outbox, account, head, head_size, blob, sent, pass_fd))
            return 0;
        r = -ENOMEM;
    }
    close_passed(&pass_fd);
    return r;
}
