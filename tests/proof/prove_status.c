/* SPDX-License-Identifier: MIT */
/*
 * The errno contract: status.c. Every translation has an answer for each of the 2^32 numbers, and
 * it is one that KVM, the guest or errno.h has.
 *
 * unit: proto/status.c
 * with: proto/wire.c proto/text.c
 * unwind: 14
 */
#include "proof.h"
#include "status.c"

static bool known(uint32_t s)
{
    return s == 0 || s == 5 || s == 11 || s == 13 || s == 19 || s == 22 || s == 28 || s == 74 ||
           s == 90 || s == 95 || s == 110 || s == 125;
}

/* bound: none
 * broken: s/return find(status) != NULL;/return status <= 125;/
 * refuted: 0 and the eleven codes */
void prove_coco_status_known(void)
{
    uint32_t status;

    SHOW(coco_status_known(status) == known(status), "0 and the eleven codes");
}

/* bound: none
 * broken: s/return row ? row->name : "E?";/return row->name;/
 * refuted: dereference failure */
void prove_coco_status_name(void)
{
    uint32_t status;
    const char *name = coco_status_name(status);

    SHOW(name != NULL && name[0] != 0, "always a name");
}

/* bound: none
 * broken: s/return row ? row->text : ".*";/return row->text;/
 * refuted: dereference failure */
void prove_coco_status_text(void)
{
    uint32_t status;
    const char *text = coco_status_text(status);

    SHOW(text != NULL && text[0] != 0, "always a text");
}

/* bound: none
 * broken: s/ .. row->certs_text)/)/
 * refuted: always a text */
void prove_coco_status_text_for(void)
{
    uint32_t status;
    uint16_t type;
    const char *text = coco_status_text_for(type, status);

    SHOW(text != NULL && text[0] != 0, "always a text");
}

/* bound: none
 * broken: s/if (!row || coco_type_class(request_type) != COCO_CLASS_REQUEST)/if (!row)/
 * refuted: requests alone are answered */
void prove_coco_status_valid_for(void)
{
    uint32_t status;
    uint16_t type;

    if (!coco_status_valid_for(type, status))
        return;
    SHOW(known(status), "0 and the eleven codes");
    SHOW(type < 0x4000 && type % 2 == 0, "requests alone are answered");
}

/* bound: none
 * broken: s/COCO_KVM_SNP_RET_OK, true, ERROR, "EACCES"/COCO_EACCES, true, ERROR, "EACCES"/
 * refuted: one of the four that KVM takes */
void prove_coco_status_to_snp(void)
{
    uint32_t status;
    struct coco_snp_outcome o = coco_status_to_snp(status);

    SHOW(o.kvm_ret == 0 || o.kvm_ret == 5 || o.kvm_ret == 11 || o.kvm_ret == 28,
         "one of the four that KVM takes");
    SHOW(!o.empty_table || o.kvm_ret == 0, "the empty table is a success");
    SHOW(known(status) || o.empty_table, "what is unknown is the empty table");
    SHOW((status == 0) == (o.kvm_ret == 0 && !o.empty_table), "a table where there is one");
    SHOW(o.kvm_ret != 5 || status == 5, "EIO, which costs a guest its key, for EIO alone");
}

/* bound: none
 * broken: s/return row ? row->get_quote : ERROR;/
 *         return row ? row->get_quote : COCO_GETQUOTE_IN_FLIGHT;/
 * refuted: one of three that end a request */
void prove_coco_status_to_getquote(void)
{
    uint32_t status;
    uint64_t s = coco_status_to_getquote(status);

    SHOW(s == COCO_GETQUOTE_SUCCESS || s == COCO_GETQUOTE_ERROR ||
             s == COCO_GETQUOTE_SERVICE_UNAVAILABLE,
         "one of three that end a request");
    SHOW((s == COCO_GETQUOTE_SUCCESS) == (status == 0), "success for 0 alone");
}

/* bound: none
 * broken: s/return row ? row->errnum : EIO;/return row ? row->errnum : 0;/
 * refuted: 0 for success alone */
void prove_coco_status_to_errno(void)
{
    uint32_t status;
    int e = coco_status_to_errno(status);

    SHOW((e == 0) == (status == 0), "0 for success alone");
    SHOW(e >= 0, "positive");
    SHOW(!known(status) || coco_status_from_errno(e) == status, "and back");
}

/* bound: none
 * broken: s/return COCO_EIO;/return (uint32_t)errnum;/
 * refuted: inside the contract */
void prove_coco_status_from_errno(void)
{
    int e;
    uint32_t status = coco_status_from_errno(e);

    SHOW(known(status), "inside the contract");
    SHOW((status == 0) == (e == 0), "0 for success alone");
}
