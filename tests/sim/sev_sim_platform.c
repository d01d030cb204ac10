/* SPDX-License-Identifier: MIT */
/*
 * sev_sim.h: a made-up platform, from the words of a test, a command line or a platform file.
 */
#include "sev_sim.h"
#include "status.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const fault_names[SEV_SIM_FAULTS] = {
    [SEV_SIM_OK] = "ok",       [SEV_SIM_ERROR] = "error",       [SEV_SIM_SILENT] = "silent",
    [SEV_SIM_SLOW] = "slow",   [SEV_SIM_GARBAGE] = "garbage",   [SEV_SIM_SHORT] = "short",
    [SEV_SIM_LONG] = "long",   [SEV_SIM_WRONG_ID] = "wrong_id", [SEV_SIM_WRONG_OP] = "wrong_op",
    [SEV_SIM_CLOSE] = "close",
};

static const struct {
    enum coco_snp_product product;
    uint32_t family, model;
} cpus[] = {
    {COCO_SNP_MILAN, 0x19, 0x01},
    {COCO_SNP_GENOA, 0x19, 0x11},
    {COCO_SNP_TURIN, 0x1a, 0x02},
    {COCO_SNP_VENICE, 0x1a, 0x50},
};

static const struct {
    const char *name;
    uint32_t flag;
} flags[] = {
    {"mask_chip_id", COCO_SEV_MASK_CHIP_ID},
    {"mask_chip_key", COCO_SEV_MASK_CHIP_KEY},
    {"vlek_en", COCO_SEV_VLEK_EN},
    {"snp_init", COCO_SEV_SNP_INIT},
};

void sev_sim_platform_init(struct sev_sim_platform *platform)
{
    *platform = (struct sev_sim_platform){
        .cpu_family = 0x19,
        .cpu_model = 0x01,
        .flags = COCO_SEV_SNP_INIT,
        .status = COCO_EIO,
        .fw_error = COCO_SEV_FW_NOT_CALLED,
    };
    for (unsigned i = 0; i < sizeof(platform->chip_id); i++)
        platform->chip_id[i] = (uint8_t)(i + 1);
    (void)sev_sim_set_field(platform, "tcb", "4.0.22.213");
}

static bool set_product(struct sev_sim_platform *p, const char *value)
{
    enum coco_snp_product product = coco_snp_product_of_name(value);

    for (size_t i = 0; i < sizeof(cpus) / sizeof(cpus[0]); i++) {
        if (cpus[i].product != product)
            continue;
        p->cpu_family = cpus[i].family;
        p->cpu_model = cpus[i].model;
        p->current_tcb = p->reported_tcb = 0;
        return true;
    }
    return false;
}

static bool set_tcb(struct sev_sim_platform *p, const char *value, bool current, bool reported)
{
    enum coco_snp_product product = coco_snp_product_of_cpu(p->cpu_family, p->cpu_model);
    struct coco_snp_tcb tcb;
    uint64_t version;

    if (coco_snp_tcb_parse(product, value, &tcb) < 0 ||
        coco_snp_tcb_encode(product, &tcb, &version) < 0)
        return false;
    if (current)
        p->current_tcb = version;
    if (reported)
        p->reported_tcb = version;
    return true;
}

static bool set_chip_id(struct sev_sim_platform *p, const char *value)
{
    uint8_t id[COCO_SNP_CHIP_ID_SIZE] = {0};
    size_t n = strlen(value);

    if (n == 0 || n % 2 != 0 || n > 2 * sizeof(id) || strspn(value, "0123456789abcdefABCDEF") != n)
        return false;
    for (size_t i = 0; i < n; i += 2)
        id[i / 2] = (uint8_t)strtoul((char[3]){value[i], value[i + 1]}, NULL, 16);
    memcpy(p->chip_id, id, sizeof(id));
    return true;
}

static bool set_number(const char *value, uint32_t *out)
{
    char *end;
    unsigned long n = strtoul(value, &end, 0);

    if (*value < '0' || *value > '9' || *end || n > UINT32_MAX)
        return false;
    *out = (uint32_t)n;
    return true;
}

static bool set_fault(struct sev_sim_platform *p, const char *value)
{
    for (int i = 0; i < SEV_SIM_FAULTS; i++) {
        if (strcmp(value, fault_names[i]) == 0) {
            p->fault = (enum sev_sim_fault)i;
            return true;
        }
    }
    return false;
}

static bool set_flag(struct sev_sim_platform *p, const char *key, const char *value)
{
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (strcmp(key, flags[i].name) != 0)
            continue;
        if (strcmp(value, "1") == 0)
            p->flags |= flags[i].flag;
        else if (strcmp(value, "0") == 0)
            p->flags &= ~flags[i].flag;
        else
            return false;
        return true;
    }
    return false;
}

bool sev_sim_set_field(struct sev_sim_platform *platform, const char *key, const char *value)
{
    if (strcmp(key, "product") == 0)
        return set_product(platform, value);
    if (strcmp(key, "chip_id") == 0)
        return set_chip_id(platform, value);
    if (strcmp(key, "tcb") == 0)
        return set_tcb(platform, value, true, true);
    if (strcmp(key, "current") == 0)
        return set_tcb(platform, value, true, false);
    if (strcmp(key, "reported") == 0)
        return set_tcb(platform, value, false, true);
    if (strcmp(key, "fault") == 0)
        return set_fault(platform, value);
    if (strcmp(key, "status") == 0)
        return set_number(value, &platform->status);
    if (strcmp(key, "fw_error") == 0)
        return set_number(value, &platform->fw_error);
    if (strcmp(key, "delay_ms") == 0)
        return set_number(value, &platform->delay_ms);
    return set_flag(platform, key, value);
}

int sev_sim_read_file(const char *path, struct sev_sim_platform *platform)
{
    FILE *f = fopen(path, "re");
    char line[512], key[64], value[256], more;
    int r = 0;

    if (!f)
        return -errno;
    while (r == 0 && fgets(line, sizeof(line), f)) {
        line[strcspn(line, "#")] = 0;
        int n = sscanf(line, "%63s %255s %c", key, value, &more);
        if (n > 0 && (n != 2 || !sev_sim_set_field(platform, key, value)))
            r = -EINVAL;
    }
    (void)fclose(f);
    return r;
}
