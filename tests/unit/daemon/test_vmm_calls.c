/* SPDX-License-Identifier: MIT */
/*
 * CERTS_GET and QUOTE_GET as a VMM sees them: every status of the contract and where it comes from,
 * deadlines, limits, cancelling, leaving.
 */
#include "scarce.h"
#include "vmm_fixture.h"

#include "qgs_msg.h"
#include "snp_table.h"

static uint8_t reply[TDX_QUOTE_ROOM + 200];

/* --- CERTS_GET ------------------------------------------------------------------------------- */

static void ask_certs(int fd, uint64_t id, uint64_t npages)
{
    uint8_t frame[COCO_HEADER_SIZE + COCO_CERTS_GET_SIZE];

    rig_send(fd, frame, rig_certs_frame(frame, id, npages, 0));
    rig_settle(&rig);
}

static void expect_certs(int fd, uint64_t id, uint32_t status, struct coco_certs_reply *ret)
{
    rig_expect(fd, &message, COCO_CERTS_REPLY, id, status);
    if (status == COCO_OK || status == COCO_ENOSPC)
        ck_assert_int_eq(coco_certs_reply_decode(message.payload, message.header.length, status,
                                                 ret),
                         0);
    else
        ck_assert_uint_eq(message.header.length, 0);
}

FIXTURE(.setup_once = rig_make_pki, .teardown_once = rig_free_pki, .setup = setup,
        .teardown = teardown, .timeout_s = 60);

TEST(the_table_comes_whole)
{
    struct coco_certs_reply got;
    size_t file_size;

    int fd = open_session(0);
    ask_certs(fd, 2, 4);
    expect_certs(fd, 2, COCO_OK, &got);
    const struct blob *table = certs_status(rig.certs).table;
    ck_assert_uint_eq(got.generation, certs_status(rig.certs).generation);
    ck_assert_uint_eq(got.npages, coco_npages(table->size));
    ck_assert_uint_eq(got.table_size, table->size);
    ck_assert_mem_eq(got.table, table->data, table->size);
    /* Over the RPC and in the file: the same. */
    uint8_t *file = test_read_file(table_path, &file_size);
    ck_assert_uint_eq(file_size, got.table_size);
    ck_assert_mem_eq(file, got.table, file_size);
    free(file);
    ck_assert_uint_eq(metrics.certs_ok, 1);
}

TEST(too_few_pages_get_their_number)
{
    struct coco_certs_reply got;

    int fd = open_session(0);
    uint32_t need = coco_npages(certs_status(rig.certs).table->size);
    for (uint32_t npages = 0; npages < need; npages++) {
        ask_certs(fd, 2 + npages, npages);
        expect_certs(fd, 2 + npages, COCO_ENOSPC, &got);
        ck_assert_uint_eq(got.npages, need);
        ck_assert_uint_eq(got.table_size, 0);
        ck_assert_uint_eq(got.generation, certs_status(rig.certs).generation);
    }
    ask_certs(fd, 10, need);
    expect_certs(fd, 10, COCO_OK, &got);
    ck_assert_uint_eq(metrics.certs_enospc, need);
}

TEST(without_a_chain_the_empty_table_comes)
{
    struct coco_certs_reply got;

    rig_chain_file(&options.certs, "/nonexistent/chain.pem");
    int fd = open_session(0);
    for (uint64_t npages = 0; npages < 3; npages++) {
        ask_certs(fd, 2 + npages, npages);
        expect_certs(fd, 2 + npages, COCO_OK, &got);
        ck_assert_uint_eq(got.table_size, COCO_SNP_EMPTY_TABLE_SIZE);
        ck_assert_uint_eq(got.npages, 1);
    }
    ck_assert_uint_eq(metrics.certs_empty, 3);
}

