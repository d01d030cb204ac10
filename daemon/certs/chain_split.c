/* SPDX-License-Identifier: MIT */
/*
 * Taking an input apart into certificates: PEM or DER is decided by the first bytes.
 *
 * PEM is RFC 7468's strict form: blocks of CERTIFICATE (for an import also of X509 CRL), between them
 * nothing but white space; LF or CRLF (AMD serves Turin's chain with CRLF). Base64 must be canonical: full quanta, padding only at
 * the end, its spare bits zero. What is put beside a certificate by accident is named in the
 * refusal: a private key above all, which must not lie where cocod can read it.
 *
 * DER is one certificate and nothing else. Whether the bytes are a certificate at all is not
 * decided here.
 */
#include "bytes.h"
#include "certs/chain_parts.h"
#include "sys.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char begin_mark[] = "-----BEGIN ";

int chain_refuse(const struct chain_why *why, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (why->text && why->size > 0)
        (void)vsnprintf(why->text, why->size, fmt, ap);
    va_end(ap);
    return -EBADMSG;
}

static bool is_white(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The byte at the cursor, which stays; 0 at the end. */
static uint8_t peek(const struct coco_reader *r)
{
    struct coco_reader copy = *r;

    return coco_reader_left(r) > 0 ? coco_read_u8(&copy) : 0;
}

static void skip_white(struct coco_reader *r)
{
    while (coco_reader_left(r) > 0 && is_white(peek(r)))
        (void)coco_read_u8(r);
}

/* Moves over `text` where it is what comes next. */
static bool move_over(struct coco_reader *r, const char *text)
{
    struct coco_reader copy = *r;
    size_t n = strlen(text);
    const uint8_t *p = coco_read_bytes(&copy, n);

    if (!p || memcmp(p, text, n) != 0)
        return false;
    *r = copy;
    return true;
}

static int base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Base64 up to the first '-'. The bytes go to `out`, which is as large as the input. False: it is
 * not canonical. */
static bool decode_base64(struct coco_reader *r, struct coco_writer *out)
{
    uint32_t quantum = 0;
    unsigned n = 0;
    unsigned padding = 0;

    while (coco_reader_left(r) > 0 && peek(r) != '-') {
        uint8_t c = coco_read_u8(r);
        int value = base64_value(c);
        if (is_white(c))
            continue;
        if (c == '=' && n >= 2 && padding < 2)
            padding++;
        else if (value < 0 || padding > 0)
            return false;
        quantum = quantum << 6 | (uint32_t)(value < 0 ? 0 : value);
        if (++n < 4)
            continue;
        if ((padding == 1 && (quantum & 0xFF) != 0) || (padding == 2 && (quantum & 0xFFFF) != 0))
            return false;
        for (unsigned i = 0; i < 3 - padding; i++)
            coco_write_u8(out, (uint8_t)(quantum >> (16 - 8 * i)));
        quantum = 0;
        n = 0;
        if (padding > 0) {
            skip_white(r);
            return peek(r) == '-' && !out->bad;
        }
    }
    return n == 0 && !out->bad;
}

static const char certificate_label[] = "CERTIFICATE";
static const char crl_label[] = "X509 CRL";
#define LABEL_SIZE 48u

/* The rest of a BEGIN line: the label, which must be CERTIFICATE, or that of a CRL where those are
 * wanted. */
static int read_label(struct coco_reader *r, const struct chain_input *input, bool crls,
                      char label[LABEL_SIZE], const struct chain_why *why)
{
    size_t n = 0;

    while (coco_reader_left(r) > 0 && peek(r) != '-' && n < LABEL_SIZE - 1) {
        uint8_t c = coco_read_u8(r);
        label[n++] = c >= 0x20 && c < 0x7F ? (char)c : '?';
    }
    label[n] = '\0';
    if (strstr(label, "PRIVATE KEY"))
        return chain_refuse(why,
                            "%s holds a private key, which has no place beside certificates that "
                            "are given to guests: remove it",
                            input->name);
    if (strcmp(label, certificate_label) != 0 && !(crls && strcmp(label, crl_label) == 0))
        return chain_refuse(why, "%s holds a PEM block \"%s\"; only CERTIFICATE is wanted",
                            input->name, label);
    if (!move_over(r, "-----") || (peek(r) != '\n' && peek(r) != '\r'))
        return chain_refuse(why, "%s has a damaged BEGIN %s line", input->name, label);
    return 0;
}

static int split_pem(const struct chain_input *input, bool crls, uint8_t *scratch, chain_take take,
                     void *userdata, const struct chain_why *why)
{
    struct coco_reader r = coco_reader_of(input->data, input->size);
    char source[256], label[LABEL_SIZE], end_line[LABEL_SIZE + 16];

    skip_white(&r);
    for (unsigned number = 1; coco_reader_left(&r) > 0; number++) {
        struct coco_writer out = {.data = scratch, .size = input->size};
        if (!move_over(&r, begin_mark))
            return chain_refuse(why,
                                "%s holds text outside of its certificates (byte %zu): keep only "
                                "the lines from BEGIN to END",
                                input->name, r.pos);
        int ret = read_label(&r, input, crls, label, why);
        if (ret < 0)
            return ret;
        (void)snprintf(end_line, sizeof(end_line), "-----END %s-----", label);
        if (!decode_base64(&r, &out) || !move_over(&r, end_line))
            return chain_refuse(why, "%s is damaged: its certificate %u is not complete base64",
                                input->name, number);
        skip_white(&r);
        if (number == 1 && coco_reader_left(&r) == 0)
            (void)snprintf(source, sizeof(source), "%s", input->name);
        else
            (void)snprintf(source, sizeof(source), "%s, certificate %u", input->name, number);
        ret = take(userdata, scratch, out.pos, source);
        if (ret < 0)
            return ret;
    }
    return 0;
}

int chain_split(const struct chain_input *input, bool crls, chain_take take, void *userdata,
                const struct chain_why *why)
{
    struct coco_reader r = coco_reader_of(input->data, input->size);

    if (input->size > CHAIN_FILE_MAX)
        return chain_refuse(why, "%s is larger than %u bytes", input->name, CHAIN_FILE_MAX);
    if (peek(&r) == 0x30)
        return take(userdata, input->data, input->size, input->name);
    skip_white(&r);
    if (coco_reader_left(&r) == 0)
        return chain_refuse(why, "%s is empty", input->name);
    if (peek(&r) != '-')
        return chain_refuse(why, "%s is neither PEM nor DER", input->name);

    uint8_t *scratch = sys.alloc(input->size);
    if (!scratch)
        return -ENOMEM;
    int ret = split_pem(input, crls, scratch, take, userdata, why);
    sys.free(scratch);
    return ret;
}
