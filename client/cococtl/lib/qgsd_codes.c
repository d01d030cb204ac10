/* SPDX-License-Identifier: MIT */
/*
 * What the codes in qgsd's log mean, and what to do: all that Intel's public headers number.
 *
 *   0xb0xx  the provider library that talks to PCCS (QCNL): sgx_default_qcnl_wrapper.h
 *   0xe0xx  the quoting library of SGX: sgx_ql_lib_common.h
 *   0x110xx that of TDX, with the same numbers behind the prefix: td_ql_wrapper.h
 *   0x120xx QGS's own messages: qgs_msg_lib.h
 *
 * A row's cure begins with what helps most often. Errors without a code are told by a piece of
 * their text.
 */
#include "lib/qgsd.h"
#include <string.h>

static const char pccs[] = "start PCCS, and check its address in /etc/sgx_default_qcnl.conf; then "
                           "restart qgsd";
static const char pccs_log[] = "look at PCCS's log; when its trouble is over, restart qgsd";
static const char registration[] =
    "register the platform (mpa_registration_tool, or PCCS with the platform's manifest)";
static const char restart[] = "restart qgsd";
static const char stale[] = "restart qgsd: what it holds of PCCS goes stale after days; where that "
                            "does not help, look at PCCS's log";
static const char packages[] =
    "install libsgx-dcap-default-qpl and the TDX quoting enclave, all of "
    "one release of DCAP; then restart qgsd";
static const char config[] = "correct /etc/sgx_default_qcnl.conf; then restart qgsd";
static const char tls[] =
    "give PCCS a certificate that this host trusts, or set use_secure_cert to "
    "false in /etc/sgx_default_qcnl.conf; then restart qgsd";
static const char memory[] = "free memory; then restart qgsd";
static const char key[] = "restart qgsd: it makes another attestation key";
static const char files[] = "look at the folders of qgsd's user: owner, room, a read-only mount";
static const char firmware[] =
    "update the microcode, the firmware and the TDX module; then register "
    "the platform again";
static const char devices[] =
    "put qgsd's user into the group sgx_prv, and look at /dev/sgx_*; then "
    "restart qgsd";
static const char refresh[] = "let PCCS refresh what it holds of Intel's";
static const char verifier[] =
    "nothing here: it is for who verifies quotes, and came by a question "
    "about collateral";
static const char client[] = "cocod sends no such thing: let nobody else connect to qgsd";

/* The last byte, or two, of the code. */
struct row {
    uint16_t low;
    const char *meaning;
    const char *cure;
};

static const struct row qcnl[] = {
    {0x01, "the provider library failed in a way that it has no name for", restart},
    {0x02, "the provider library was called wrongly", packages},
    {0x03, "PCCS cannot be reached", pccs},
    {0x04, "the name of the proxy to PCCS cannot be resolved",
     "check the proxy in qgsd's environment; then restart qgsd"},
    {0x05, "PCCS's name cannot be resolved", pccs},
    {0x06, "PCCS cannot be reached: nobody takes the connection", pccs},
    {0x07, "the HTTP/2 connection to PCCS broke its rules", pccs_log},
    {0x08, "what PCCS sent could not be taken over", memory},
    {0x09, "PCCS did not answer in time", pccs_log},
    {0x0a, "the TLS handshake with PCCS failed", tls},
    {0x0b, "libcurl does not know an option", packages},
    {0x0c, "libcurl cannot be started", packages},
    {0x0d, "PCCS's answer is not the HTTP that was expected", pccs_log},
    {0x0e, "out of memory", memory},
    {0x0f, "PCCS holds nothing about this platform", registration},
    {0x10, "PCCS does not know this platform", registration},
    {0x11, "PCCS answered something that was not understood", stale},
    {0x12, "PCCS has no certificates for this platform", registration},
    {0x13, "PCCS, or Intel's service behind it, is unavailable", pccs_log},
    {0x30, "the provider library's configuration is wrong", config},
    {0x31, "nothing is in the local cache, and local_cache_only is set",
     "fill the local cache, or set local_cache_only to false in /etc/sgx_default_qcnl.conf"},
    {0x32, "what is in the local cache has expired", pccs},
    {0x33, "PCCS's TLS certificate is not trusted", tls},
    {0x35, "/etc/sgx_default_qcnl.conf is no valid JSON", config},
    {0x36, "/etc/sgx_default_qcnl.conf is not JSON but in the form that it once had", config},
};