TEST_LOOP(the_other_statuses_of_certs_get, 0, 2)
{
    rig_chain_file(&options.certs, "/nonexistent/chain.pem");
    options.certs.refuse_missing = _i == 1;
    if (_i == 0)
        options.certs.n_chain = 0;
    int fd = open_session(0);
    ask_certs(fd, 2, 4);
    expect_certs(fd, 2, _i == 0 ? COCO_EOPNOTSUPP : COCO_EIO, NULL);
    ck_assert_uint_eq(metrics.certs_refused, 1);
}

TEST(while_draining_certs_get_is_busy_and_never_held)
{
    struct coco_certs_reply got;

    int fd = open_session(0);
    ck_assert_int_eq(certs_update_begin(rig.certs, 1000000, "a test"), 0);
    ask_certs(fd, 2, 4);
    expect_certs(fd, 2, COCO_EAGAIN, NULL);
    certs_update_end(rig.certs, false, NULL, NULL);
    rig_await_worker(&rig);
    rig_pass(&rig, 2000);
    ask_certs(fd, 3, 4);
    expect_certs(fd, 3, COCO_OK, &got);
    ck_assert_uint_eq(metrics.certs_eagain, 1);
}

TEST(a_lease_delays_the_file_of_a_reload_and_no_answer)
{
    struct coco_certs_reply got;

    int fd = open_session(0);
    uint64_t generation = certs_status(rig.certs).generation;
    ck_assert_int_eq(rig_lock(open_table(O_RDONLY), F_RDLCK, 1 << 20, 1), 0);
    reload_chain(1);
    ask_certs(fd, 2, 4);
    expect_certs(fd, 2, COCO_OK, &got);
    ck_assert_uint_gt(got.generation, generation);
    ck_assert_uint_eq(metrics.certs_eagain, 0);
}

/* A table that is being sent survives its replacement. */
TEST(a_table_half_sent_stays_what_it_was)
{
    struct coco_certs_reply got;
    uint8_t *old;
    uint64_t id = 2, asked;

    int fd = open_session(0);
    size_t size = certs_status(rig.certs).table->size;
    uint64_t generation = certs_status(rig.certs).generation;
    old = malloc(size);
    ck_assert_ptr_nonnull(old);
    memcpy(old, certs_status(rig.certs).table->data, size);
    while (metrics.now_unsent_bytes < 100000)
        ask_certs(fd, id++, 4);
    asked = id;
    reload_chain(1);
    ck_assert_uint_ne(certs_status(rig.certs).generation, generation);
    for (id = 2; id < asked; id++) {
        rig_settle(&rig);
        expect_certs(fd, id, COCO_OK, &got);
        ck_assert_uint_eq(got.generation, generation);
        ck_assert_uint_eq(got.table_size, size);
        ck_assert_mem_eq(got.table, old, size);
    }
    free(old);
}

/* --- QUOTE_GET ------------------------------------------------------------------------------- */

static void expect_quote(int fd, uint64_t id)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE];
    const char *why = "";

    rig_expect(fd, &message, COCO_QUOTE_REPLY, id, COCO_OK);
    tdx_make_tdreport(id, NULL, tdreport);
    ck_assert_msg(tdx_verify_quote(message.payload, message.header.length, tdreport, &why) == 0,
                  "%s", why);
    /* without QGS's padding */
    ck_assert_uint_eq(tdx_quote_true_size(message.payload, message.header.length),
                      message.header.length);
}

static void expect_no_quote(int fd, uint64_t id, uint32_t status)
{
    rig_expect(fd, &message, COCO_QUOTE_REPLY, id, status);
    ck_assert_uint_eq(message.header.length, 0);
    ck_assert(coco_status_valid_for(COCO_QUOTE_GET, status));
}

TEST(a_quote_comes_trimmed_and_verifies)
{
    int fd = open_session(0);
    ask_quote(fd, 2, COCO_QUOTE_MAX, 0);
    ck_assert(!rig_take(fd, &message));
    qgs_answers(0);
    expect_quote(fd, 2);
    ck_assert_uint_eq(metrics.quotes_ok, 1);
    ck_assert_uint_eq(metrics.now_jobs, 0);
}

