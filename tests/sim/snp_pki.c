/* SPDX-License-Identifier: MIT */
/*
 * A test PKI with the shape of AMD's: names, serial numbers, lifetimes, key sizes, signature
 * parameters, order and encoding of extensions are those of AMD's published certificates; the keys
 * are ours. Names are UTF-8 strings (the country a printable one), roots last 25 years, a VCEK
 * seven, a VLEK one; leaves have serial 0 and no key identifiers.
 *
 * RSA-4096 keys take seconds to make, so they can live in a folder, each in a file that is replaced
 * by rename: programs that fill one folder together each get usable keys. A certificate found there
 * is believed only if it belongs to its key and to the loaded root.
 *
 * A PKI owns its three authorities; leaves and CRLs belong to the caller. OpenSSL's failures are
 * -EIO, with the reason in its error queue.
 */
#include "snp_pki.h"
#include "bytes.h"
#include "snp_pki_files.h"
#include "snp_pki_internal.h"
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CA_YEARS   25
#define VCEK_YEARS 7
#define VLEK_YEARS 1
#define AMD_OID    "1.3.6.1.4.1.3704.1."

const char *const snp_pki_ca_names[SNP_N_CAS] = {"ark", "ask", "asvk"};
static const char *const ca_subjects[SNP_N_CAS] = {"ARK-", "SEV-", "SEV-VLEK-"};

/* --- certificates ----------------------------------------------------------------------------- */

static bool add_name(X509_NAME *name, int nid, int type, const char *text)
{
    return X509_NAME_add_entry_by_NID(name, nid, type, (const unsigned char *)text, -1, -1, 0) == 1;
}

static X509_NAME *make_name(const char *common_name)
{
    X509_NAME *name = X509_NAME_new();

    if (name && add_name(name, NID_organizationalUnitName, V_ASN1_UTF8STRING, "Engineering") &&
        add_name(name, NID_countryName, V_ASN1_PRINTABLESTRING, "US") &&
        add_name(name, NID_localityName, V_ASN1_UTF8STRING, "Santa Clara") &&
        add_name(name, NID_stateOrProvinceName, V_ASN1_UTF8STRING, "CA") &&
        add_name(name, NID_organizationName, V_ASN1_UTF8STRING, "Advanced Micro Devices") &&
        add_name(name, NID_commonName, V_ASN1_UTF8STRING, common_name))
        return name;
    X509_NAME_free(name);
    return NULL;
}

static bool set_name(X509 *cert, const char *common_name,
                     int (*set)(X509 *cert, const X509_NAME *name))
{
    X509_NAME *name = make_name(common_name);
    bool ok = name && set(cert, name) == 1;

    X509_NAME_free(name);
    return ok;
}

/* From `start` to the same day and time so many years later, as AMD dates them. */
static bool set_dates(X509 *cert, int64_t start, int years)
{
    time_t from = (time_t)start;
    struct tm tm;

    if (!gmtime_r(&from, &tm))
        return false;
    tm.tm_year += years;
    time_t to = timegm(&tm);
    return ASN1_TIME_set(X509_getm_notBefore(cert), from) &&
           ASN1_TIME_set(X509_getm_notAfter(cert), to);
}

/* RSASSA-PSS, SHA-384, MGF1 with SHA-384, 48 bytes of salt. */
EVP_MD_CTX *snp_pki_signer(EVP_PKEY *key, bool pss)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *parameters;

    if (ctx && EVP_DigestSignInit(ctx, &parameters, EVP_sha384(), NULL, key) == 1 &&
        (!pss || (EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) == 1 &&
                  EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, 48) == 1 &&
                  EVP_PKEY_CTX_set_rsa_mgf1_md(parameters, EVP_sha384()) == 1)))
        return ctx;
    EVP_MD_CTX_free(ctx);
    return NULL;
}