/* For SGX_QL_* and TEE_ATT_* alike. */
static const struct row quoting[] = {
    {0x01, "unexpected, the catch-all: the codes before it in the log say more", restart},
    {0x02, "a function was called wrongly", packages},
    {0x03, "out of memory", memory},
    {0x04, "the stored attestation key is of another identity", key},
    {0x05, "the path of the stored attestation key is too long", files},
    {0x06, "the stored attestation key cannot be read or written", files},
    {0x07, "the stored attestation key is not valid", key},
    {0x08, "the stored attestation key is not the one that was asked for", key},
    {0x09, "the provisioning enclave signs in another way", packages},
    {0x0a, "something is wrong with the stored attestation key", key},
    {0x0b, "a kind of attestation key that is not supported", packages},
    {0x0c, "a way of loading enclaves that is not supported", packages},
    {0x0d, "an enclave that quotes need cannot be loaded", packages},
    {0x0e, "the library that talks to PCCS is missing", packages},
    {0x0f, "the attestation key was not ready; QGS tries once more by itself", restart},
    {0x10, "the certificates that PCCS gave are not valid", pccs_log},
    {0x11, "there is no certificate for this platform", registration},
    {0x12, "out of enclave memory (EPC)",
     "stop other enclaves, or raise the EPC in the firmware's set-up; then restart qgsd"},
    {0x13, "an enclave's report was not accepted", restart},
    {0x14, "the enclave was lost, as after a sleep of the host", restart},
    {0x15, "a TDREPORT that is not of this host and boot",
     "one VM alone: was it migrated or restored? \"cococtl explain VM\" shows its requests"},
    {0x16, "an enclave does not load", devices},
    {0x17, "the quoting enclave made no report of its own", packages},
    {0x18, "PCCS gave a certificate for a higher TCB than the platform has", firmware},
    {0x19, "PCCS cannot be reached", pccs},
    {0x1a, "the exchange with PCCS broke its rules", pccs_log},
    {0x1b, "there is no collateral for this platform", refresh},
    {0x1c, "certification data of a kind that is not supported", verifier},
    {0x1d, "a quote in a format that is not supported", verifier},
    {0x1e, "an enclave made no report", restart},
    {0x1f, "the signature of the quoting enclave's report is wrong", verifier},
    {0x20, "the quoting enclave's report has a format that is not supported", verifier},
    {0x21, "the PCK certificate has a format that is not supported", verifier},
    {0x22, "the chain of the PCK certificate is wrong", verifier},
    {0x23, "the TCB info has a format that is not supported", verifier},
    {0x24, "the TCB info is of another platform", verifier},
    {0x25, "the quoting enclave's identity has a format that is not supported", verifier},
    {0x26, "the quoting enclave is not the one of the identity", verifier},
    {0x27, "the platform's TCB is out of date", firmware},
    {0x28, "the platform's TCB is out of date, and its set-up is to be changed", firmware},
    {0x29, "an enclave's identity is out of date", packages},
    {0x2a, "an enclave's security version is out of date", packages},
    {0x2b, "the quoting enclave's identity is out of date", packages},
    {0x2c, "the TCB info has expired", refresh},
    {0x2d, "the chain of the PCK certificate has expired", refresh},
    {0x2e, "a CRL has expired", refresh},
    {0x2f, "the chain that signs the TCB info has expired", refresh},
    {0x30, "an enclave's identity has expired", refresh},
    {0x31, "this platform's PCK certificate was revoked", "ask Intel, or who sold the platform"},
    {0x32, "this platform's TCB was revoked", firmware},
    {0x33, "the platform's set-up is to be changed (firmware options)", firmware},
    {0x34, "the collateral could not be fetched", pccs},
    {0x35, "qgsd may not use the SGX devices", devices},
    {0x37, "there is no identity of the verifying enclave", verifier},
    {0x38, "a CRL has a format that is not supported", verifier},
    {0x39, "the chain of the quoting enclave's identity is wrong", verifier},
    {0x3a, "the chain of the TCB info is wrong", verifier},
    {0x3b, "the verifying library and enclave are of different releases", verifier},
    {0x3c, "the platform asks for hardening of software", verifier},
    {0x3d, "the platform asks for another set-up and hardening of software", verifier},
    {0x3e, "a mode that is not supported", packages},
    {0x3f, "there is no SGX device", devices},
    {0x40, "PCCS, the AESM service, or Intel's service behind them, is unavailable", pccs},
    {0x41, "the network failed", pccs},
    {0x42, "a service did not answer in time", pccs_log},
    {0x43, "the quoting service was busy", "nothing, where it is rare"},
    {0x44, "PCCS answered something that was not understood", stale},
    {0x45, "what PCCS gave cannot be stored", files},
    {0x46, "what PCCS gave cannot be parsed", pccs_log},
    {0x47, "PCCS does not know this platform", registration},
    {0x48, "the configured version of PCCS's interface is not known", config},
    {0x49, "there are no certificates for this platform", registration},
    {0x50, "the verifying enclave is not the one of its identity", verifier},
    {0x51, "the verifying enclave is out of date", verifier},
    {0x52, "the SGX platform software does not load", packages},
    {0x53, "collateral of a version that is not supported", verifier},
    {0x60, "the TDX module is none that Intel has signed", firmware},
    {0x61, "there is no identity of the quoting enclave", refresh},
    {0x62, "there is no TCB info of this platform", refresh},
    {0x63, "PCCS failed inside", pccs_log},
    {0x64, "supplemental data of a version that is not supported", verifier},
    {0x65, "PCCS's TLS certificate is not trusted", tls},
    {0x66, "the TCB info does not list this platform's TCB", firmware},
    {0x67, "/etc/sgx_default_qcnl.conf is no valid JSON", config},
    {0x68, "the result of a verification is not rightly signed", verifier},
    {0x70, "the appraising enclave is not the one of its identity", verifier},
    {0x71, "the appraising enclave is out of date", verifier},
    {0x72, "an appraisal is about another quote", verifier},
    {0x73, "an appraisal has another REPORTDATA", verifier},
};