TEST(what_is_no_tdreport_never_reaches_qgs)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE], payload[COCO_QUOTE_GET_SIZE];
    struct coco_quote_get get = {.quote_max = COCO_QUOTE_MAX, .tdreport = tdreport};
    static const size_t wrong[] = {0, 40, 90, 300, 600};

    int fd = open_session(0);
    for (uint64_t i = 0; i < 5; i++) {
        tdx_make_tdreport(1, NULL, tdreport);
        tdreport[wrong[i]] ^= 1;
        coco_quote_get_encode(&get, payload);
        rig_call(&rig, fd, COCO_QUOTE_GET, 2 + i, payload, sizeof(payload));
        expect_no_quote(fd, 2 + i, COCO_EINVAL); /* at once */
    }
    ck_assert_uint_eq(fake_qgs_connects, 0);
    ck_assert_uint_eq(metrics.quotes_einval, 5);
}

TEST(a_quote_larger_than_the_guest_s_buffer)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE];

    int fd = open_session(0);
    tdx_make_tdreport(2, NULL, tdreport);
    size_t padded = fake_qgs_make_reply(tdreport, reply, sizeof(reply)) - 28;
    size_t exact = padded - 70;
    ask_quote(fd, 2, (uint32_t)exact, 0); /* room for the quote, not for its padding */
    qgs_answers(0);
    if (rig_take(fd, &message) && message.header.status == COCO_OK)
        exact = message.header.length; /* signatures differ a little in length */
    ask_quote(fd, 3, (uint32_t)exact - 200, 0);
    qgs_answers(1);
    expect_no_quote(fd, 3, COCO_EMSGSIZE);
    ask_quote(fd, 4, 1, 0);
    qgs_answers(2);
    expect_no_quote(fd, 4, COCO_EMSGSIZE);
}

enum qgs_does {
    OTHER_QUOTE,
    CUT_QUOTE,
    GARBAGE,
    OVERSIZE,
    ERROR_CODE,
    CLOSES,
    BREAKS_OFF,
    UNREACHABLE,
    FULL,
};

static const struct {
    enum qgs_does what;
    uint32_t status;
} failures[] = {
    {OTHER_QUOTE, COCO_EBADMSG}, {CUT_QUOTE, COCO_EBADMSG},  {GARBAGE, COCO_EBADMSG},
    {OVERSIZE, COCO_EBADMSG},    {ERROR_CODE, COCO_EIO},     {CLOSES, COCO_EIO},
    {BREAKS_OFF, COCO_EIO},      {UNREACHABLE, COCO_ENODEV}, {FULL, COCO_EAGAIN},
};

static size_t make_bad_reply(enum qgs_does what, uint8_t *tdreport)
{
    struct coco_qgs_quote_resp resp = {.minor = 1, .quote = reply + 28};

    if (what == OTHER_QUOTE)
        tdx_make_tdreport(99, NULL, tdreport);
    size_t size = fake_qgs_make_reply(tdreport, reply, sizeof(reply));
    switch (what) {
    case CUT_QUOTE: /* a well-formed message, but half of a quote in it */
        resp.quote_size = (uint32_t)size / 2;
        size = (size_t)coco_qgs_quote_resp_encode(&resp, reply + 4, sizeof(reply) - 4);
        coco_qgs_prefix_encode((uint32_t)size, reply);
        return size + 4;
    case GARBAGE:
        memset(reply + 4, 0x5a, size - 4);
        return size;
    case OVERSIZE:
        coco_qgs_prefix_encode(64u << 20, reply);
        return 10;
    case ERROR_CODE:
        return fake_qgs_make_error(0x12001, reply, sizeof(reply));
    case CLOSES:
        return 0;
    case BREAKS_OFF:
        return size / 2;
    default:
        return size;
    }
}

