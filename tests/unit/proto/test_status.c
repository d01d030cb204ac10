/* SPDX-License-Identifier: MIT */
/*
 * The errno contract, spelled out a second time in plain numbers and compared with the table in
 * proto/status.c, over every status that a u32 of the interesting range can carry.
 */
#include "linux_abi.h"
#include "status.h"
#include "support.h"
#include "wire.h"

#define OK_    UINT64_C(0)
#define ERROR_ UINT64_C(0x8000000000000000)
#define AWAY_  UINT64_C(0x8000000000000001)

/* Columns: number, errno, name, may answer (HELLO, CERTS_GET, QUOTE_GET, PING, a type that is not
 * known), KVM's ret, GetQuote status, empty table. */
static const struct {
    uint32_t status;
    int errnum;
    const char *name;
    const char *answers;
    uint64_t kvm_ret;
    uint64_t get_quote;
    bool empty_table;
} contract[] = {
    {0, 0, "OK", "HCQP", 0, OK_, false},
    {5, EIO, "EIO", "CQ", 5, ERROR_, false},
    {11, EAGAIN, "EAGAIN", "HCQPU", 11, AWAY_, false},
    {13, EACCES, "EACCES", "HCQ", 0, ERROR_, true},
    {19, ENODEV, "ENODEV", "Q", 0, AWAY_, true},
    {22, EINVAL, "EINVAL", "HCQP", 0, ERROR_, true},
    {28, ENOSPC, "ENOSPC", "C", 28, ERROR_, false},
    {74, EBADMSG, "EBADMSG", "Q", 0, ERROR_, true},
    {90, EMSGSIZE, "EMSGSIZE", "Q", 0, ERROR_, true},
    {95, EOPNOTSUPP, "EOPNOTSUPP", "HCQU", 0, AWAY_, true},
    {110, ETIMEDOUT, "ETIMEDOUT", "Q", 0, AWAY_, true},
    {125, ECANCELED, "ECANCELED", "CQ", 0, ERROR_, true},
};
#define N_CONTRACT (sizeof(contract) / sizeof(contract[0]))

TEST(every_status_of_the_contract)
{
    for (size_t i = 0; i < N_CONTRACT; i++) {
        uint32_t status = contract[i].status;
        struct coco_snp_outcome snp = coco_status_to_snp(status);

        ck_assert(coco_status_known(status));
        ck_assert_str_eq(coco_status_name(status), contract[i].name);
        ck_assert_uint_gt(strlen(coco_status_text(status)), 0);
        ck_assert_int_eq(coco_status_to_errno(status), contract[i].errnum);
        ck_assert_uint_eq(coco_status_from_errno(contract[i].errnum), status);
        ck_assert_uint_eq(snp.kvm_ret, contract[i].kvm_ret);
        ck_assert_int_eq(snp.empty_table, contract[i].empty_table);
        ck_assert_uint_eq(coco_status_to_getquote(status), contract[i].get_quote);
    }
}

TEST(which_request_a_status_answers)
{
    static const struct {
        uint16_t type;
        char letter;
    } types[] = {{COCO_HELLO, 'H'}, {COCO_CERTS_GET, 'C'}, {COCO_QUOTE_GET, 'Q'},
                 {COCO_PING, 'P'},  {0x0008, 'U'},         {0x3FFE, 'U'}};

    for (size_t i = 0; i < N_CONTRACT; i++)
        for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++)
            ck_assert_int_eq(coco_status_valid_for(types[t].type, contract[i].status),
                             strchr(contract[i].answers, types[t].letter) != NULL);
}

static void speaks_not_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        ck_assert_msg(!strcasestr(text, *words), "%s: in \"%s\"", *words, text);
}

