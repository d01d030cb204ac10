/* SPDX-License-Identifier: MIT */
/*
 * A VMM in short, built from vendored sources by tests/vendored/run: C99 and C++17. Its guest asks
 * for certificates, nobody listens, and it is told to ask again later.
 */
#include <coco/coco.h>

static unsigned char memory[8192];

static int on_read(void *userdata, uint64_t gpa, void *to, size_t size)
{
    (void)userdata;
    if (gpa > sizeof(memory) || size > sizeof(memory) - (size_t)gpa)
        return -14; /* EFAULT */
    memcpy(to, memory + gpa, size);
    return 0;
}

static int on_write(void *userdata, uint64_t gpa, const void *from, size_t size)
{
    (void)userdata;
    if (gpa > sizeof(memory) || size > sizeof(memory) - (size_t)gpa)
        return -14;
    memcpy(memory + gpa, from, size);
    return 0;
}

static int on_store64_release(void *userdata, uint64_t gpa, uint64_t value)
{
    return on_write(userdata, gpa, &value, sizeof(value));
}

int main(void)
{
    struct coco_vmm_options options;
    struct coco_snp_exit exit = {0, 2, 99};
    struct coco_vmm *vmm = NULL;
    struct coco_vcpu *vcpu = NULL;

    coco_vmm_options_init(&options);
    options.ops.read = on_read;
    options.ops.write = on_write;
    options.ops.store64_release = on_store64_release;
    options.client.path = "/nonexistent/cocod.sock";
    options.exit_wait_ms = 20;
    if (coco_vmm_new(&options, &vmm) < 0 || coco_vcpu_attach(vmm, 0, 0, &vcpu) < 0)
        return 1;
    int act = coco_vcpu_snp_certs(vcpu, &exit);
    coco_vcpu_ran(vcpu);
    coco_vcpu_detach(vcpu);
    coco_vmm_free(vmm);
    return act == COCO_ACT_RUN && exit.ret == 11 ? 0 : 2; /* EAGAIN */
}
