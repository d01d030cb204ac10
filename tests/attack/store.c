/* SPDX-License-Identifier: MIT */
/*
 * A user who may read the store reads it over 200 connections, while the firmware's TCB changes and
 * the chain with it. Where no chain is EIO, guests must see none of that.
 *
 * Before jobs on the store had places apart from the selection's, they filled the worker's 64: the
 * selection failed, and guests had EIO until long after the attack.
 */
#include "attack.h"
#include "local_socket.h"
#include "snp_pki.h"
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define READERS 200u
#define CHANGES 6u

static struct host host;

static struct {
    atomic_bool over;
    atomic_uint answers, refused; /* the flood's */
    atomic_uint tables, changes;  /* the guest's, and how often they were other than the last */
    atomic_uint again, eio, other;
} * seen; /* shared by all processes */

static uint32_t list_chains(const struct host *h)
{
    static const char call[] = "{\"method\":\"io.cocod.Admin.ListChains\"}";
    struct pollfd polls[READERS];
    static char answer[65536];

    for (size_t i = 0; i < READERS; i++) {
        polls[i] = (struct pollfd){.fd = unix_connect(h->admin, 0), .events = POLLIN};
        (void)send(polls[i].fd, call, sizeof(call), MSG_NOSIGNAL);
    }
    while (!seen->over && poll(polls, READERS, 1000) >= 0) {
        for (size_t i = 0; i < READERS; i++) {
            if (!polls[i].revents)
                continue;
            ssize_t n = recv(polls[i].fd, answer, sizeof(answer) - 1, 0);
            if (n <= 0)
                return 1;
            answer[n] = 0;
            *(strstr(answer, "TryAgain") ? &seen->refused : &seen->answers) += 1;
            (void)send(polls[i].fd, call, sizeof(call), MSG_NOSIGNAL);
        }
    }
    return 0;
}

static uint32_t get_tables(const struct host *h)
{
    static uint8_t tables[2][4 * 4096];
    struct host mine = *h;
    struct coco_client *client = host_client(&mine, 0);
    struct coco_certs_result result;

    for (unsigned now = 0; !seen->over; usleep(1000)) {
        uint8_t *table = tables[now];
        memset(table, 0, sizeof(tables[0]));
        if (coco_certs_get(client, 4, table, sizeof(tables[0]), 1000, &result) < 0)
            return 1;
        if (result.status == COCO_STATUS_OK) {
            seen->tables++;
            seen->changes += memcmp(tables[0], tables[1], sizeof(tables[0])) != 0;
            now = memcmp(tables[0], tables[1], sizeof(tables[0])) != 0 ? !now : now;
        } else if (result.status == COCO_STATUS_EAGAIN) {
            seen->again++;
        } else if (result.status == COCO_STATUS_EIO) {
            seen->eio++;
        } else {
            seen->other++;
        }
    }
    return 0;
}

static const char *configuration(unsigned snp)
{
    static char text[2048];

    snprintf(text, sizeof(text),
             "root = %s/pki8/ark.pem\nstore = %s/store\nplatform = fixed\nfixed_product = Milan\n"
             "fixed_chip_id = 010203%0122d\nfixed_tcb = 3.0.%u.115\nmissing_chain = refuse\n"
             "[rpc]\nmode = 0666\n[admin]\nmode = 0666\nread = %u\n",
             host.dir, host.dir, 0, snp, ATTACK_A);
    return text;
}

/* Chains of the one chip at both TCBs. */
static void fill_store(void)
{
    char dirs[2][300];
    struct snp_pki_leaf leaf;
    const uint8_t chip[SNP_PKI_CHIP_ID_SIZE] = {1, 2, 3};

    snprintf(dirs[0], sizeof(dirs[0]), "%s/pki8", host.dir);
    snprintf(dirs[1], sizeof(dirs[1]), "%s/pki9", host.dir);
    struct snp_pki *pki = snp_pki_new(&(struct snp_pki_options){.keys_dir = dirs[0]});
    ck_assert_ptr_nonnull(pki);
    ck_assert_int_eq(snp_pki_make_vcek(pki, (struct snp_pki_tcb){.bl = 3, .snp = 9, .ucode = 115},
                                       chip, &leaf),
                     0);
    ck_assert_int_eq(snp_pki_write_dir(pki, &leaf, dirs[1]), 0);
    snp_pki_leaf_done(&leaf);
    snp_pki_free(pki);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(
            host_cococtl(&host, (const char *const[]){"certs", "import", dirs[i], NULL}, NULL), 0);
}

/* At most 10 s. */
static void await(atomic_uint *count, unsigned more_than)
{
    for (int i = 0; i < 10000 && *count <= more_than; i++)
        usleep(1000);
}

FIXTURE(.timeout_s = 300);

TEST(whoever_reads_the_store_takes_no_chain_away)
{
    struct attacker flood, guest;

    if (!attack_possible())
        return;
    seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(seen, MAP_FAILED);
    host_open(&host);
    (void)host_make_chain(&host, "pki8");
    attack_serve(&host, configuration(8));
    fill_store();
    attack_begin(&guest, ATTACK_B, get_tables, &host);
    await(&seen->tables, 0);
    attack_begin(&flood, ATTACK_A, list_chains, &host);
    await(&seen->answers, READERS);
    for (unsigned i = 0; i < CHANGES; i++) {
        unsigned before = seen->changes;
        host_configure(&host, "%s", configuration(i % 2 ? 8 : 9));
        process_signal(&host.cocod, SIGHUP);
        await(&seen->changes, before);
    }
    seen->over = true;
    uint32_t flood_ended = attack_report(&flood), guest_ended = attack_report(&guest);
    printf("%u calls of one process answered, %u told to try again; a guest had %u tables, of %u "
           "changes %u, EAGAIN %u times, EIO %u times\n",
           seen->answers, seen->refused, seen->tables, CHANGES, seen->changes - 1, seen->again,
           seen->eio);
    attack_end(&flood);
    attack_end(&guest);
    ck_assert_uint_eq(flood_ended, 0);
    ck_assert_uint_eq(guest_ended, 0);
    ck_assert_uint_gt(seen->refused, 0);
    ck_assert_uint_eq(seen->changes - 1, CHANGES); /* the first table is one, too */
    ck_assert_uint_eq(seen->eio + seen->other, 0);
    host_close(&host);
}
