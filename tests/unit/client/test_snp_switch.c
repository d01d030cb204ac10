/* SPDX-License-Identifier: MIT */
/*
 * coco_snp_probe and coco_snp_enable, on a model of KVM behind ioctl(2): what they ask, when it is
 * too late, and what they make of every errno that a kernel may answer.
 */
#include "coco/coco.h"
#include "kvm_dev.h"
#include "support.h"
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#define VM_SNP    4ul
#define VM_TDX    5ul
#define SEV_INIT2 22u

static int kvm_fd;

static void setup(void)
{
    kvm_fd = kvm_dev_open();
    ck_assert_int_ge(kvm_fd, 0);
}

static int make_vm(unsigned long type, bool init)
{
    static const uint8_t parameters[48];
    struct kvm_sev_cmd command = {.id = SEV_INIT2, .data = (uintptr_t)parameters};
    int vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, type);

    ck_assert_int_ge(vm_fd, 0);
    if (init)
        ck_assert_int_eq(ioctl(vm_fd, KVM_MEMORY_ENCRYPT_OP, &command), 0);
    return vm_fd;
}

FIXTURE(.setup = setup, .teardown = kvm_dev_close);

TEST(a_kernel_that_has_it)
{
    ck_assert_int_eq(coco_snp_probe(kvm_fd), 1);
    ck_assert_int_eq(coco_snp_enable(make_vm(VM_SNP, true)), 0);
}

TEST(too_late_too_early_and_not_for_a_td)
{
    int vm_fd = make_vm(VM_SNP, true);

    ck_assert_int_ge(ioctl(vm_fd, KVM_CREATE_VCPU, 0), 0);
    ck_assert_int_eq(coco_snp_enable(vm_fd), -EINVAL);
    ck_assert_int_eq(coco_snp_enable(make_vm(VM_SNP, false)), -EINVAL);
    ck_assert_int_eq(coco_snp_enable(make_vm(VM_TDX, false)), -ENOTTY);
    ck_assert_int_eq(coco_snp_enable(kvm_fd), -ENOTTY);
    ck_assert_int_eq(coco_snp_probe(vm_fd), 0);
}

/* What says "this kernel does not have it" is 0; what says "this descriptor is not usable" is not.
 */
static const struct {
    int error, has, get;
} probes[] = {
    {ENXIO, 0, 0},           /* no such attribute */
    {EINVAL, 0, -EINVAL},    /* a kernel before attributes of /dev/kvm */
    {ENOTTY, 0, -ENOTTY},    /* likewise */
    {EPERM, -EPERM, -EPERM}, /* a sandbox */
    {EACCES, -EACCES, -EACCES},
    {EBADF, -EBADF, -EBADF},
    {EFAULT, -EFAULT, -EFAULT},
    {ENOSYS, -ENOSYS, -ENOSYS},
    {EINTR, -EINTR, -EINTR},
    {ENODEV, -ENODEV, -ENODEV},
};

TEST_LOOP(every_errno_of_the_probe, 0, sizeof(probes) / sizeof(probes[0]))
{
    kvm_dev_fail(KVM_HAS_DEVICE_ATTR, probes[_i].error);
    ck_assert_int_eq(coco_snp_probe(kvm_fd), probes[_i].has);
    kvm_dev_fail(KVM_GET_DEVICE_ATTR, probes[_i].error);
    ck_assert_int_eq(coco_snp_probe(kvm_fd), probes[_i].get);
    ck_assert_int_eq(coco_snp_probe(kvm_fd), 1);
}

TEST(every_errno_of_the_switch)
{
    static const int errors[] = {EINVAL, ENOTTY, EPERM, EACCES, EFAULT, ENOMEM, EBUSY, EIO, ENODEV};
    int vm_fd = make_vm(VM_SNP, true);

    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        kvm_dev_fail(KVM_MEMORY_ENCRYPT_OP, errors[i]);
        ck_assert_int_eq(coco_snp_enable(vm_fd), -errors[i]);
    }
    ck_assert_int_eq(coco_snp_enable(vm_fd), 0);
}

/* Descriptors that are no model's go to the kernel. */
TEST(what_is_not_kvm)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(coco_snp_probe(fd), 0);
    ck_assert_int_eq(coco_snp_enable(fd), -ENOTTY);
    close(fd);
    ck_assert_int_eq(coco_snp_probe(-1), -EBADF);
    ck_assert_int_eq(coco_snp_enable(-1), -EBADF);
}

TEST(this_machines_own_kvm)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        printf("SKIP: there is no /dev/kvm here\n");
        return;
    }
    int r = coco_snp_probe(fd);
    ck_assert(r == 0 || r == 1);
    /* Of an ordinary VM it cannot be switched on, whatever the host. */
    int vm_fd = ioctl(fd, KVM_CREATE_VM, 0);
    if (vm_fd >= 0) {
        ck_assert_int_lt(coco_snp_enable(vm_fd), 0);
        close(vm_fd);
    }
    close(fd);
}
