/* SPDX-License-Identifier: MIT */
/*
 * Leases: PROTOCOL.md "The lease". One byte of the table file per vCPU, read-locked for the time
 * between CERTS_GET and the end of the KVM_RUN that uses its answer.
 *
 * OFD locks belong to the descriptor's open file description. So the descriptor through which a
 * lease was taken stays open until that lease is given up, even where a newer session brought
 * another one. Closed early, it would give the lease up in silence, between the certificates and
 * the report. `leases` grows when more are held at once than before, and keeps its size.
 */
#include "client_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define LEASES_MIN 4u

static void unref_file(struct coco_client *c, struct coco_lease_file *file)
{
    if (!file || --file->users > 0)
        return;
    (void)close(file->fd);
    c->memory.free(file);
}

int coco_lease_adopt(struct coco_client *c, int fd, uint64_t base, uint32_t bytes)
{
    struct coco_lease_file *file = NULL;

    if (fd >= 0) {
        file = c->memory.alloc(sizeof(*file));
        if (!file) {
            (void)close(fd);
            return -ENOMEM;
        }
        *file = (struct coco_lease_file){.fd = fd, .users = 1, .bytes = bytes, .base = base};
    }
    unref_file(c, c->lease_file);
    c->lease_file = file;
    return 0;
}

void coco_lease_done(struct coco_client *c)
{
    while (c->n_leases > 0)
        unref_file(c, c->leases[--c->n_leases].file);
    unref_file(c, c->lease_file);
    c->lease_file = NULL;
    if (c->leases)
        c->memory.free(c->leases);
    c->leases = NULL;
}

static struct coco_lease *find_lease(struct coco_client *c, uint32_t vcpu_index)
{
    for (uint32_t i = 0; i < c->n_leases; i++)
        if (c->leases[i].vcpu_index == vcpu_index)
            return &c->leases[i];
    return NULL;
}

static int reserve_lease(struct coco_client *c)
{
    if (c->n_leases < c->leases_max)
        return 0;
    if (c->leases_max > UINT32_MAX / 2)
        return -ENOMEM;
    uint32_t max = c->leases_max ? c->leases_max * 2 : LEASES_MIN;
    struct coco_lease *leases = c->memory.alloc(max * sizeof(*leases));
    if (!leases)
        return -ENOMEM;
    if (c->n_leases > 0)
        memcpy(leases, c->leases, c->n_leases * sizeof(*leases));
    if (c->leases)
        c->memory.free(c->leases);
    c->leases = leases;
    c->leases_max = max;
    return 0;
}

/* Base and length were checked to lie within off_t when HELLO's reply was decoded. */
static int set_lock(const struct coco_lease_file *file, short type, uint32_t vcpu_index)
{
    struct flock lock = {.l_type = type,
                         .l_whence = SEEK_SET,
                         .l_start = (off_t)(file->base + vcpu_index),
                         .l_len = 1};
    int r;

    do {
        r = fcntl(file->fd, F_OFD_SETLK, &lock);
    } while (r < 0 && errno == EINTR);
    if (r == 0)
        return 0;
    return errno == EACCES ? -EAGAIN : -errno;
}

int coco_lease_lock(struct coco_client *client, uint32_t vcpu_index)
{
    struct coco_lease_file *file = client->lease_file;

    if (!file)
        return -EOPNOTSUPP;
    if (vcpu_index >= file->bytes)
        return -EINVAL;
    if (find_lease(client, vcpu_index))
        return -EALREADY;
    int r = reserve_lease(client);
    if (r < 0)
        return r;
    r = set_lock(file, F_RDLCK, vcpu_index);
    if (r < 0)
        return r;
    file->users++;
    client->leases[client->n_leases++] =
        (struct coco_lease){.vcpu_index = vcpu_index, .file = file};
    return 0;
}

int coco_lease_unlock(struct coco_client *client, uint32_t vcpu_index)
{
    struct coco_lease *lease = find_lease(client, vcpu_index);

    if (!lease)
        return -ENOENT;
    struct coco_lease_file *file = lease->file;
    int r = set_lock(file, F_UNLCK, vcpu_index);
    *lease = client->leases[--client->n_leases];
    unref_file(client, file);
    return r;
}
