/* SPDX-License-Identifier: MIT */
/*
 * A table file, opened in a folder of its own.
 */
#pragma once

#include "certs/table_file.h"
#include "coco_limits.h"
#include "rig.h"
#include "snp_table.h"
#include <sys/stat.h>
#include <sys/wait.h>

static char path[128];
static struct table_file file;
static struct table_file_options options;

static inline void setup(void)
{
    sys = sys_real;
    snprintf(path, sizeof(path), "%s/table", rig_tmpdir());
    options = (struct table_file_options){.path = path, .mode = 0644, .group = (gid_t)-1};
    ck_assert_int_eq(table_file_open(&file, &options), 0);
}

static inline void teardown(void)
{
    sys = sys_real;
    table_file_close(&file);
    ck_assert_int_eq(file.fd, -1);
    table_file_close(&file); /* harmless */
}

/* A table whose blobs are `fill` throughout. */
static inline uint8_t *make_table(uint8_t fill, size_t blob_size, size_t *ret_size)
{
    struct coco_snp_table table = {0};
    uint8_t *blob = malloc(blob_size);

    ck_assert_ptr_nonnull(blob);
    memset(blob, fill, blob_size);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_ARK, blob, blob_size), 0);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_VCEK, blob, blob_size / 2), 0);
    ck_assert_int_eq(coco_snp_table_add(&table, COCO_SNP_ASK, blob, blob_size), 0);
    *ret_size = coco_snp_table_layout(&table);
    uint8_t *out = malloc(*ret_size);
    ck_assert_ptr_nonnull(out);
    ck_assert_int_eq(coco_snp_table_encode(&table, out, *ret_size), 0);
    free(blob);
    return out;
}
