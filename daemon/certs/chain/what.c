/* SPDX-License-Identifier: MIT */
/*
 * What is it, if it is no certificate? People give what they have: an archive, a bundle for another
 * program, an attestation report, a proxy's page that was saved in a certificate's place. The name
 * of the thing and what to do help them more than "no certificate".
 *
 * Only bytes that were refused already come here: a wrong guess is a wrong sentence, and no more.
 * Each look is bounded, and together they are linear in the input's size.
 *
 * Layouts: attestation report, "SEV Secure Nested Paging Firmware ABI" (AMD 56860), MSG_REPORT_REQ;
 * certificates of SEV without SNP, "SEV API" (AMD 55766), appendices B and C; wrapped VLEK,
 * SNP_VLEK_LOAD; TDX quotes and reports as in PROTOCOL.md; everything else by its customary first
 * bytes.
 */
#include "bytes.h"
#include "certs/chain/parts.h"
#include <stdbool.h>
#include <string.h>

#define REPORT_SIZE       1184u
#define REPORT_REPLY_SIZE 32u   /* MSG_REPORT_RSP begins with its own header */
#define SEV_CERT_SIZE     2084u /* PDH, PEK, OCA, CEK */
#define HASHSTICK_SIZE    432u
#define TDREPORT_SIZE     1024u

static const char crl[] =
    "is a revocation list (CRL), which belongs into the store: \"cococtl certs import\" takes it";
static const char private_key[] =
    "is a private key, which has no place beside certificates that are given to guests: remove it";

static bool has_at(const uint8_t *data, size_t size, size_t at, const void *bytes, size_t n)
{
    return size >= at && size - at >= n && memcmp(data + at, bytes, n) == 0;
}

static bool contains(const uint8_t *data, size_t size, const char *text)
{
    return memmem(data, size, text, strlen(text)) != NULL;
}

static uint32_t le32_at(const uint8_t *data, size_t size, size_t at)
{
    struct coco_reader r = coco_reader_of(data, size);

    (void)coco_read_bytes(&r, at);
    return coco_read_u32(&r);
}

static bool is_zero(const uint8_t *data, size_t from, size_t to)
{
    while (from < to && data[from] == 0)
        from++;
    return from == to;
}

/* --- DER -------------------------------------------------------------------------------------- */

/* An element's tag and content, moved over; tag 0: there is none. What is BER only is let pass. */
static uint8_t enter(struct coco_reader *r, struct coco_reader *ret_content)
{
    uint8_t tag = coco_read_u8(r);
    uint64_t length = coco_read_u8(r);

    if (length > 0x80) {
        size_t n = (size_t)length - 0x80;
        length = n > 4 ? UINT64_MAX : 0;
        for (size_t i = 0; n <= 4 && i < n; i++)
            length = length << 8 | coco_read_u8(r);
    } else if (length == 0x80) {
        length = coco_reader_left(r);
    }
    if (r->bad || length > coco_reader_left(r)) {
        r->bad = true;
        return 0;
    }
    *ret_content = coco_reader_of(coco_read_bytes(r, (size_t)length), (size_t)length);
    return tag;
}

size_t chain_der_size(const uint8_t *data, size_t size)
{
    struct coco_reader r = coco_reader_of(data, size), content;

    if (size < 2 || data[1] == 0x80 || enter(&r, &content) != 0x30)
        return 0;
    return r.pos;
}

/* INTEGER of one byte; -1: it is another thing. */
static int small_number(struct coco_reader *r)
{
    struct coco_reader content;

    if (enter(r, &content) != 0x02 || coco_reader_left(&content) != 1)
        return -1;
    return coco_read_u8(&content);
}

static bool has_oid(const struct coco_reader *of, const void *oid, size_t n)
{
    struct coco_reader r = *of, content;

    if (enter(&r, &content) != 0x06)
        return false;
    const uint8_t *p = coco_read_bytes(&content, n);
    return p && memcmp(p, oid, n) == 0;
}

/* The first element of what was signed, or of an AlgorithmIdentifier. */
static const char *what_is_signed(struct coco_reader first, struct coco_reader rest)
{
    static const uint8_t pbes[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05};
    struct coco_reader content, copy = first;
    int version = small_number(&copy);
    uint8_t next = enter(&copy, &content);

    if (version == 0 && next == 0x30)
        return "is a request for a certificate (CSR), not the certificate that came of it";
    if (version == 1 && next == 0x30)
        return crl;
    if (has_oid(&first, pbes, sizeof(pbes)))
        return private_key;
    copy = first;
    if (enter(&copy, &content) == 0x06 && enter(&rest, &content) == 0x03)
        return "is a public key without a certificate";
    return NULL;
}