static bool sign_cert(X509 *cert, EVP_PKEY *key, bool pss)
{
    EVP_MD_CTX *ctx = snp_pki_signer(key, pss);
    bool ok = ctx && X509_sign_ctx(cert, ctx) > 0;

    EVP_MD_CTX_free(ctx);
    return ok;
}

int snp_pki_take_der(unsigned char *out, int size, uint8_t **ret_der, size_t *ret_size)
{
    uint8_t *der = size > 0 ? malloc((size_t)size) : NULL;

    if (der) {
        memcpy(der, out, (size_t)size);
        *ret_der = der;
        *ret_size = (size_t)size;
    }
    OPENSSL_free(out);
    return der ? 0 : -EIO;
}

static int encode_cert(X509 *cert, uint8_t **ret_der, size_t *ret_size)
{
    unsigned char *out = NULL;
    int size = i2d_X509(cert, &out);

    return snp_pki_take_der(out, size, ret_der, ret_size);
}

/* --- authorities ------------------------------------------------------------------------------ */

static void ca_common_name(const struct snp_product *product, enum snp_pki_ca ca, char out[32])
{
    (void)snprintf(out, 32, "%s%s", ca_subjects[ca], product->name);
}

static EVP_PKEY *load_key(const struct snp_pki *pki, enum snp_pki_ca ca)
{
    BIO *bio = pki->keys_dir ? snp_pki_open(pki->keys_dir, snp_pki_ca_names[ca], "key") : NULL;
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

    BIO_free(bio);
    if (key && EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) == 4096)
        return key;
    EVP_PKEY_free(key);
    return NULL;
}

static int get_key(struct snp_pki *pki, enum snp_pki_ca ca, EVP_PKEY **ret)
{
    EVP_PKEY *key = load_key(pki, ca);

    if (!key) {
        key = EVP_RSA_gen(4096);
        if (!key)
            return -EIO;
        int r = pki->keys_dir ? snp_pki_write_key(pki->keys_dir, snp_pki_ca_names[ca], key) : 0;
        if (r < 0) {
            EVP_PKEY_free(key);
            return r;
        }
    }
    *ret = key;
    return 0;
}

/* The certificate in keys_dir, if it is this authority's, over this key, by this root. */
static X509 *load_ca_cert(const struct snp_pki *pki, enum snp_pki_ca ca, EVP_PKEY *key,
                          EVP_PKEY *root)
{
    char common_name[32];
    BIO *bio = pki->keys_dir ? snp_pki_open(pki->keys_dir, snp_pki_ca_names[ca], "pem") : NULL;
    X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

    BIO_free(bio);
    ca_common_name(pki->product, ca, common_name);
    X509_NAME *name = make_name(common_name);
    if (cert && name && X509_NAME_cmp(X509_get_subject_name(cert), name) == 0 &&
        X509_check_private_key(cert, key) == 1 && X509_verify(cert, root) == 1) {
        X509_NAME_free(name);
        return cert;
    }
    X509_NAME_free(name);
    X509_free(cert);
    return NULL;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = extension && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return ok;
}

/* keyCertSign as AMD encodes it in an ASK: with one unused bit, where DER would have two. */
static bool add_ask_key_usage(X509 *cert)
{
    static const uint8_t bits[] = {0x03, 0x02, 0x01, 0x04};
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *extension = NULL;

    if (value && ASN1_OCTET_STRING_set(value, bits, sizeof(bits)) == 1)
        extension = X509_EXTENSION_create_by_NID(NULL, NID_key_usage, 1, value);
    bool ok = extension && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
    return ok;
}

