/* SPDX-License-Identifier: MIT */
/*
 * The VMM around README.md's C code (readme.inc, which the Makefile cuts out): the examples' memory
 * and the model of KVM behind ioctl(2), whose one guest asks for one report. readme-vmm SOCKET
 */
#include "../../client/examples/mini_kvm.h"

static int memory_read(void *memory, uint64_t gpa, void *to, size_t bytes)
{
    return mini_read(memory, gpa, to, bytes);
}

static int memory_write(void *memory, uint64_t gpa, const void *from, size_t bytes)
{
    return mini_write(memory, gpa, from, bytes);
}

static int memory_store64_release(void *memory, uint64_t gpa, uint64_t value)
{
    return mini_store64_release(memory, gpa, value);
}

int vm_start(const char *socket, void *memory, struct coco_vmm **vmm, struct coco_vcpu **vcpu);
int vcpu_run(int vcpu_fd, struct kvm_run *run, struct coco_vmm *vmm, struct coco_vcpu *vcpu);

#include "readme.inc"

/* The guest makes its pages shared first: hypercalls, which are this VMM's own exits. */
static int run_guest(struct mini_vm *vm, struct coco_vmm *vmm, struct coco_vcpu *vcpu)
{
    for (;;) {
        int act = vcpu_run(vm->vcpu_fd, vm->run, vmm, vcpu);
        if (act != COCO_ACT_UNHANDLED || vm->run->exit_reason == KVM_EXIT_SHUTDOWN)
            return act == COCO_ACT_UNHANDLED ? 0 : act;
        if (vm->run->exit_reason != KVM_EXIT_HYPERCALL)
            return -EIO;
        uint64_t gpa = vm->run->hypercall.args[0], bytes = vm->run->hypercall.args[1] * 4096;
        vm->run->hypercall.ret =
            (uint64_t)mini_set_attributes(vm, gpa, bytes, vm->run->hypercall.args[2] & 16 ? 1 : 0);
    }
}

int main(int argc, char **argv)
{
    static struct mini_vm vm;
    struct coco_vmm_stats stats = {0};
    struct coco_vmm *vmm = NULL;
    struct coco_vcpu *vcpu = NULL;

    int r = mini_open(&vm, false, true);
    if (r == 0)
        r = mini_create(&vm, true);
    if (r == 0)
        r = coco_snp_enable(vm.vm_fd);
    if (r == 0)
        r = mini_add_vcpu(&vm);
    if (r == 0)
        r = vm_start(argc > 1 ? argv[1] : NULL, &vm, &vmm, &vcpu);
    if (r == 0)
        r = run_guest(&vm, vmm, vcpu);
    if (vmm)
        coco_vmm_stats(vmm, &stats);
    printf("%d; snp: %llu tables, %llu empty, %llu times busy\n", r,
           (unsigned long long)stats.snp_tables, (unsigned long long)stats.snp_empty,
           (unsigned long long)stats.snp_busy);
    coco_vcpu_detach(vcpu);
    coco_vmm_free(vmm);
    mini_done(&vm);
    return r == 0 ? 0 : 1;
}