/* A refused quote was once explained by the operator's choice about certificates. */
TEST(no_text_speaks_of_the_other_service)
{
    static const char *const of_snp[] = {"certificate", "SNP", "firmware", "chain", NULL};
    static const char *const of_tdx[] = {"quot", "TDX", "QGS", "TDREPORT", NULL};

    for (size_t i = 0; i < N_CONTRACT; i++) {
        uint32_t status = contract[i].status;
        bool certs = coco_status_valid_for(COCO_CERTS_GET, status);
        bool quotes = coco_status_valid_for(COCO_QUOTE_GET, status);
        if (quotes)
            speaks_not_of(coco_status_text_for(COCO_QUOTE_GET, status), of_snp);
        if (certs)
            speaks_not_of(coco_status_text_for(COCO_CERTS_GET, status), of_tdx);
        if (certs == quotes) {
            speaks_not_of(coco_status_text(status), of_snp);
            speaks_not_of(coco_status_text(status), of_tdx);
        }
    }
    ck_assert_ptr_nonnull(strstr(coco_status_text_for(COCO_QUOTE_GET, COCO_EIO), "qgsd"));
    ck_assert_ptr_nonnull(strstr(coco_status_text_for(COCO_CERTS_GET, COCO_EIO), "certificate"));
    ck_assert_str_eq(coco_status_text_for(COCO_QUOTE_GET, 4711), coco_status_text(4711));
}

TEST(no_status_answers_what_is_no_request)
{
    static const uint16_t types[] = {COCO_HELLO_REPLY, COCO_CERTS_REPLY, COCO_CANCEL,
                                     COCO_GUEST_EVENT, COCO_NOTIFY,      0xC000};

    for (size_t i = 0; i < N_CONTRACT; i++)
        for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++)
            ck_assert(!coco_status_valid_for(types[t], contract[i].status));
}

static bool in_contract(uint32_t status)
{
    for (size_t i = 0; i < N_CONTRACT; i++)
        if (contract[i].status == status)
            return true;
    return false;
}

static void check_unknown(uint32_t status)
{
    struct coco_snp_outcome snp = coco_status_to_snp(status);

    ck_assert(!coco_status_known(status));
    ck_assert_str_eq(coco_status_name(status), "E?");
    ck_assert_uint_gt(strlen(coco_status_text(status)), 0);
    ck_assert_int_eq(coco_status_to_errno(status), EIO);
    /* A guest is never harmed by a number that this side does not know. */
    ck_assert_uint_eq(snp.kvm_ret, 0);
    ck_assert(snp.empty_table);
    ck_assert_uint_eq(coco_status_to_getquote(status), ERROR_);
    ck_assert(!coco_status_valid_for(COCO_CERTS_GET, status));
    ck_assert(!coco_status_valid_for(COCO_QUOTE_GET, status));
}

TEST(unknown_statuses)
{
    for (uint32_t status = 0; status < 4096; status++)
        if (!in_contract(status))
            check_unknown(status);
    check_unknown(0x80000000);
    check_unknown(UINT32_MAX);
    check_unknown((uint32_t)-EAGAIN);
}

TEST(errno_without_a_counterpart_is_eio)
{
    static const int others[] = {ENOENT, ENOMEM, EPERM, ECONNREFUSED, EPIPE, EMFILE, 4095};

    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        ck_assert_uint_eq(coco_status_from_errno(others[i]), 5);
    ck_assert_uint_eq(coco_status_from_errno(-EAGAIN), 5);
}

TEST(kvm_takes_every_outcome)
{
    /* Whatever the server says, KVM_RUN accepts its `ret`; only EIO gives the guest an error. */
    for (uint32_t status = 0; status < 4096; status++) {
        uint64_t ret = coco_status_to_snp(status).kvm_ret;

        ck_assert(ret == 0 || ret == 5 || ret == 11 || ret == 28);
        ck_assert_int_eq(ret == 5, status == 5);
    }
}

TEST(getquote_never_stays_in_flight)
{
    for (uint32_t status = 0; status < 4096; status++) {
        uint64_t end = coco_status_to_getquote(status);

        ck_assert_uint_ne(end, ABI_GETQUOTE_IN_FLIGHT);
        ck_assert_int_eq(end == ABI_GETQUOTE_SUCCESS, status == 0);
    }
}
