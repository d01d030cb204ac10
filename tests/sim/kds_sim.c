/* SPDX-License-Identifier: MIT */
/*
 * kds_sim.h: one thread, one request a connection, one connection at a time. Its certificate, for
 * 127.0.0.1, is signed by a root made at each start. Whatever waits, waits WAIT_MS at most, and for
 * the stop pipe too.
 */
#include "kds_sim.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define WAIT_MS     10000
#define REQUEST_MAX 8192

struct kds_sim {
    kds_handler *handler;
    void *userdata;
    SSL_CTX *tls;
    int listener, stop[2];
    char url[64];
    atomic_uint requests;
    pthread_t thread;
};

/* --- certificates ---------------------------------------------------------------------------- */

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool good = extension && X509_add_ext(cert, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return good;
}

/* A certificate of `key`, signed by the issuer, or by itself. */
static X509 *make_cert(EVP_PKEY *key, const char *cn, X509 *issuer, EVP_PKEY *issuer_key)
{
    X509 *cert = X509_new();
    X509_NAME *name = cert ? X509_get_subject_name(cert) : NULL;

    if (cert && X509_set_version(cert, 2) == 1 &&
        ASN1_INTEGER_set(X509_get_serialNumber(cert), issuer ? 2 : 1) == 1 &&
        X509_gmtime_adj(X509_getm_notBefore(cert), -3600) &&
        X509_gmtime_adj(X509_getm_notAfter(cert), 86400) && X509_set_pubkey(cert, key) == 1 &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1,
                                   0) == 1 &&
        X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer) : name) == 1 &&
        add_extension(cert, issuer ? issuer : cert, NID_basic_constraints,
                      issuer ? "CA:FALSE" : "critical,CA:TRUE") &&
        (!issuer || add_extension(cert, issuer, NID_subject_alt_name, "IP:127.0.0.1")) &&
        X509_sign(cert, issuer_key, EVP_sha256()) > 0)
        return cert;
    X509_free(cert);
    return NULL;
}

static bool write_pem(const char *path, X509 *cert)
{
    FILE *to = fopen(path, "we");
    bool good = to && PEM_write_X509(to, cert) == 1;

    return to && fclose(to) == 0 && good;
}

static SSL_CTX *make_tls(const char *ca_path)
{
    EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
    X509 *ca = ca_key ? make_cert(ca_key, "kds-sim root", NULL, ca_key) : NULL;
    X509 *cert = ca && key ? make_cert(key, "kds-sim", ca, ca_key) : NULL;
    SSL_CTX *tls = cert && write_pem(ca_path, ca) ? SSL_CTX_new(TLS_server_method()) : NULL;

    if (tls && (SSL_CTX_use_certificate(tls, cert) != 1 || SSL_CTX_use_PrivateKey(tls, key) != 1)) {
        SSL_CTX_free(tls);
        tls = NULL;
    }
    X509_free(cert);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    return tls;
}

/* --- one request ----------------------------------------------------------------------------- */

/* Until there is something to read (or the end), or the simulator stops. */
static bool wait_readable(struct kds_sim *s, int fd)
{
    struct pollfd p[2] = {{.fd = s->stop[0], .events = POLLIN}, {.fd = fd, .events = POLLIN}};

    return poll(p, 2, WAIT_MS) > 0 && !p[0].revents;
}

/* The request's path; false: there is none. */
static bool read_request(SSL *ssl, char *path, size_t path_size)
{
    char text[REQUEST_MAX];
    size_t size = 0;

    for (;;) {
        int n = SSL_read(ssl, text + size, (int)(sizeof(text) - 1 - size));
        if (n <= 0)
            return false;
        size += (size_t)n;
        text[size] = 0;
        if (strstr(text, "\r\n\r\n"))
            break;
        if (size == sizeof(text) - 1)
            return false;
    }
    if (strncmp(text, "GET ", 4) != 0)
        return false;
    (void)snprintf(path, path_size, "%.*s", (int)strcspn(text + 4, " \r\n"), text + 4);
    return true;
}

