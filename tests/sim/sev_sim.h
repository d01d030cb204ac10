/* SPDX-License-Identifier: MIT */
/*
 * A platform helper for tests, in process or as the program sev-sim: cocod-sev's records about a
 * platform that a test makes up, and a helper's failures.
 */
#pragma once

#include "sev_msg.h"
#include <stdbool.h>
#include <stddef.h>

enum sev_sim_fault {
    SEV_SIM_OK,
    SEV_SIM_ERROR,    /* answers `status` and `fw_error` */
    SEV_SIM_SILENT,   /* reads, never answers */
    SEV_SIM_SLOW,     /* answers after `delay_ms` */
    SEV_SIM_GARBAGE,  /* 128 bytes that are no reply */
    SEV_SIM_SHORT,    /* half a reply, then closes */
    SEV_SIM_LONG,     /* a reply with a byte more */
    SEV_SIM_WRONG_ID, /* a reply to another question */
    SEV_SIM_WRONG_OP,
    SEV_SIM_CLOSE, /* closes without a byte */
    SEV_SIM_FAULTS,
};

struct sev_sim_platform {
    uint32_t cpu_family, cpu_model;
    uint8_t chip_id[COCO_SNP_CHIP_ID_SIZE];
    uint64_t current_tcb, reported_tcb;
    uint32_t flags; /* COCO_SEV_… */

    enum sev_sim_fault fault;
    uint32_t status, fw_error; /* of SEV_SIM_ERROR */
    unsigned delay_ms;         /* of SEV_SIM_SLOW */
};

/* A Milan, initialised, both TCBs 4.0.22.213, no VLEK, chip id 01 02 03 …, no fault. */
void sev_sim_platform_init(struct sev_sim_platform *platform);

/* Sets one field from text; false (and nothing is changed) where there is no such field or value:
 *   product Milan|Genoa|Turin|Venice  clears the TCBs, whose layout it decides
 *   chip_id HEX                    1 to 64 bytes, zeros behind them
 *   tcb T, current T, reported T   BL.TEE.SNP.UCODE[.FMC]; `tcb` is both
 *   vlek_en, mask_chip_id, mask_chip_key, snp_init   0|1
 *   fault NAME                     ok, error, silent, slow, garbage, short, long, wrong_id,
 *                                  wrong_op, close
 *   status N, fw_error N           what `fault error` answers
 *   delay_ms N                     of `fault slow` */
bool sev_sim_set_field(struct sev_sim_platform *platform, const char *key, const char *value);
/* A file's lines "KEY VALUE", in order; '#' begins a comment line. 0, -EINVAL or open's error. */
int sev_sim_read_file(const char *path, struct sev_sim_platform *platform);

/* The bytes that answer a question, and whether the connection ends behind them; 0 bytes: nothing
 * is answered. For tests that play the helper by themselves; SEV_SIM_SLOW is their business. */
#define SEV_SIM_ANSWER_MAX (COCO_SEV_REPLY_SIZE + 1u)
size_t sev_sim_answer(const struct coco_sev_request *request, const struct sev_sim_platform *p,
                      uint8_t out[SEV_SIM_ANSWER_MAX], bool *ret_close);

struct sev_sim;

/* Listens on `path` and answers in a thread. NULL: failed, with errno. */
struct sev_sim *sev_sim_start(const char *path, const struct sev_sim_platform *platform);
/* The same, but the platform is read from a file afresh for each question: whoever renames another
 * file into its place changes the platform in one step. A file that cannot be read: ENODEV. */
struct sev_sim *sev_sim_start_file(const char *path, const char *file);
void sev_sim_stop(struct sev_sim *sim);

/* From now on; also ends a delay that runs. */
void sev_sim_set(struct sev_sim *sim, const struct sev_sim_platform *platform);
/* Questions of that kind so far, answered or not. */
unsigned sev_sim_asked(struct sev_sim *sim, enum coco_sev_op op);
