/* SPDX-License-Identifier: MIT */
/*
 * The model of KVM behind ioctl(2), so that a VMM for /dev/kvm runs on it unchanged: SNP and TDX
 * VMs, each with one vCPU whose guest is Linux's driver. It shares some pages, asks for one report
 * or quote, says on stdout what it got, and shuts down. Programs link with -Wl,--wrap=ioctl: calls
 * on descriptors of kvm_dev_open() and its children come here, others go to the kernel. There is
 * one device at a time.
 */
#pragma once

/* A descriptor in place of open("/dev/kvm"), or a negative errno. Closed by kvm_dev_close(). */
int kvm_dev_open(void);
/* Frees all VMs. Their descriptors are closed too, mappings of vCPUs stay. */
void kvm_dev_close(void);

/* The next call of this kind fails with this errno; 0 takes it back. */
void kvm_dev_fail(unsigned long request, int error);
