/* SPDX-License-Identifier: MIT */
/*
 * Taking an input apart into certificates: PEM, DER or a GHCB table is decided by its bytes.
 *
 * PEM is a text with blocks from a BEGIN line to an END line (RFC 7468). Text outside of them
 * (section 2) is passed over, as `openssl x509 -text`, PKCS#12 exports and people write it; but an
 * END line without its BEGIN is refused, since a certificate is missing there. LF, CR or CRLF; a
 * byte order mark of UTF-8 counts as white space. Base64 must be canonical: full quanta, padding
 * only at the end, its spare bits zero. A refusal names what was put beside a certificate by
 * accident: a private key above all, which must not lie where cocod can read it.
 *
 * DER is one certificate, or several behind each other and nothing else. Whether the bytes are a
 * certificate at all is not decided here.
 *
 * A table's blobs are PEM or DER in their turn. An entry with another GUID than a certificate's is
 * the provider's own, and nobody's fault.
 *
 * Time is linear in the input's size.
 */
#include "base/sys.h"
#include "base64.h"
#include "bytes.h"
#include "certs/chain/parts.h"
#include "snp_table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char begin_mark[] = "-----BEGIN ";
static const char end_mark[] = "-----END ";

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

/* Base64 up to the first '-'. The bytes go to `out`, which is as large as the input. False: it is
 * not canonical. */
static bool decode_base64(struct coco_reader *r, uint8_t *out, size_t *ret_size)
{
    size_t n = 0;

    while (coco_reader_left(r) > 0 && peek(r) != '-') {
        uint8_t c = coco_read_u8(r);
        if (!is_white(c))
            out[n++] = c;
    }
    return base64_decode_into(out, n, out, ret_size);
}

/* One input under the knife. */
struct split {
    const struct chain_input *input;
    const struct chain_taker *taker;
    struct why *why;
    uint8_t *scratch; /* of PEM: as large as the input */
};

/* Of a part whose verdict this is: what is wrong with it is in s->why. */
static int part_refused(const struct split *s, int verdict)
{
    const struct chain_taker *taker = s->taker;

    return taker->leave ? taker->leave(taker->userdata, true, s->why->text) : verdict;
}

/* --- PEM -------------------------------------------------------------------------------------- */

#define LABEL_SIZE 48u

enum line {
    LINE_NONE, /* the text is over */
    LINE_BEGIN,
    LINE_END,
};

/* Moves behind the mark of the next BEGIN or END line. */
static enum line find_line(struct coco_reader *r)
{
    while (coco_reader_left(r) > 0) {
        while (move_over(r, " ") || move_over(r, "\t") || move_over(r, "\xef\xbb\xbf"))
            ;
        if (move_over(r, begin_mark))
            return LINE_BEGIN;
        if (move_over(r, end_mark))
            return LINE_END;
        while (coco_reader_left(r) > 0) {
            uint8_t c = coco_read_u8(r);
            if (c == '\n' || c == '\r')
                break;
        }
    }
    return LINE_NONE;
}

/* How many lines there are of a kind. */
static unsigned count_lines(const struct chain_input *input, enum line wanted)
{
    struct coco_reader r = coco_reader_of(input->data, input->size);
    unsigned n = 0;
    enum line line;

    while ((line = find_line(&r)) != LINE_NONE)
        n += line == wanted;
    return n;
}

/* What to do about a label (RFC 7468, section 5.1) that is no certificate's; NULL: it is. */
static const char *refused_label(const char *label, bool crls)
{
    static const char *const wanted[] = {"CERTIFICATE", "X509 CERTIFICATE", "X.509 CERTIFICATE"};
    static const char crl[] = "X509 CRL";
    static const struct {
        const char *label, *advice;
    } others[] = {
        {crl, "a revocation list belongs into the store (cococtl certs import)"},
        {"CERTIFICATE REQUEST", "it asks for a certificate, and is none"},
        {"NEW CERTIFICATE REQUEST", "it asks for a certificate, and is none"},
        {"PKCS7", "take the certificates out of it (openssl pkcs7 -print_certs)"},
        {"CMS", "take the certificates out of it (openssl pkcs7 -print_certs)"},
        {"TRUSTED CERTIFICATE",
         "it is OpenSSL's own; write it plainly (openssl x509 -in … -out …)"},
    };

    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        if (strcmp(label, wanted[i]) == 0)
            return NULL;
    if (crls && strcmp(label, crl) == 0)
        return NULL;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (strcmp(label, others[i].label) == 0)
            return others[i].advice;
    return "only CERTIFICATE is wanted";
}

