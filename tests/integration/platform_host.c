/* SPDX-License-Identifier: MIT */
/*
 * A host with a platform: see platform_host.h.
 */
#include "platform_host.h"
#include "admin_call.h"

struct sev_sim *platform_host_start(struct host *host, const char *more, struct snp_pki **ret_pki,
                                    struct sev_sim_platform *ret_platform)
{
    struct snp_pki_options options = {.keys_dir = snp_pki_cache_dir()};
    size_t size;

    *ret_pki = snp_pki_new(&options);
    ck_assert_ptr_nonnull(*ret_pki);
    const char *path = host_path(host, "root.der");
    const uint8_t *ark = snp_pki_ca_der(*ret_pki, SNP_PKI_ARK, &size);
    test_write_file(path, ark, size);
    const char *sev_path = host_path(host, "sev.sock");
    sev_sim_platform_init(ret_platform);
    ck_assert(sev_sim_set_field(ret_platform, "tcb", "3.0.8.115"));
    struct sev_sim *sim = sev_sim_start(sev_path, ret_platform);
    ck_assert_ptr_nonnull(sim);
    host_serve(host, "root = %s\nstore = %s/certs\nplatform = unix:%s\n%s", path, host->dir,
               sev_path, more);
    return sim;
}

void platform_host_import(struct host *host, struct snp_pki *pki,
                          const struct snp_pki_leaf_options *options)
{
    struct admin_file files[4];
    struct snp_pki_leaf leaf;
    int fd = admin_connect(host->admin);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(snp_pki_make_leaf(pki, options, &leaf), 0);
    files[0].data = snp_pki_ca_der(pki, SNP_PKI_ARK, &files[0].size);
    files[1].data = snp_pki_ca_der(pki, SNP_PKI_ASK, &files[1].size);
    files[2].data = snp_pki_ca_der(pki, SNP_PKI_ASVK, &files[2].size);
    files[3] = (struct admin_file){leaf.der, leaf.der_size};
    char *reply = admin_import(fd, files, 4);
    ck_assert_msg(reply && !strstr(reply, "refused"), "%s", reply);
    free(reply);
    snp_pki_leaf_done(&leaf);
    close(fd);
}