static const char *what_der_is(const uint8_t *data, size_t size)
{
    static const uint8_t pkcs7[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07};
    struct coco_reader r = coco_reader_of(data, size), whole, content;

    if (enter(&r, &whole) != 0x30)
        return size > 1 && (data[1] == 0x82 || data[1] == 0x83)
                   ? "was cut short, or is no DER: fetch it again"
                   : NULL;
    if (has_oid(&whole, pkcs7, sizeof(pkcs7)))
        return "is PKCS#7: take the certificates out of it (openssl pkcs7 -inform DER "
               "-print_certs -in FILE -out certs.pem)";
    struct coco_reader copy = whole;
    int version = small_number(&copy);
    uint8_t next = enter(&copy, &content);
    if (version == 3 && next == 0x30)
        return "is PKCS#12, which may hold private keys: take the certificates out of it (openssl "
               "pkcs12 -nokeys -in FILE -out certs.pem)";
    if ((version == 0 && (next == 0x02 || next == 0x30)) ||
        (version == 1 && (next == 0x04 || next == 0x30)))
        return private_key;
    copy = whole;
    return enter(&copy, &content) == 0x30 ? what_is_signed(content, copy) : NULL;
}

bool chain_is_crl(const uint8_t *data, size_t size)
{
    return what_der_is(data, size) == crl;
}

/* --- what firmware and its tools write -------------------------------------------------------- */

static bool is_report(const uint8_t *data, size_t size, size_t at)
{
    if (size < at || size - at < REPORT_SIZE)
        return false;
    uint32_t version = le32_at(data + at, size - at, 0);
    return version >= 1 && version <= 16 && le32_at(data + at, size - at, 0x30) <= 3 &&
           le32_at(data + at, size - at, 0x34) == 1;
}

/* AMD's own form of certificates, from before SEV-SNP. */
static bool is_legacy_sev(const uint8_t *data, size_t size)
{
    if (size < 64 || le32_at(data, size, 0) != 1)
        return false;
    uint32_t usage = le32_at(data, size, 0x24); /* of AMD's ARK and ASK */
    if ((size == 832 || size == 1600 || size == 1664 || size == 3200) &&
        (usage == 0 || usage == 0x13))
        return true;
    usage = le32_at(data, size, 8); /* of OCA, PEK, PDH and CEK */
    return size >= SEV_CERT_SIZE && (size % SEV_CERT_SIZE == 0 || size % SEV_CERT_SIZE >= 832) &&
           usage >= 0x1001 && usage <= 0x1004;
}

/* go-sev-guest's message Attestation: member 1 is the report, and its member 1 the version. */
static bool is_protobuf(const uint8_t *data, size_t size)
{
    return size > REPORT_SIZE && data[0] == 0x0a && data[1] > 0x7f && data[2] < 0x80 &&
           data[3] == 0x08 && data[4] >= 1 && data[4] <= 16;
}

static const char *what_firmware_wrote(const uint8_t *data, size_t size)
{
    static const uint8_t quote[] = {2, 0, 0x81, 0, 0, 0};

    if (has_at(data, size, 0, "HCLA", 4))
        return "is a report of Azure's virtual TPM, and no certificate";
    if (is_report(data, size, 0))
        return size > REPORT_SIZE + 24
                   ? "is an attestation report with more behind it; where that is a certificate "
                     "table, give it alone (tail -c +1185 FILE)"
                   : "is an attestation report, which guests get, and no certificate";
    if (is_report(data, size, REPORT_REPLY_SIZE))
        return "is the firmware's reply with an attestation report, and no certificate";
    if (is_protobuf(data, size))
        return "is an attestation as go-sev-guest writes it (protobuf), and no certificate";
    if (is_legacy_sev(data, size))
        return "is a certificate of SEV from before SEV-SNP (not X.509), which SEV-SNP has no use "
               "for: fetch the certificates of this chip (cococtl certs fetch)";
    if (size == HASHSTICK_SIZE && is_zero(data, 0x0c, 0x10) && is_zero(data, 0x198, 0x1a0))
        return "is a wrapped VLEK (hashstick), which the firmware takes (cocod-vlek-load), and no "
               "certificate";
    if (size >= 48 && (data[0] == 4 || data[0] == 5) && data[1] == 0 &&
        has_at(data, size, 2, quote, sizeof(quote)))
        return "is a quote of a TDX guest, which has no part in SEV-SNP";
    if (size == TDREPORT_SIZE && data[0] == 0x81)
        return "is a report of a TDX guest, which has no part in SEV-SNP";
    return NULL;
}

/* --- archives, documents, text ---------------------------------------------------------------- */