/* The rest of a BEGIN line: the label, which must be one that is wanted. */
static int read_label(const struct split *s, struct coco_reader *r, char label[LABEL_SIZE])
{
    const char *name = s->input->name;
    size_t n = 0;

    while (coco_reader_left(r) > 0 && peek(r) != '-' && n < LABEL_SIZE - 1) {
        uint8_t c = coco_read_u8(r);
        label[n++] = c >= 0x20 && c < 0x7F ? (char)c : '?';
    }
    label[n] = '\0';
    if (strstr(label, "PRIVATE KEY"))
        return why_set(s->why, -EBADMSG,
                       "%s holds a private key, which has no place beside certificates that "
                       "are given to guests: remove it",
                       name);
    const char *advice = refused_label(label, s->taker->crls);
    if (advice)
        return why_set(s->why, -EBADMSG, "%s holds a PEM block \"%s\": %s", name, label, advice);
    if (!move_over(r, "-----") || (coco_reader_left(r) > 0 && !is_white(peek(r))))
        return why_set(s->why, -EBADMSG, "%s has a damaged BEGIN %s line%s", name, label,
                       peek(r) == '\\' ? ": its line breaks are spelled \\n, and must be "
                                         "line breaks (printf '%b')"
                                       : "");
    return 0;
}

/* What follows a BEGIN line's mark, to its END line. */
static int take_block(const struct split *s, struct coco_reader *r, unsigned number, unsigned n)
{
    char source[WHY_SIZE / 2], label[LABEL_SIZE] = "";
    size_t size = 0;
    int ret = read_label(s, r, label);

    if (ret == 0 && (!decode_base64(r, s->scratch, &size) || !move_over(r, end_mark) ||
                     !move_over(r, label) || !move_over(r, "-----")))
        ret = why_set(s->why, -EBADMSG, "%s is damaged: its certificate %u is not complete base64",
                      s->input->name, number);
    if (ret < 0)
        return ret;
    if (n == 1)
        (void)snprintf(source, sizeof(source), "%s", s->input->name);
    else
        (void)snprintf(source, sizeof(source), "%s, certificate %u", s->input->name, number);
    ret = s->taker->take(s->taker->userdata, s->scratch, size, source);
    return ret < 0 ? ret : 1;
}

static int split_pem(struct split *s)
{
    struct coco_reader r = coco_reader_of(s->input->data, s->input->size);
    unsigned n_blocks = count_lines(s->input, LINE_BEGIN);
    bool damaged = false; /* the last block was, so that its END line is still to come */
    unsigned number = 0;
    enum line line;
    int ret = 1;

    s->scratch = sys.alloc(s->input->size);
    if (!s->scratch)
        return -ENOMEM;
    while (ret >= 0 && (line = find_line(&r)) != LINE_NONE) {
        bool expected = damaged;

        ret = 1;
        if (line == LINE_BEGIN) {
            struct coco_reader block = r;
            ret = take_block(s, &block, ++number, n_blocks);
            if (ret > 0)
                r = block;
        } else if (!expected) {
            ret = why_set(s->why, -EBADMSG,
                          "%s has an END line without its BEGIN line: a part of it is missing",
                          s->input->name);
        }
        damaged = ret == -EBADMSG && line == LINE_BEGIN;
        if (ret == -EBADMSG)
            ret = part_refused(s, ret);
    }
    sys.free(s->scratch);
    return ret < 0 ? ret : 0;
}

/* --- DER -------------------------------------------------------------------------------------- */

/* One certificate; or several, where they fill the input exactly. */
static int split_der(const struct split *s)
{
    const struct chain_input *in = s->input;
    char source[WHY_SIZE / 2];
    unsigned number = 0;
    size_t at = 0, n = 0;

    while (at < in->size && (n = chain_der_size(in->data + at, in->size - at)) > 0)
        at += n;
    if (at < in->size || chain_der_size(in->data, in->size) == in->size)
        return s->taker->take(s->taker->userdata, in->data, in->size, in->name);
    for (at = 0; at < in->size; at += n) {
        n = chain_der_size(in->data + at, in->size - at);
        (void)snprintf(source, sizeof(source), "%s, certificate %u", in->name, ++number);
        int ret = s->taker->take(s->taker->userdata, in->data + at, n, source);
        if (ret < 0)
            return ret;
    }
    return 0;
}