/* AMD's order: it differs between the root and the others. */
static bool add_ca_extensions(const struct snp_pki *pki, enum snp_pki_ca ca, X509 *cert, X509 *root)
{
    char crl[96];

    (void)snprintf(crl, sizeof(crl), "URI:https://kdsintf.amd.com/%s/v1/%s/crl",
                   ca == SNP_PKI_ASVK ? "vlek" : "vcek", pki->product->name);
    if (ca == SNP_PKI_ARK)
        return add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
               add_extension(cert, cert, NID_subject_key_identifier, "hash") &&
               add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE") &&
               add_extension(cert, cert, NID_crl_distribution_points, crl);
    return add_extension(cert, root, NID_subject_key_identifier, "hash") &&
           add_extension(cert, root, NID_authority_key_identifier, "keyid:always") &&
           add_extension(cert, root, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           add_ask_key_usage(cert) && add_extension(cert, root, NID_crl_distribution_points, crl);
}

static X509 *make_ca_cert(const struct snp_pki *pki, enum snp_pki_ca ca, EVP_PKEY *key, X509 *root,
                          EVP_PKEY *root_key)
{
    char subject[32], issuer[32];
    struct tm made = pki->product->made[ca];
    X509 *cert = X509_new();

    ca_common_name(pki->product, ca, subject);
    ca_common_name(pki->product, SNP_PKI_ARK, issuer);
    if (cert && X509_set_version(cert, X509_VERSION_3) == 1 &&
        ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), pki->product->serials[ca]) == 1 &&
        set_name(cert, issuer, X509_set_issuer_name) &&
        set_name(cert, subject, X509_set_subject_name) &&
        set_dates(cert, timegm(&made), CA_YEARS) && X509_set_pubkey(cert, key) == 1 &&
        add_ca_extensions(pki, ca, cert, root ? root : cert) && sign_cert(cert, root_key, true))
        return cert;
    X509_free(cert);
    return NULL;
}

int snp_pki_get_ca(struct snp_pki *pki, enum snp_pki_ca ca)
{
    struct snp_authority *a = &pki->cas[ca];
    struct snp_authority *root = &pki->cas[SNP_PKI_ARK];

    if (a->der)
        return 0;
    int r = a->key ? 0 : get_key(pki, ca, &a->key);
    if (r < 0)
        return r;
    if (!a->cert)
        a->cert = load_ca_cert(pki, ca, a->key, root->key);
    if (!a->cert)
        a->cert = make_ca_cert(pki, ca, a->key, root->cert, root->key);
    return a->cert ? encode_cert(a->cert, &a->der, &a->der_size) : -EIO;
}

struct snp_pki *snp_pki_new(const struct snp_pki_options *options)
{
    const char *name = options->product ? options->product : "Milan";
    struct snp_pki *pki = calloc(1, sizeof(*pki));
    int r = pki ? 0 : -ENOMEM;

    if (pki)
        pki->product = snp_product_find(name);
    if (pki && !pki->product)
        r = -EINVAL;
    if (r == 0)
        pki->now = options->now ? options->now : time(NULL);
    if (r == 0 && options->keys_dir) {
        pki->keys_dir = strdup(options->keys_dir);
        r = pki->keys_dir ? snp_pki_make_dirs(pki->keys_dir) : -ENOMEM;
    }
    if (r == 0)
        r = snp_pki_get_ca(pki, SNP_PKI_ARK);
    if (r == 0)
        r = snp_pki_get_ca(pki, SNP_PKI_ASK);
    if (r == 0)
        return pki;
    snp_pki_free(pki);
    errno = -r;
    return NULL;
}

void snp_pki_free(struct snp_pki *pki)
{
    if (!pki)
        return;
    for (size_t i = 0; i < SNP_N_CAS; i++) {
        EVP_PKEY_free(pki->cas[i].key);
        X509_free(pki->cas[i].cert);
        free(pki->cas[i].der);
    }
    free(pki->keys_dir);
    free(pki);
}

const char *snp_pki_product(const struct snp_pki *pki)
{
    return pki->product->name;
}

void snp_pki_ark_sha256(const struct snp_pki *pki, uint8_t ret[32])
{
    const struct snp_authority *ark = &pki->cas[SNP_PKI_ARK];

    (void)EVP_Digest(ark->der, ark->der_size, ret, NULL, EVP_sha256(), NULL);
}