static void write_all(SSL *ssl, const void *bytes, size_t size)
{
    if (size > 0)
        (void)SSL_write(ssl, bytes, (int)size);
}

static void answer_request(struct kds_sim *s, SSL *ssl, int fd, const char *path, unsigned number)
{
    struct kds_answer a = {0};
    char head[2048], length[64] = "";

    s->handler(path, number, &a, s->userdata);
    if (a.drop)
        return;
    if (a.silent) {
        (void)wait_readable(s, fd);
        return;
    }
    if (!a.no_length)
        (void)snprintf(length, sizeof(length), "Content-Length: %zu\r\n", a.size);
    int n = snprintf(head, sizeof(head), "HTTP/1.1 %d Test\r\n%s%sConnection: close\r\n\r\n",
                     a.status ? a.status : 200, length, a.headers ? a.headers : "");
    write_all(ssl, head, (size_t)n);
    write_all(ssl, a.body, a.stall || a.truncate ? a.size / 2 : a.size);
    if (a.stall)
        (void)wait_readable(s, fd);
    else if (!a.truncate)
        (void)SSL_shutdown(ssl);
}

static void serve_one(struct kds_sim *s, int fd)
{
    const struct timeval wait = {.tv_sec = WAIT_MS / 1000};
    SSL *ssl = SSL_new(s->tls);
    char path[1024];

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
    if (ssl && SSL_set_fd(ssl, fd) == 1 && wait_readable(s, fd) && SSL_accept(ssl) == 1 &&
        read_request(ssl, path, sizeof(path)))
        answer_request(s, ssl, fd, path, atomic_fetch_add(&s->requests, 1));
    SSL_free(ssl);
    close(fd);
}

static void *serve(void *userdata)
{
    struct kds_sim *s = userdata;
    sigset_t pipe_signal;

    /* A client that goes away in the middle is no reason to die. */
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &pipe_signal, NULL);
    for (;;) {
        struct pollfd p[2] = {{.fd = s->stop[0], .events = POLLIN},
                              {.fd = s->listener, .events = POLLIN}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            break;
        if (p[0].revents)
            break;
        int fd = p[1].revents ? accept4(s->listener, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (fd >= 0)
            serve_one(s, fd);
    }
    return NULL;
}

/* --- start and stop -------------------------------------------------------------------------- */

static bool start_listening(struct kds_sim *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&address, size) < 0 ||
        listen(s->listener, 16) < 0 ||
        getsockname(s->listener, (struct sockaddr *)&address, &size) < 0)
        return false;
    (void)snprintf(s->url, sizeof(s->url), "https://127.0.0.1:%u", ntohs(address.sin_port));
    return true;
}

struct kds_sim *kds_sim_start(const char *ca_path, kds_handler *handler, void *userdata)
{
    struct kds_sim *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->handler = handler;
    s->userdata = userdata;
    s->listener = s->stop[0] = s->stop[1] = -1;
    s->tls = make_tls(ca_path);
    if (s->tls && start_listening(s) && pipe2(s->stop, O_CLOEXEC) == 0 &&
        pthread_create(&s->thread, NULL, serve, s) == 0)
        return s;
    SSL_CTX_free(s->tls);
    for (int i = 0; i < 2; i++)
        if (s->stop[i] >= 0)
            close(s->stop[i]);
    if (s->listener >= 0)
        close(s->listener);
    free(s);
    return NULL;
}

void kds_sim_stop(struct kds_sim *sim)
{
    if (!sim)
        return;
    close(sim->stop[1]);
    pthread_join(sim->thread, NULL);
    close(sim->stop[0]);
    close(sim->listener);
    SSL_CTX_free(sim->tls);
    free(sim);
}

const char *kds_sim_url(const struct kds_sim *sim)
{
    return sim->url;
}

unsigned kds_sim_requests(struct kds_sim *sim)
{
    return atomic_load(&sim->requests);
}