static const struct row messages[] = {
    {0x01, "QGS's one answer to everything that fails: the codes before it in the log say more",
     restart},
    {0x02, "QGS was out of memory", memory},
    {0x03, "QGS's message library was called wrongly", packages},
    {0x04, "a message of another version of QGS's protocol", client},
    {0x05, "a message of a type that QGS does not know", client},
    {0x06, "a message whose sizes contradict each other", client},
    {0x07, "a message with an error code that is none", client},
};

#define ROWS(table) table, sizeof(table) / sizeof((table)[0])

static const struct {
    uint32_t base;
    const struct row *rows;
    size_t n;
} kinds[] = {
    {0xb000, ROWS(qcnl)},
    {0xe000, ROWS(quoting)},
    {0x11000, ROWS(quoting)},
    {0x12000, ROWS(messages)},
};

bool qgsd_is_code(uint32_t code)
{
    bool known = false;

    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
        known = known || (code & ~UINT32_C(0xff)) == kinds[k].base;
    return known && (code & 0xff) != 0;
}

bool qgsd_code_find(uint32_t code, struct qgsd_meaning *ret)
{
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
        for (size_t i = 0; i < kinds[k].n; i++)
            if (kinds[k].base + kinds[k].rows[i].low == code) {
                *ret = (struct qgsd_meaning){kinds[k].rows[i].meaning, kinds[k].rows[i].cure};
                return true;
            }
    return false;
}

/* Without codes. An empty meaning: it only says that something before it failed. */
static const struct {
    const char *piece;
    struct qgsd_meaning means;
} texts[] = {
    {"resp_size is 0", {"", NULL}},
    {"Load JSON config error", {"/etc/sgx_default_qcnl.conf is no valid JSON", config}},
    {"Cannot create context", {"the quoting library does not start", devices}},
    {"sgx_create_enclave", {"an enclave does not load", devices}},
    {"Couldn't find the platform library", {"the library that talks to PCCS is missing", packages}},
    {"Quote Provider Library", {"the library that talks to PCCS is missing", packages}},
    {"Whoops, bad request", {"a client asked for what QGS does not do", client}},
    {"Cannot get msg type", {"a client sent no message of QGS's", client}},
    {"Not a legimit TD report", {"a client sent no TDREPORT", client}},
    {"qgs_msg_inflate_get", {"a client sent a malformed message", client}},
    {"Address already in use",
     {"the socket of a qgsd that crashed is in the way (up to DCAP 1.25)",
      "remove /var/run/tdx-qgs/qgs.socket; then start qgsd"}},
    {"Too many open files",
     {"qgsd ran out of descriptors, and may take no connection any more", restart}},
    {"create path for socket", {"qgsd cannot make its socket", files}},
    {"Failed to create directory", {"qgsd cannot make the folder of its socket", files}},
    {"Failed with result",
     {"qgsd ended by itself", "\"coredumpctl list qgsd\"; then restart qgsd"}},
};

bool qgsd_text_find(const char *line, struct qgsd_meaning *ret)
{
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (strstr(line, texts[i].piece)) {
            *ret = texts[i].means;
            return true;
        }
    if (strcmp(line, "timeout") != 0)
        return false;
    *ret = (struct qgsd_meaning){"QGS did not answer within its 30 s",
                                 "number_threads in /etc/qgs.conf, and PCCS; then restart qgsd"};
    return true;
}