/* --- either, and tables ----------------------------------------------------------------------- */

static int split_certificates(const struct split *of, const struct chain_input *whole)
{
    struct chain_input input = *whole;
    struct split s = {.input = &input, .taker = of->taker, .why = of->why};

    /* (A length below 128, in one byte, is no certificate's, but could be a text's.) */
    if (input.size > 1 && input.data[0] == 0x30 && input.data[1] > 0x80)
        return split_der(&s);
    /* Some write a C string with its end, or fill a page. */
    while (input.size > 0 && input.data[input.size - 1] == 0)
        input.size--;
    if (input.size > 0 && !memchr(input.data, 0, input.size) &&
        count_lines(&input, LINE_BEGIN) + count_lines(&input, LINE_END) > 0)
        return split_pem(&s);
    if (whole->size > 0 && whole->data[0] == 0x30)
        return s.taker->take(s.taker->userdata, whole->data, whole->size, whole->name);
    const char *what = chain_what_is(whole->data, whole->size);
    return part_refused(&s, why_set(s.why, -EBADMSG, "%s %s", whole->name,
                                    what ? what : "is neither PEM nor DER"));
}

/* Does any of the first entries have a GUID of a certificate or CRL? */
static bool begins_like_table(const struct chain_input *input)
{
    static const uint8_t zeros[16];
    struct coco_reader r = coco_reader_of(input->data, input->size);

    for (unsigned i = 0; i < COCO_SNP_TABLE_ENTRIES_MAX; i++) {
        const uint8_t *entry = coco_read_bytes(&r, COCO_SNP_ENTRY_SIZE);
        if (!entry || memcmp(entry, zeros, sizeof(zeros)) == 0)
            return false;
        if (coco_snp_kind_of(entry) != COCO_SNP_OTHER)
            return true;
    }
    return false;
}

static int pass_over(const struct split *s, const struct coco_snp_entry *entry)
{
    char text[WHY_SIZE], guid[33];

    if (!s->taker->leave)
        return 0;
    chain_hex(guid, entry->guid, sizeof(entry->guid));
    (void)snprintf(text, sizeof(text),
                   "%.200s has an entry of %u bytes with the GUID %.8s-%.4s-%.4s-%.4s-%.12s, which "
                   "is none of a certificate, but somebody's own: it is passed over",
                   s->input->name, entry->length, guid, guid + 8, guid + 12, guid + 16, guid + 20);
    return s->taker->leave(s->taker->userdata, false, text);
}

static int split_table(const struct split *s)
{
    const struct chain_input *input = s->input;
    char name[WHY_SIZE / 2];
    struct coco_snp_table table;
    int ret = 0;

    if (coco_snp_table_decode(input->data, input->size, &table) < 0)
        return part_refused(s, why_set(s->why, -EBADMSG,
                                       "%s begins like a GHCB certificate table, but an entry lies "
                                       "outside of its %zu bytes, or the list of entries has no "
                                       "end: it was cut short or damaged",
                                       input->name, input->size));
    for (size_t i = 0; i < table.n_entries && ret == 0; i++) {
        const struct coco_snp_entry *entry = &table.entries[i];
        enum coco_snp_kind kind = coco_snp_kind_of(entry->guid);
        (void)snprintf(name, sizeof(name), "%s, %s entry", input->name, coco_snp_kind_name(kind));
        const struct chain_input blob = {.name = name, .data = entry->data, .size = entry->length};
        if (kind == COCO_SNP_OTHER)
            ret = pass_over(s, entry);
        else if (kind != COCO_SNP_CRL || s->taker->crls)
            ret = split_certificates(s, &blob);
    }
    return ret;
}

int chain_split(const struct chain_input *input, const struct chain_taker *taker, struct why *why)
{
    static const uint8_t zeros[COCO_SNP_EMPTY_TABLE_SIZE];
    const struct split s = {.input = input, .taker = taker, .why = why};

    if (input->size > CHAIN_FILE_MAX)
        return part_refused(&s, why_set(why, -EBADMSG,
                                        "%s is larger than %u bytes: not a certificate file",
                                        input->name, CHAIN_FILE_MAX));
    if (input->size >= sizeof(zeros) && memcmp(input->data, zeros, sizeof(zeros)) == 0)
        return part_refused(&s,
                            why_set(why, -EBADMSG,
                                    "%s is the empty certificate table: it holds no certificate",
                                    input->name));
    return begins_like_table(input) ? split_table(&s) : split_certificates(&s, input);
}
