/* SPDX-License-Identifier: MIT */
/*
 * Certificate chains. The input is a byte of flags (1: the first file is trusted as a root; 2: a
 * chain that was taken is given again), then files: u16 little-endian length, bytes; a length over
 * what is left means the rest.
 *
 * Oracle: a refusal has a sentence; given again as three certificates, or as one file, it is the
 * same chain; its table, if any, is canonical, decodes to these certificates, and given again is
 * that chain. Nothing but a trusted root's chain verifies.
 */
#include "bytes.h"
#include "certs/chain/chain.h"
#include "fuzz/snp_table_oracle.h"

#define FLAG_TRUST 1u
#define FLAG_AGAIN 2u
#define FILES_MAX  4u
/* 2026-01-01: inside the dates of the seeds. */
#define NOW 1767225600

static void check_refusal(int r, const struct why *why)
{
    REQUIRE(r == -EBADMSG || r == -ESTALE || r == -ENOSPC);
    REQUIRE(why->text[0] != '\0' && strlen(why->text) < WHY_SIZE);
}

static void check_same(const struct chain *c, const struct chain_input *in, size_t n)
{
    struct chain *again = NULL;
    struct why why;

    REQUIRE(chain_parse(in, n, &again, &why) == 0);
    REQUIRE(again->key.product == c->key.product && again->key.signer == c->key.signer);
    REQUIRE(strcmp(again->key.csp, c->key.csp) == 0);
    REQUIRE(memcmp(again->key.chip_id, c->key.chip_id, sizeof(c->key.chip_id)) == 0);
    REQUIRE(memcmp(&again->key.tcb, &c->key.tcb, sizeof(c->key.tcb)) == 0);
    for (int role = 0; role < CHAIN_ROLES; role++)
        REQUIRE(strcmp(again->certs[role].sha256, c->certs[role].sha256) == 0);
    chain_free(again);
}

static void check_again(const struct chain *c)
{
    static const char *const names[CHAIN_ROLES] = {"ark", "ask", "leaf"};
    static uint8_t all[CHAIN_ROLES * CHAIN_CERT_MAX];
    struct chain_input in[CHAIN_ROLES], one = {.name = "all", .data = all};

    for (int role = 0; role < CHAIN_ROLES; role++) {
        in[role] = (struct chain_input){.name = names[role],
                                        .data = c->certs[role].der,
                                        .size = c->certs[role].size};
        memcpy(all + one.size, c->certs[role].der, c->certs[role].size);
        one.size += c->certs[role].size;
    }
    check_same(c, in, CHAIN_ROLES);
    check_same(c, &one, 1);
}

static void check_table(const struct chain *c, bool again)
{
    static const enum chain_role order[] = {CHAIN_ARK, CHAIN_LEAF, CHAIN_ASK};
    struct coco_snp_table table;
    struct why why = {""};
    uint8_t *bytes = NULL;
    size_t size = 0;
    int r = chain_build_table(c, NULL, &bytes, &size, &why);

    if (r < 0) {
        check_refusal(r, &why);
        return;
    }
    REQUIRE(size <= COCO_SNP_TABLE_MAX);
    REQUIRE(coco_snp_table_decode(bytes, size, &table) == 0 && table.n_entries == 3);
    REQUIRE(table.size == size && snp_is_canonical(bytes, &table));
    for (size_t i = 0; i < 3; i++) {
        const struct chain_cert *cert = &c->certs[order[i]];
        REQUIRE(table.entries[i].length == cert->size);
        REQUIRE(memcmp(table.entries[i].data, cert->der, cert->size) == 0);
    }
    const struct chain_input in = {.name = "table", .data = bytes, .size = size};
    if (again)
        check_same(c, &in, 1);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[FILES_MAX] = {"a", "b", "c", "d"};
    struct coco_reader r = coco_reader_of(data, size);
    struct chain_input in[FILES_MAX];
    struct chain_roots roots;
    struct chain *c = NULL;
    struct why why = {""};
    size_t n = 0;
    uint8_t flags = coco_read_u8(&r);

    for (; n < FILES_MAX && coco_reader_left(&r) >= 2; n++) {
        size_t length = coco_read_u16(&r);
        if (length > coco_reader_left(&r))
            length = coco_reader_left(&r);
        in[n] = (struct chain_input){.name = names[n],
                                     .data = coco_read_bytes(&r, length),
                                     .size = length};
    }
    chain_roots_init(&roots);
    if ((flags & FLAG_TRUST) != 0 && n > 0) {
        int e = chain_roots_add(&roots, &in[0], &why);
        if (e < 0)
            check_refusal(e, &why);
    }
    bool only_amd = roots.n == 3;
    why.text[0] = '\0';
    int e = chain_parse(in, n, &c, &why);
    if (e < 0) {
        check_refusal(e, &why);
        return 0;
    }
    if ((flags & FLAG_AGAIN) != 0)
        check_again(c);
    e = chain_verify(c, &roots, NOW, &why);
    if (e < 0)
        check_refusal(e, &why);
    REQUIRE(e < 0 || !only_amd);
    check_table(c, (flags & FLAG_AGAIN) != 0);
    chain_free(c);
    return 0;
}
