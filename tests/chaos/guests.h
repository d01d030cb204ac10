/* SPDX-License-Identifier: MIT */
/*
 * The good processes of a chaos run: VMMs with modelled guests, and clients that count their
 * answers. Each function is a process's whole life, after become().
 */
#pragma once

/* One model of the firmware for each leaf; before the first fork. */
void guests_prepare(void);
void guests_done(void);
/* VM number n, until SIGTERM. */
void vmm_main(unsigned n) __attribute__((noreturn));
/* Client number n, until it is killed. */
void asker_main(unsigned n, unsigned long long seed) __attribute__((noreturn));