TEST_LOOP(each_failure_of_qgs_has_its_status, 0, 9)
{
    uint8_t tdreport[COCO_TDREPORT_SIZE];
    struct quotes_status status;
    enum qgs_does what = failures[_i].what;

    int fd = open_session(0);
    fake_qgs_error = what == UNREACHABLE ? ECONNREFUSED : what == FULL ? EAGAIN : 0;
    ask_quote(fd, 2, COCO_QUOTE_MAX, 0);
    /* What may pass is tried again: an error once, a close five times. Before the last of these QGS
     * is asked whether it is there at all. */
    for (unsigned i = 0; fake_qgs_error == 0 && i < fake_qgs_n; i++) {
        if (i == 5) {
            fake_qgs_answer_probe(i);
            rig_settle(&rig);
            continue;
        }
        fake_qgs_request(i, tdreport);
        size_t size = make_bad_reply(what, tdreport);
        if (size > 0)
            fake_qgs_send(i, reply, size);
        fake_qgs_close(i);
        rig_settle(&rig);
    }
    expect_no_quote(fd, 2, failures[_i].status);
    quotes_get_status(rig.quotes, &status);
    ck_assert_ptr_nonnull(status.problem);
    ck_assert_uint_eq(status.problem_status, failures[_i].status);
    ck_assert_uint_eq(status.failed, 1);
    ck_assert_uint_eq(status.slots_busy, 0);
    /* The next one finds QGS well, and the problem is over. */
    bool probe = fake_qgs_error != 0;
    fake_qgs_error = 0;
    if (probe) {
        rig_pass(&rig, 100 * 1000); /* until cocod tries again */
        fake_qgs_answer_probe(fake_qgs_n - 1);
        rig_settle(&rig);
    }
    ask_quote(fd, 3, COCO_QUOTE_MAX, 0);
    qgs_answers(fake_qgs_n - 1);
    expect_quote(fd, 3);
    quotes_get_status(rig.quotes, &status);
    ck_assert_ptr_null(status.problem);
}

TEST(without_qgs_quotes_are_not_offered)
{
    options.quotes.n_backends = 0;
    int fd = open_session(0);
    ask_quote(fd, 2, COCO_QUOTE_MAX, 0);
    expect_no_quote(fd, 2, COCO_EOPNOTSUPP);
}

/* --- deadlines ------------------------------------------------------------------------------- */

static const struct {
    uint32_t timeout_ms;
    uint64_t answered_after_us;
} deadlines[] = {
    {0, 24950000},      /* the server's default, less 50 ms */
    {1000, 950000},     /* */
    {200, 150000},      /* a quarter is 50 ms as well */
    {100, 75000},       /* a quarter */
    {4, 3000},          /* */
    {1, 750},           /* */
    {60000, 59950000},  /* the longest */
    {600000, 59950000}, /* cut */
    {UINT32_MAX, 59950000},
};

/* A little before the client's own timer. QGS is silent. */
TEST_LOOP(a_quote_s_deadline, 0, 9)
{
    int fd = open_session(0);
    ask_quote(fd, 2, COCO_QUOTE_MAX, deadlines[_i].timeout_ms);
    rig_pass(&rig, deadlines[_i].answered_after_us - 1);
    if (deadlines[_i].answered_after_us > 35 * SECOND) {
        /* QGS itself was given up before, 5 s after its own timer. */
        expect_no_quote(fd, 2, COCO_ETIMEDOUT);
        return;
    }
    ck_assert(!rig_take(fd, &message));
    rig_pass(&rig, 1);
    expect_no_quote(fd, 2, COCO_ETIMEDOUT);
    ck_assert_uint_eq(metrics.quotes_etimedout, 1);
    ck_assert_uint_eq(metrics.now_jobs, 1); /* it holds its slot: QGS cannot be stopped */
    ck_assert(!rig_take(fd, &message));
    qgs_answers(0); /* too late: nobody gets it */
    ck_assert(!rig_take(fd, &message));
    ck_assert_uint_eq(metrics.now_jobs, 0);
}

