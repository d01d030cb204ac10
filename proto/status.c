/* SPDX-License-Identifier: MIT */
/*
 * The errno contract as one table, PROTOCOL.md "The errno contract". All functions here are
 * look-ups in it, so a new status is a new row and nothing else.
 *
 * A status outside the contract never harms the guest. For certificates it becomes the empty table
 * with success, since EIO makes a Linux guest destroy its VM communication key; for a quote ERROR,
 * after which a guest may ask again.
 */
#include "status.h"
#include "kvm_abi.h"
#include <assert.h>
#include <errno.h>
#include <stddef.h>

/* Which requests a status may answer. A type that is not known here is answered at once. */
#define HELLO_   (1u << COCO_HELLO / 2)
#define CERTS_   (1u << COCO_CERTS_GET / 2)
#define QUOTE_   (1u << COCO_QUOTE_GET / 2)
#define PING_    (1u << COCO_PING / 2)
#define UNKNOWN_ (1u << (COCO_PING / 2 + 1))
#define ALL_     (HELLO_ | CERTS_ | QUOTE_ | PING_)

#define SUCCESS     COCO_GETQUOTE_SUCCESS
#define ERROR       COCO_GETQUOTE_ERROR
#define UNAVAILABLE COCO_GETQUOTE_SERVICE_UNAVAILABLE

struct row {
    uint32_t status;
    int errnum;         /* this host's number for it */
    unsigned answers;   /* bits above */
    uint32_t kvm_ret;   /* SNP */
    bool empty_table;   /* SNP */
    uint64_t get_quote; /* TDX */
    const char *name;
    const char *text;
    const char *certs_text; /* where more is to be said of that request; NULL: `text` says it */
    const char *quote_text;
};

static const struct row rows[] = {
    {COCO_OK, 0, ALL_, COCO_KVM_SNP_RET_OK, false, SUCCESS, "OK", "done", NULL, NULL},
    {COCO_EIO, EIO, CERTS_ | QUOTE_, COCO_KVM_SNP_RET_EIO, false, ERROR, "EIO",
     "it failed, and asking again will not help",
     "the operator chose that a guest without a certificate chain must not attest",
     "the quoting service refused it or failed; why is in qgsd's journal"},
    {COCO_EAGAIN, EAGAIN, ALL_ | UNKNOWN_, COCO_KVM_SNP_RET_EAGAIN, false, UNAVAILABLE, "EAGAIN",
     "busy: draining, updating, or over a limit",
     "busy: draining, a firmware update, or over a limit",
     "busy: draining, over a limit, or more quotes wait than can be made in time"},
    {COCO_EACCES, EACCES, HELLO_ | CERTS_ | QUOTE_, COCO_KVM_SNP_RET_OK, true, ERROR, "EACCES",
     "this peer may not ask for it", NULL, NULL},
    {COCO_ENODEV, ENODEV, QUOTE_, COCO_KVM_SNP_RET_OK, true, UNAVAILABLE, "ENODEV",
     "no quoting service can be reached", NULL, NULL},
    {COCO_EINVAL, EINVAL, ALL_, COCO_KVM_SNP_RET_OK, true, ERROR, "EINVAL",
     "the request is malformed", NULL, "it is no TDREPORT, or one that contradicts itself"},
    {COCO_ENOSPC, ENOSPC, CERTS_, COCO_KVM_SNP_RET_ENOSPC, false, ERROR, "ENOSPC",
     "the certificate table needs more pages than the guest offers", NULL, NULL},
    {COCO_EBADMSG, EBADMSG, QUOTE_, COCO_KVM_SNP_RET_OK, true, ERROR, "EBADMSG",
     "the quoting service's answer is malformed or not bound to the TDREPORT", NULL, NULL},
    {COCO_EMSGSIZE, EMSGSIZE, QUOTE_, COCO_KVM_SNP_RET_OK, true, ERROR, "EMSGSIZE",
     "the quote is larger than the guest's buffer", NULL, NULL},
    {COCO_EOPNOTSUPP, EOPNOTSUPP, HELLO_ | CERTS_ | QUOTE_ | UNKNOWN_, COCO_KVM_SNP_RET_OK, true,
     UNAVAILABLE, "EOPNOTSUPP", "not served on this host",
     "SEV-SNP certificates are not served on this host", "TDX quotes are not served on this host"},
    {COCO_ETIMEDOUT, ETIMEDOUT, QUOTE_, COCO_KVM_SNP_RET_OK, true, UNAVAILABLE, "ETIMEDOUT",
     "the deadline has passed", NULL, NULL},
    {COCO_ECANCELED, ECANCELED, CERTS_ | QUOTE_, COCO_KVM_SNP_RET_OK, true, ERROR, "ECANCELED",
     "the client cancelled the request", NULL, NULL},
};