const uint8_t *snp_pki_ca_der(struct snp_pki *pki, enum snp_pki_ca ca, size_t *ret_size)
{
    if (snp_pki_get_ca(pki, ca) < 0)
        return NULL;
    *ret_size = pki->cas[ca].der_size;
    return pki->cas[ca].der;
}

uint32_t snp_pki_ca_serial(const struct snp_pki *pki, enum snp_pki_ca ca)
{
    return pki->product->serials[ca];
}

/* --- leaves ----------------------------------------------------------------------------------- */

/* A non-critical extension with these bytes as its value. */
static bool add_raw(X509 *cert, const struct snp_pki_leaf_options *o, const char *suffix,
                    const uint8_t *bytes, size_t size)
{
    char oid[64];

    if (o->omit && strcmp(o->omit, suffix) == 0)
        return true;
    (void)snprintf(oid, sizeof(oid), "%s%s", AMD_OID, suffix);
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *extension = NULL;
    if (object && value && ASN1_OCTET_STRING_set(value, bytes, (int)size) == 1)
        extension = X509_EXTENSION_create_by_OBJ(NULL, object, 0, value);
    bool ok = extension && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(object);
    return ok;
}

/* INTEGER: a value above 127 takes two content bytes, since DER's integers are signed. */
static bool add_integer(X509 *cert, const struct snp_pki_leaf_options *o, const char *suffix,
                        uint8_t value)
{
    const uint8_t small[] = {0x02, 1, value};
    const uint8_t large[] = {0x02, 2, 0, value};

    return value < 0x80 ? add_raw(cert, o, suffix, small, sizeof(small))
                        : add_raw(cert, o, suffix, large, sizeof(large));
}

static bool add_text(X509 *cert, const struct snp_pki_leaf_options *o, const char *suffix,
                     const char *text)
{
    uint8_t bytes[2 + 100];
    size_t length = strlen(text);
    struct coco_writer w = coco_writer_of(bytes, sizeof(bytes));

    coco_write_u8(&w, V_ASN1_IA5STRING);
    coco_write_u8(&w, (uint8_t)length);
    coco_write_bytes(&w, text, length);
    return !w.bad && add_raw(cert, o, suffix, bytes, w.pos);
}

static bool add_hwid(X509 *cert, const struct snp_pki_leaf_options *o, const uint8_t *id,
                     size_t size)
{
    uint8_t wrapped[2 + SNP_PKI_CHIP_ID_SIZE] = {V_ASN1_OCTET_STRING, (uint8_t)size};

    if (!(o->bad & SNP_PKI_WRAPPED_HWID))
        return add_raw(cert, o, "4", id, size);
    memcpy(wrapped + 2, id, size);
    return add_raw(cert, o, "4", wrapped, size + 2);
}

static bool add_leaf_extensions(const struct snp_product *product, X509 *cert,
                                const struct snp_pki_leaf_options *o)
{
    static const uint8_t no_chip[SNP_PKI_CHIP_ID_SIZE];
    const uint8_t *chip_id = o->chip_id ? o->chip_id : no_chip;
    struct snp_pki_tcb tcb = o->tcb;
    char levels[16];

    (void)snprintf(levels, sizeof(levels), "%s%s", product->levels, o->more ? o->more : "");
    if (!add_integer(cert, o, "1", product->struct_version) ||
        !add_text(cert, o, "2", o->vlek ? product->name : product->leaf_name))
        return false;
    for (const char *p = levels; *p; p++) {
        const char suffix[] = {'3', '.', *p, 0};
        const uint8_t *level = snp_tcb_level(&tcb, *p);
        if (!add_integer(cert, o, suffix, level ? *level : 0))
            return false;
    }
    if (o->vlek)
        return add_text(cert, o, "5", o->csp_id ? o->csp_id : "CN=csp.example");
    return add_hwid(cert, o, chip_id, product->chip_id_size);
}

