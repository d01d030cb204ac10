/* SPDX-License-Identifier: MIT */
/*
 * A cocod with one thing broken (CHAOS_BROKEN), so that tests/chaos/check shows that a chaos run
 * finds it. Linked with cocod's own code; the linker's --wrap puts these functions between.
 */
#include "certs/certs.h"
#include "certs/table_file.h"
#include "peer/peer.h"
#include "quotes/check.h"
#include "rpc/vmm.h"
#include "status.h"
#include "wire.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* With the types of cocod's own header: what differs does not compile. */
#define WRAPPED(result, name, ...)                 \
    __typeof__(name) __real_##name, __wrap_##name; \
    result __wrap_##name(__VA_ARGS__)

static bool broken(const char *name)
{
    const char *which = getenv("CHAOS_BROKEN");

    return which && strcmp(which, name) == 0;
}

static unsigned count;

/* Whatever QGS sends is the guest's. */
WRAPPED(int, check_quote, const uint8_t *quote, size_t size,
        const uint8_t tdreport[COCO_TDREPORT_SIZE], size_t *ret_size, struct why *why)
{
    int r = __real_check_quote(quote, size, tdreport, ret_size, why);

    if (r == -EBADMSG && broken("unchecked")) {
        *ret_size = size;
        return 0;
    }
    return r;
}

/* An updater that was not announced is not noticed. */
WRAPPED(bool, table_file_emptied, const struct table_file *file)
{
    return !broken("unnoticed") && __real_table_file_emptied(file);
}

WRAPPED(bool, peer_send, struct peer *peer, const void *head, size_t head_size, struct blob *blob,
        int pass_fd)
{
    uint8_t changed[COCO_HEADER_SIZE];
    struct coco_header header;

    if (head_size < COCO_HEADER_SIZE || coco_header_decode(head, &header) < 0)
        return __real_peer_send(peer, head, head_size, blob, pass_fd);
    if (header.status == COCO_ECANCELED && broken("unanswered"))
        return true;
    /* A guest that could ask again is told that its request failed. */
    if (header.type == COCO_CERTS_REPLY && header.status == COCO_EAGAIN && broken("eio")) {
        header.status = COCO_EIO;
        coco_header_encode(&header, changed);
        head = changed;
    }
    bool sent = __real_peer_send(peer, head, head_size, blob, pass_fd);
    if (header.type == COCO_PING_REPLY && broken("twice"))
        (void)__real_peer_send(peer, head, head_size, NULL, -1);
    if (header.type == COCO_CERTS_REPLY && ++count % 500 == 0 && broken("closes"))
        peer_close(peer, CLOSE_MEMORY);
    return sent;
}

/* Each session leaves something behind: memory, or the descriptor that the client is given. */
WRAPPED(int, certs_open_lease, struct certs *certs, uint64_t *ret_base)
{
    int fd = __real_certs_open_lease(certs, ret_base);

    if (broken("leaks")) {
        static void *volatile last;
        last = calloc(1, 128 << 10); // NOLINT: the one before is lost
        memset(last, 1, 128 << 10);
    }
    return broken("keeps") ? dup(fd) : fd;
}

/* Bad TDREPORTs are too much for it; or quotes come to an end. */
WRAPPED(int, check_tdreport, const uint8_t tdreport[COCO_TDREPORT_SIZE], struct why *why)
{
    int r = __real_check_tdreport(tdreport, why);

    if (r == -EBADMSG && broken("dies"))
        abort();
    return broken("starves") ? -ENOMEM : r;
}
