/* SPDX-License-Identifier: MIT */
/*
 * The firmware of an SNP host: it signs a report under the TCB and keys in force when it is asked.
 * One mutex orders updates, which replace all of the state, and reports, as the real one's command
 * mutex does. It references its keys and must outlive the VMs that use it.
 */
#include "kvm_model.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct snp_firmware {
    pthread_mutex_t lock;
    char product[16];
    uint8_t chip_id[SNP_PKI_CHIP_ID_SIZE];
    struct snp_firmware_state state;
    unsigned reports;
};

struct snp_firmware *snp_firmware_new(const char *product,
                                      const uint8_t chip_id[SNP_PKI_CHIP_ID_SIZE])
{
    struct snp_firmware *fw = calloc(1, sizeof(*fw));

    if (!fw || strlen(product) >= sizeof(fw->product) || pthread_mutex_init(&fw->lock, NULL) != 0) {
        free(fw);
        return NULL;
    }
    memcpy(fw->product, product, strlen(product) + 1);
    memcpy(fw->chip_id, chip_id, snp_report_chip_size(product));
    return fw;
}

void snp_firmware_free(struct snp_firmware *fw)
{
    if (!fw)
        return;
    EVP_PKEY_free(fw->state.vcek);
    EVP_PKEY_free(fw->state.vlek);
    pthread_mutex_destroy(&fw->lock);
    free(fw);
}

static EVP_PKEY *reference(EVP_PKEY *key)
{
    return key && EVP_PKEY_up_ref(key) == 1 ? key : NULL;
}

void snp_firmware_set(struct snp_firmware *fw, const struct snp_firmware_state *state)
{
    struct snp_firmware_state next = *state;

    next.vcek = reference(state->vcek);
    next.vlek = reference(state->vlek);
    pthread_mutex_lock(&fw->lock);
    struct snp_firmware_state old = fw->state;
    fw->state = next;
    pthread_mutex_unlock(&fw->lock);
    EVP_PKEY_free(old.vcek);
    EVP_PKEY_free(old.vlek);
}

void snp_firmware_use_leaf(struct snp_firmware *fw, const struct snp_pki_leaf *leaf,
                           struct snp_pki_tcb tcb)
{
    struct snp_firmware_state state = {.current = tcb,
                                       .committed = tcb,
                                       .reported = tcb,
                                       .vlek_en = leaf->vlek};

    if (leaf->vlek)
        state.vlek = leaf->key;
    else
        state.vcek = leaf->key;
    snp_firmware_set(fw, &state);
}

void snp_firmware_get(struct snp_firmware *fw, struct snp_firmware_state *ret)
{
    pthread_mutex_lock(&fw->lock);
    *ret = fw->state;
    pthread_mutex_unlock(&fw->lock);
    ret->vcek = ret->vlek = NULL;
}

unsigned snp_firmware_reports(struct snp_firmware *fw)
{
    pthread_mutex_lock(&fw->lock);
    unsigned n = fw->reports;
    pthread_mutex_unlock(&fw->lock);
    return n;
}

/* KEY_SEL; the lock is held. */
static uint32_t select_key(const struct snp_firmware *fw, uint32_t key_sel,
                           enum snp_signing_key *ret)
{
    if (key_sel > 2)
        return SNP_STATUS_INVALID_PARAM;
    if (key_sel == 2 && !fw->state.vlek_en)
        return SNP_STATUS_INVALID_KEY;
    if (fw->state.vlek_en && key_sel != 1)
        *ret = SNP_SIGNED_BY_VLEK;
    else
        *ret = fw->state.mask_chip_key ? SNP_SIGNED_BY_NONE : SNP_SIGNED_BY_VCEK;
    return SNP_STATUS_OK;
}

void snp_firmware_answer(struct snp_firmware *fw, const struct snp_report_request *request,
                         struct snp_report_response *ret)
{
    struct snp_report_fields fields = {.version = 3, .vmpl = request->vmpl};

    pthread_mutex_lock(&fw->lock);
    const struct snp_firmware_state *state = &fw->state;
    uint32_t status = select_key(fw, request->key_sel, &fields.signing_key);
    fields.product = fw->product;
    memcpy(fields.report_data, request->report_data, sizeof(fields.report_data));
    fields.current = state->current;
    fields.committed = fields.launch = state->committed;
    fields.reported = state->reported;
    fields.mask_chip_key = state->mask_chip_key;
    if (!state->mask_chip_id)
        memcpy(fields.chip_id, fw->chip_id, sizeof(fields.chip_id));
    EVP_PKEY *key = fields.signing_key == SNP_SIGNED_BY_VLEK ? state->vlek : state->vcek;
    if (status == SNP_STATUS_OK && snp_report_build(&fields, key, ret->report) < 0)
        status = SNP_STATUS_INVALID_KEY;
    fw->reports++;
    pthread_mutex_unlock(&fw->lock);
    ret->valid = true;
    ret->status = status;
}