static const char *what_format(const uint8_t *data, size_t size)
{
    static const char unpack[] = "is compressed: unpack it first";
    static const struct {
        const char *bytes;
        size_t n;
        size_t at;
        const char *what;
    } formats[] = {
        {"\x1f\x8b", 2, 0, "is compressed with gzip: unpack it first (gunzip, or tar -xzf)"},
        {"PK\x03\x04", 4, 0, "is a ZIP archive: unpack it first"},
        {"ustar", 5, 257, "is a tar archive: unpack it first, and give the folder"},
        {"BZh", 3, 0, unpack},
        {"\3757zXZ", 5, 0, unpack},
        {"7z\xbc\xaf", 4, 0, unpack},
        {"\x28\xb5\x2f\xfd", 4, 0, unpack},
        {"\xfe\xed\xfe\xed", 4, 0,
         "is a Java keystore: take the certificates out of it (keytool -exportcert -rfc)"},
        {"PuTTY-User-Key-File", 19, 0, private_key},
        {"report:", 7, 0,
         "is an attestation as go-sev-guest writes it (textproto), and no certificate"},
        {"ssh-", 4, 0, "is a key of SSH, and no certificate"},
        {"ecdsa-sha2-", 11, 0, "is a key of SSH, and no certificate"},
        {"version https://git-lfs", 23, 0, "is Git's note of a file, not the file: git lfs pull"},
    };

    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
        if (has_at(data, size, formats[i].at, formats[i].bytes, formats[i].n))
            return formats[i].what;
    return NULL;
}

/* Every second byte is NUL, as in a text of ASCII characters. */
static bool is_utf16(const uint8_t *data, size_t size)
{
    size_t nul[2] = {0, 0};

    if (has_at(data, size, 0, "\xff\xfe", 2) || has_at(data, size, 0, "\xfe\xff", 2))
        return true;
    for (size_t i = 0; i < size; i++)
        nul[i % 2] += data[i] == 0;
    return size >= 32 &&
           ((nul[0] == 0 && nul[1] == size / 2) || (nul[1] == 0 && nul[0] == size - size / 2));
}

/* Are all of these characters, or white? */
static bool made_of(const uint8_t *data, size_t size, const char *characters)
{
    bool member[256] = {[' '] = true, ['\t'] = true, ['\r'] = true, ['\n'] = true};

    for (const char *p = characters; *p; p++)
        member[(unsigned char)*p] = true;
    for (size_t i = 0; i < size; i++)
        if (!member[data[i]])
            return false;
    return size >= 64;
}

#define HEX_DIGITS "0123456789abcdefABCDEF"

static const char *what_text_is(const uint8_t *data, size_t size)
{
    size_t at = has_at(data, size, 0, "\xef\xbb\xbf", 3) ? 3 : 0;

    while (at < size &&
           (data[at] == ' ' || data[at] == '\t' || data[at] == '\r' || data[at] == '\n'))
        at++;
    if (at == size)
        return "is empty";
    if (memchr(data, 0, size))
        return NULL;
    if (data[at] == '{' && contains(data, size, "\"vcekCert\""))
        return "is JSON of Azure's THIM service: \"cococtl certs import\" takes it";
    if (data[at] == '{' && contains(data, size, "BEGIN CERTIFICATE"))
        return "is JSON with a certificate in it: take its text out (jq -r), from BEGIN to END";
    if (data[at] == '{' || (data[at] == '[' && contains(data, size, "]")))
        return "is JSON, and no certificate";
    if (data[at] == '<')
        return "is a web page or XML, perhaps a proxy's that was saved in place of the "
               "certificate: fetch it again";
    if (contains(data, size, "BEGIN%20CERTIFICATE") || contains(data, size, "BEGIN+CERTIFICATE"))
        return "is spelled for a URL: decode it first";
    if (contains(data, size, "-----BEGIN CERTIFICATE"))
        return "has its BEGIN line within another line, as in JSON or a shell's variable: give "
               "the certificate's own lines, from BEGIN to END";
    if (made_of(data, size, HEX_DIGITS))
        return "is spelled in hexadecimal: turn it into bytes first (xxd -r -p)";
    if (made_of(data, size, HEX_DIGITS "ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ+/="))
        return "is base64 without BEGIN and END lines: decode it first (base64 -d)";
    return NULL;
}

const char *chain_what_is(const uint8_t *data, size_t size)
{
    const char *what = what_format(data, size);

    if (!what)
        what = what_firmware_wrote(data, size);
    if (!what && is_utf16(data, size))
        what = "is text in UTF-16, as some Windows tools save it: save it as UTF-8 (iconv -f "
               "UTF-16 -t UTF-8)";
    if (!what && size > 0 && data[0] == 0x30)
        what = what_der_is(data, size);
    return what ? what : what_text_is(data, size);
}
