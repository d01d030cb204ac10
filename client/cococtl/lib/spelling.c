/* SPDX-License-Identifier: MIT */
/* What people write, turned into the one spelling that kds.c reads. Nothing is guessed: a level
 * that is missing, or there twice, is refused there or here. */
#include "lib/spelling.h"
#include "lib/kds.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* A stepping ("Milan-B0") is of no account. */
enum coco_snp_product spelled_product(const char *name)
{
    char plain[32];
    size_t n = strcspn(name, "-");

    if (n >= sizeof(plain))
        return COCO_SNP_UNKNOWN_PRODUCT;
    memcpy(plain, name, n);
    plain[n] = 0;
    return coco_snp_product_of_text(plain);
}

/* The digits of a decimal number without leading zeros, moved over; NULL: it is none. */
static const char *level_of(const char **text, size_t *ret_digits)
{
    const char *from = *text;

    from += strspn(from, "0");
    size_t n = strspn(from, "0123456789");
    if (from + n == *text)
        return NULL;
    *text = from + n;
    *ret_digits = n;
    return n > 0 ? from : "0";
}

static bool append_level(char out[SPELLED_TCB_SIZE], size_t *used, const char *digits, size_t n)
{
    int more = snprintf(out + *used, SPELLED_TCB_SIZE - *used, "%s%.*s", *used ? "." : "",
                        (int)(n > 0 ? n : 1), digits);

    *used += (size_t)more;
    return *used < SPELLED_TCB_SIZE;
}

/* "blSPL=03&teeSPL=00&…" or "bl03_tee00_…", in any order, into those that are there of
 * BL.TEE.SNP.UCODE.FMC. False: it is not spelled so. */
static bool read_named_levels(const char *text, char out[SPELLED_TCB_SIZE])
{
    static const char *const names[] = {"bl", "tee", "snp", "ucode", "fmc"};
    const char *digits[5] = {NULL};
    size_t n_digits[5] = {0}, used = 0;

    while (*text) {
        size_t i = 0;
        while (i < 5 && strncasecmp(text, names[i], strlen(names[i])) != 0)
            i++;
        if (i == 5 || digits[i])
            return false;
        text += strlen(names[i]);
        if (strncasecmp(text, "SPL=", 4) == 0)
            text += 4;
        digits[i] = level_of(&text, &n_digits[i]);
        if (!digits[i] || (*text && *text != '&' && *text != '_'))
            return false;
        text += *text != 0;
    }
    for (size_t i = 0; i < 5; i++)
        if (digits[i] && !append_level(out, &used, digits[i], n_digits[i]))
            return false;
    return used > 0;
}

static bool read_dotted_levels(const char *text, char out[SPELLED_TCB_SIZE])
{
    size_t used = 0, n;

    for (;;) {
        const char *digits = level_of(&text, &n);
        if (!digits || !append_level(out, &used, digits, n))
            return false;
        if (!*text)
            return true;
        if (*text++ != '.')
            return false;
    }
}

void spelled_tcb(const char *text, char out[SPELLED_TCB_SIZE])
{
    if (!read_named_levels(text, out) && !read_dotted_levels(text, out))
        (void)snprintf(out, SPELLED_TCB_SIZE, "%.*s", (int)SPELLED_TCB_SIZE - 1, text);
}

int spelled_target(const char *product, const char *chip_id, const char *tcb,
                   struct kds_target *ret, struct why *why)
{
    enum coco_snp_product known = spelled_product(product);
    char levels[SPELLED_TCB_SIZE];

    if (strncasecmp(chip_id, "0x", 2) == 0)
        chip_id += 2;
    spelled_tcb(tcb, levels);
    return kds_target_parse(known ? coco_snp_product_name(known) : product, chip_id, levels, ret,
                            why);
}