/* Numbers on the wire are those of Linux on x86, and KVM takes its own four from the same list. */
static_assert(COCO_EIO == COCO_KVM_SNP_RET_EIO, "KVM_EXIT_SNP_REQ_CERTS");
static_assert(COCO_EAGAIN == COCO_KVM_SNP_RET_EAGAIN, "KVM_EXIT_SNP_REQ_CERTS");
static_assert(COCO_ENOSPC == COCO_KVM_SNP_RET_ENOSPC, "KVM_EXIT_SNP_REQ_CERTS");
static_assert(COCO_EAGAIN == COCO_KVM_MAP_GPA_RET_EAGAIN, "KVM_HC_MAP_GPA_RANGE");
static_assert(COCO_EINVAL == COCO_KVM_MAP_GPA_RET_EINVAL, "KVM_HC_MAP_GPA_RANGE");
#if defined(__linux__) && defined(__x86_64__)
static_assert(COCO_EIO == EIO && COCO_EAGAIN == EAGAIN && COCO_EACCES == EACCES, "Linux, x86");
static_assert(COCO_ENODEV == ENODEV && COCO_EINVAL == EINVAL && COCO_ENOSPC == ENOSPC,
              "Linux, x86");
static_assert(COCO_EBADMSG == EBADMSG && COCO_EMSGSIZE == EMSGSIZE, "Linux, x86");
static_assert(COCO_EOPNOTSUPP == EOPNOTSUPP && COCO_ETIMEDOUT == ETIMEDOUT, "Linux, x86");
static_assert(COCO_ECANCELED == ECANCELED, "Linux, x86");
#endif

static const struct row *find(uint32_t status)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].status == status)
            return &rows[i];
    return NULL;
}

bool coco_status_known(uint32_t status)
{
    return find(status) != NULL;
}

const char *coco_status_name(uint32_t status)
{
    const struct row *row = find(status);

    return row ? row->name : "E?";
}

const char *coco_status_text(uint32_t status)
{
    const struct row *row = find(status);

    return row ? row->text : "a status outside the contract";
}

const char *coco_status_text_for(uint16_t request_type, uint32_t status)
{
    const struct row *row = find(status);

    if (row && request_type == COCO_CERTS_GET && row->certs_text)
        return row->certs_text;
    if (row && request_type == COCO_QUOTE_GET && row->quote_text)
        return row->quote_text;
    return coco_status_text(status);
}

bool coco_status_valid_for(uint16_t request_type, uint32_t status)
{
    const struct row *row = find(status);

    if (!row || coco_type_class(request_type) != COCO_CLASS_REQUEST)
        return false;
    return row->answers & (request_type <= COCO_PING ? 1u << request_type / 2 : UNKNOWN_);
}

struct coco_snp_outcome coco_status_to_snp(uint32_t status)
{
    const struct row *row = find(status);

    return (struct coco_snp_outcome){.kvm_ret = row ? row->kvm_ret : COCO_KVM_SNP_RET_OK,
                                     .empty_table = !row || row->empty_table};
}

uint64_t coco_status_to_getquote(uint32_t status)
{
    const struct row *row = find(status);

    return row ? row->get_quote : ERROR;
}

int coco_status_to_errno(uint32_t status)
{
    const struct row *row = find(status);

    return row ? row->errnum : EIO;
}

uint32_t coco_status_from_errno(int errnum)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].errnum == errnum)
            return rows[i].status;
    return COCO_EIO;
}
