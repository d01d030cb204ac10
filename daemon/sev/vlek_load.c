/* SPDX-License-Identifier: MIT */
/*
 * cocod-vlek-load: loads a VLEK hashstick into the SEV firmware; the only program here that opens
 * /dev/sev for writing. It says one sentence: what was loaded, or why not.
 *
 * Run it inside a rotation, or a guest gets a report by one key and the chain of another:
 *
 *     cococtl certs rotate --exec /usr/lib/cocod/vlek-load PATH
 */
#include "coco_limits.h"
#include "sev/vlek.h"
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: cocod-vlek-load PATH\n"
    "Loads a VLEK hashstick of 432 bytes with SNP_VLEK_LOAD, if it is for this host's reported\n"
    "TCB. PATH: the file, or a folder with CHIPID/BL.TEE.SNP.UCODE[.FMC].hashstick in it.\n"
    "Run it by: cococtl certs rotate --exec /usr/lib/cocod/vlek-load PATH\n";

int main(int argc, char **argv)
{
    struct why why;

    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts("cocod-vlek-load " COCO_VERSION_STRING);
        return 0;
    }
    if (argc != 2 || argv[1][0] == '-' || argv[1][0] == 0) {
        (void)fputs(usage, stderr);
        return 2;
    }
    int r = vlek_load(argv[1], &why);
    (void)fprintf(r < 0 ? stderr : stdout, "vlek-load: %s\n", why.text);
    return r < 0;
}