/* Waiting in the queue counts. */
TEST(a_long_timeout_is_cut_also_in_the_queue)
{
    options.backend.slots = 1;
    options.backend.qgs_timer_us = 1000u * SECOND;
    int fd = open_session(0);
    ask_quote(fd, 2, COCO_QUOTE_MAX, 0);
    ask_quote(fd, 3, COCO_QUOTE_MAX, UINT32_MAX);
    rig_pass(&rig, 59950000 - 1);
    expect_no_quote(fd, 2, COCO_ETIMEDOUT);
    ck_assert(!rig_take(fd, &message));
    rig_pass(&rig, 1);
    expect_no_quote(fd, 3, COCO_ETIMEDOUT);
    ck_assert_uint_eq(fake_qgs_n, 1); /* it never had its turn */
}

/* --- slots, queue, limits -------------------------------------------------------------------- */

TEST(no_more_at_qgs_than_slots_and_the_queue_is_in_order)
{
    int fd = open_session(0);
    for (uint64_t id = 2; id < 22; id++)
        ask_quote(fd, id, COCO_QUOTE_MAX, 0);
    ck_assert_uint_eq(fake_qgs_n, 4);
    for (unsigned i = 0; i < 20; i++) {
        qgs_answers(i);
        expect_quote(fd, 2 + i);
        ck_assert_uint_eq(fake_qgs_n, i + 5 < 20 ? i + 5 : 20);
    }
    ck_assert_uint_eq(metrics.quotes_ok, 20);
}

TEST(most_in_flight_in_a_session)
{
    int fd = open_session(0), other = session(0);
    for (uint64_t id = 1; id <= COCO_IN_FLIGHT_MAX; id++)
        ask_quote(fd, id, COCO_QUOTE_MAX, 0);
    ck_assert(!rig_take(fd, &message));
    ask_quote(fd, 100, COCO_QUOTE_MAX, 0);
    expect_no_quote(fd, 100, COCO_EAGAIN); /* at once */
    ask_quote(other, 100, COCO_QUOTE_MAX, 0);
    ck_assert(!rig_take(other, &message)); /* another session has its own limit */
    qgs_answers(0);
    expect_quote(fd, 1);
    ask_quote(fd, 101, COCO_QUOTE_MAX, 0);
    ck_assert(!rig_take(fd, &message)); /* room again */
    ck_assert_uint_eq(metrics.quotes_eagain, 1);
}

TEST(most_of_one_account_over_all_its_sessions)
{
    options.quotes.requests_per_vm = 3;
    open_rig();
    int a = session(0), b = session(0);
    ask_quote(a, 2, COCO_QUOTE_MAX, 0);
    ask_quote(b, 2, COCO_QUOTE_MAX, 0);
    ask_quote(a, 3, COCO_QUOTE_MAX, 0);
    ask_quote(b, 3, COCO_QUOTE_MAX, 0);
    expect_no_quote(b, 3, COCO_EAGAIN);
    leave(a); /* gives two back */
    ask_quote(b, 4, COCO_QUOTE_MAX, 0);
    ck_assert(!rig_take(b, &message));
}

TEST(a_full_queue)
{
    options.quotes.queue_max = 2;
    int fd = open_session(0);
    for (uint64_t id = 2; id < 8; id++) /* 4 at QGS, 2 in the queue */
        ask_quote(fd, id, COCO_QUOTE_MAX, 0);
    ck_assert(!rig_take(fd, &message));
    ask_quote(fd, 8, COCO_QUOTE_MAX, 0);
    expect_no_quote(fd, 8, COCO_EAGAIN);
    rig_call(&rig, fd, COCO_CANCEL, 7, NULL, 0); /* leaves the queue */
    expect_no_quote(fd, 7, COCO_ECANCELED);
    ask_quote(fd, 9, COCO_QUOTE_MAX, 0);
    ck_assert(!rig_take(fd, &message));
}