static int64_t leaf_start(const struct snp_pki *pki, const struct snp_pki_leaf_options *o)
{
    int years = o->vlek ? VLEK_YEARS : VCEK_YEARS;

    if (o->not_before)
        return o->not_before;
    if (o->bad & SNP_PKI_BAD_EXPIRED)
        return pki->now - (int64_t)years * 366 * DAY_S - DAY_S;
    if (o->bad & SNP_PKI_BAD_NOT_YET)
        return pki->now + DAY_S;
    return pki->now - (int64_t)30 * DAY_S;
}

static X509 *build_leaf(struct snp_pki *pki, const struct snp_pki_leaf_options *o, EVP_PKEY *key)
{
    enum snp_pki_ca ca = o->vlek ? SNP_PKI_ASVK : SNP_PKI_ASK;
    const struct snp_authority *by = &pki->cas[o->bad & SNP_PKI_BAD_SIGNER ? SNP_PKI_ARK : ca];
    char issuer[32];
    X509 *cert = X509_new();

    ca_common_name(pki->product, ca, issuer);
    if (cert && X509_set_version(cert, X509_VERSION_3) == 1 &&
        ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), 0) == 1 &&
        set_name(cert, issuer, X509_set_issuer_name) &&
        set_name(cert, o->vlek ? "SEV-VLEK" : "SEV-VCEK", X509_set_subject_name) &&
        set_dates(cert, leaf_start(pki, o), o->vlek ? VLEK_YEARS : VCEK_YEARS) &&
        X509_set_pubkey(cert, key) == 1 && add_leaf_extensions(pki->product, cert, o) &&
        sign_cert(cert, by->key, !(o->bad & SNP_PKI_BAD_PKCS1)))
        return cert;
    X509_free(cert);
    return NULL;
}

/* Edits one bit of a signed certificate: the last of ucodeSPL, or the first byte of hwID. */
static int alter(uint8_t *der, size_t size, bool vlek)
{
    static const uint8_t ucode[] = {0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01, 0x03, 0x08};
    static const uint8_t hwid[] = {0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01, 0x04};
    uint8_t *p =
        vlek ? memmem(der, size, ucode, sizeof(ucode)) : memmem(der, size, hwid, sizeof(hwid));

    if (!p)
        return -EINVAL;
    p += vlek ? sizeof(ucode) : sizeof(hwid);
    /* p: OCTET STRING, its length, then the content: an INTEGER, or the id. */
    p += vlek ? 1 + p[1] : 2;
    *p ^= 1;
    return 0;
}

int snp_pki_make_leaf(struct snp_pki *pki, const struct snp_pki_leaf_options *options,
                      struct snp_pki_leaf *ret)
{
    struct snp_pki_leaf leaf = {.vlek = options->vlek};
    int r = snp_pki_get_ca(pki, options->vlek ? SNP_PKI_ASVK : SNP_PKI_ASK);

    if (r < 0)
        return r;
    if (options->key && EVP_PKEY_up_ref(options->key) == 1)
        leaf.key = options->key;
    else
        leaf.key = EVP_EC_gen(options->bad & SNP_PKI_BAD_P256 ? "P-256" : "P-384");
    X509 *cert = leaf.key ? build_leaf(pki, options, leaf.key) : NULL;
    r = cert ? encode_cert(cert, &leaf.der, &leaf.der_size) : -EIO;
    X509_free(cert);
    if (r == 0 && (options->bad & SNP_PKI_BAD_ALTERED))
        r = alter(leaf.der, leaf.der_size, options->vlek);
    if (r < 0) {
        snp_pki_leaf_done(&leaf);
        return r;
    }
    *ret = leaf;
    return 0;
}

void snp_pki_leaf_done(struct snp_pki_leaf *leaf)
{
    free(leaf->der);
    EVP_PKEY_free(leaf->key);
    *leaf = (struct snp_pki_leaf){0};
}
