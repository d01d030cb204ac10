/* SPDX-License-Identifier: MIT */
/*
 * What the tests of requests that wait for the platform share: a host that knows its platform, on
 * the virtual clock, and VMMs that speak to it over the RPC, with leases held as VMMs hold them.
 */
#pragma once

#include "platform_fixture.h"

#include "observe/history.h"

#define PROMISED_US 200000u

static struct rig_message message;

/* A VMM, as one in the style of the README: a lease around each CERTS_GET, where it has LEASE. */
struct session {
    int fd, lease_fd;
    uint64_t lease, id;
    struct peer *peer;
};

static inline struct session session_open(uint32_t features)
{
    struct session session = {.id = 1};
    struct coco_hello_reply reply;

    session.fd = rig_connect(&rig, &vmm_dialect, &rig.vmm, &session.peer);
    session.lease_fd =
        rig_say_hello(&rig, session.fd, (struct coco_hello){.features = features}, COCO_OK, &reply);
    session.lease = reply.lease_base;
    if (session.lease_fd >= 0)
        rig_keep(session.lease_fd);
    return session;
}

static inline void session_close(struct session *session)
{
    rig_hang_up(session->fd);
    if (session->lease_fd >= 0)
        rig_hang_up(session->lease_fd);
    session->lease_fd = -1;
    rig_settle(&rig);
}

static inline bool set_lease(const struct session *session, short type)
{
    return session->lease_fd < 0 || rig_lock(session->lease_fd, type, session->lease, 1) == 0;
}

/* Queues a CERTS_GET without letting anything happen. */
static inline uint64_t send_certs(struct session *session, uint64_t npages, uint32_t timeout_ms)
{
    uint8_t frame[COCO_HEADER_SIZE + COCO_CERTS_GET_SIZE];

    rig_send(session->fd, frame, rig_certs_frame(frame, ++session->id, npages, timeout_ms));
    return session->id;
}

/* The answer that is there: the SPL of SNP in its chain's TCB, 0 for the empty table, BUSY, NONE
 * where there is none yet, or minus another status. */
#define NONE (-1000)
static inline int take_answer(const struct session *session)
{
    struct coco_certs_reply reply;
    struct coco_snp_table table;

    if (!rig_take(session->fd, &message))
        return NONE;
    ck_assert_uint_eq(message.header.type, COCO_CERTS_REPLY);
    if (message.header.status == COCO_EAGAIN)
        return BUSY;
    if (message.header.status != COCO_OK)
        return -(int)message.header.status;
    ck_assert_int_eq(coco_certs_reply_decode(message.payload, message.header.length, COCO_OK,
                                             &reply),
                     0);
    ck_assert_int_eq(coco_snp_table_decode(reply.table, reply.table_size, &table), 0);
    if (table.n_entries == 0)
        return 0;
    const struct chain_key *key = certs_generation_key(rig.certs, reply.generation);
    ck_assert_ptr_nonnull(key);
    return key->tcb.snp;
}

/* The answer when it comes; *ret_us: how long that takes. Fails after what was promised. */
static inline int await_answer(const struct session *session, uint64_t *ret_us)
{
    const uint64_t from_us = rig_clock_us;
    int answer;

    platform_settle();
    while ((answer = take_answer(session)) == NONE) {
        ck_assert_uint_lt(rig_clock_us - from_us, PROMISED_US);
        pass(1000);
    }
    if (ret_us)
        *ret_us = rig_clock_us - from_us;
    return answer;
}

/* One exit: lease, CERTS_GET, KVM_RUN, unlock. BUSY, too, where the lease is refused. */
static inline int one_exit(struct session *session, uint64_t *ret_us)
{
    if (!set_lease(session, F_RDLCK))
        return BUSY;
    send_certs(session, 4, 1000);
    int answer = await_answer(session, ret_us);
    ck_assert(set_lease(session, F_UNLCK));
    return answer;
}

static inline void open_host(void)
{
    store_milan(false, 8);
    store_milan(false, 9);
    platform_open();
    ck_assert_int_eq(served(), 8);
}

static inline struct session open_host_with_session(uint32_t features)
{
    open_host();
    return session_open(features);
}

/* Nobody has asked for a minute. */
static inline void be_idle(void)
{
    pass(60u * SECOND);
}

/* All sessions leave, and nothing of theirs is left. */
static inline void wait_teardown(void)
{
    rig_close_kept();
    rig_settle(&rig);
    ck_assert_uint_eq(metrics.now_requests, 0);
    platform_teardown();
}

static inline uint32_t features_of(int i)
{
    return i % 2 ? COCO_FEATURE_LEASE : 0;
}