TEST(no_memory_for_a_request)
{
    int fd = open_session(0);
    memory_fail_from(0);
    ask_quote(fd, 2, COCO_QUOTE_MAX, 0);
    memory_back();
    expect_no_quote(fd, 2, COCO_EAGAIN);
    ask_quote(fd, 3, COCO_QUOTE_MAX, 0);
    qgs_answers(0);
    expect_quote(fd, 3);
}

/* --- cancelling and leaving ------------------------------------------------------------------ */

TEST(a_cancelled_request_is_answered_once)
{
    int fd = open_session(0);
    rig_call(&rig, fd, COCO_CANCEL, 2, NULL, 0); /* not there yet: ignored */
    ask_quote(fd, 2, COCO_QUOTE_MAX, 0);
    rig_call(&rig, fd, COCO_CANCEL, 2, NULL, 0);
    expect_no_quote(fd, 2, COCO_ECANCELED);
    rig_call(&rig, fd, COCO_CANCEL, 2, NULL, 0); /* a second time: ignored */
    qgs_answers(0);
    ck_assert(!rig_take(fd, &message));
    ck_assert_uint_eq(metrics.quotes_ecanceled, 1);
    ck_assert_uint_eq(metrics.bad_oneway, 0);
    rig_pass(&rig, 100 * SECOND);
    ck_assert(!rig_take(fd, &message));
}

TEST(the_result_may_win_over_cancel)
{
    int fd = open_session(0);
    ask_quote(fd, 2, COCO_QUOTE_MAX, 0);
    qgs_answers(0);
    rig_call(&rig, fd, COCO_CANCEL, 2, NULL, 0);
    expect_quote(fd, 2);
    ck_assert(!rig_take(fd, &message));
}

/* QGS works on for a requester that is gone: the slot is taken until it answers or closes. */
TEST(an_abandoned_exchange_holds_its_slot)
{
    struct quotes_status status;

    open_rig();
    int gone = session(0), fd = session(0);
    for (uint64_t id = 2; id < 8; id++)
        ask_quote(gone, id, COCO_QUOTE_MAX, 0);
    leave(gone);
    quotes_get_status(rig.quotes, &status);
    ck_assert_uint_eq(status.slots_busy, 4);
    ck_assert_uint_eq(status.abandoned, 4);
    ck_assert_uint_eq(status.running, 0);
    ck_assert_uint_eq(status.queued, 0); /* what waited is gone */
    ask_quote(fd, 2, COCO_QUOTE_MAX, 0);
    ck_assert_uint_eq(fake_qgs_n, 4);
    qgs_answers(1);
    ck_assert_uint_eq(fake_qgs_n, 5);
    qgs_answers(4);
    expect_quote(fd, 2);
    quotes_get_status(rig.quotes, &status);
    ck_assert_uint_eq(status.abandoned, 3);
    for (unsigned i = 0; i < 4; i++)
        fake_qgs_close(i);
    rig_settle(&rig);
    ck_assert_uint_eq(metrics.now_jobs, 0);
}

/* QGS never answers and never closes: after its own timer and 5 s more the slot is free again. */
TEST(a_silent_qgs_gives_its_slots_back_in_the_end)
{
    int fd = open_session(0);
    for (uint64_t id = 2; id < 6; id++)
        ask_quote(fd, id, COCO_QUOTE_MAX, 1000);
    rig_pass(&rig, 35 * SECOND - 1);
    for (int i = 0; i < 4; i++) { /* in any order */
        ck_assert(rig_take(fd, &message));
        ck_assert_uint_eq(message.header.status, COCO_ETIMEDOUT);
    }
    ck_assert_uint_eq(metrics.now_jobs, 4);
    rig_pass(&rig, 1);
    ck_assert_uint_eq(metrics.now_jobs, 0);
}
