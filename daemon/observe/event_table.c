/* SPDX-License-Identifier: MIT */
/*
 * The table of events, and what is printed from it: the journal's catalog and the manual's section.
 *
 * A message id belongs to its event for ever: alerts go by it. A new event gets a new one, drawn at
 * random (systemd-id128 new), and is added where it belongs by subject; one that is dropped leaves
 * its id unused.
 */
#include "base/prose.h"
#include "observe/event.h"
#include <errno.h>
#include <string.h>

#define PEER "PEER_UID PEER_PID"

static const struct event_kind kinds[EVENT_IDS] = {
    [EVENT_READY] = {"ready", "943aa0dd12a14aee91c78b18f55d636c", LOG_LEVEL_NOTICE, 0, "",
                     "cocod has started and serves its sockets.", "Nothing is to be done."},
    [EVENT_CONFIG_REFUSED] =
        {"config-refused", "e79e84c14ce9431384e0f989ae1935df", LOG_LEVEL_ERROR, 0, "",
         "The configuration has a mistake and is not in force.",
         "What is in force instead (the one before it, its last good copy, or the defaults) is "
         "said "
         "in the message. `cocod --check` names every mistake with its line; mend them and run "
         "`systemctl reload cocod`."},
    [EVENT_DEGRADED] = {"degraded", "803e8823e1514d4a9c179062ec0dd366", LOG_LEVEL_WARNING, 0,
                        "COCO_REASONS", "Something needs the operator; cocod serves what it can.",
                        "`cococtl status` says what, and what to do about each."},
    [EVENT_HEALTHY] = {"healthy", "8ed9b61227964366b49bdb7dc61e8a2c", LOG_LEVEL_NOTICE, 0, "",
                       "Nothing needs the operator any more.", "Nothing is to be done."},

    [EVENT_WORKER_STALLED] = {"worker-stalled", "5fb3181564b24719b3e84e6595821117", LOG_LEVEL_ERROR,
                              0, "", "Reading or writing files, or a reload, hangs.",
                              "A disk, a file system or a name service does not answer. What is "
                              "served stays as it is, and nothing new is read: the message says "
                              "whether that is certificates or the configuration. Look at `dmesg`, "
                              "at the folders of [certs], and at the users and groups that the "
                              "configuration names."},
    [EVENT_WORKER_GOES_ON] = {"worker-goes-on", "cf724221b10d4c2cba38035a48cee1ae",
                              LOG_LEVEL_NOTICE, 0, "", "What hung goes on.",
                              "Nothing is to be done."},

    [EVENT_CHAIN_MISMATCH] =
        {"chain-mismatch", "42163a30a5394010bfb076ca67c3044e", LOG_LEVEL_ERROR, 0, "COCO_KEY",
         "No certificate chain matches the key that the firmware signs reports with.",
         "Guests get the empty table and have to fetch their certificates themselves; where they "
         "cannot, their attestation fails. The usual cause is a firmware update whose chain was "
         "not "
         "brought first. Get it with `cococtl certs fetch`, or on a host without a network with "
         "`cococtl certs import`; it is served as soon as it is there. Where the message names "
         "several CSP_IDs, VLEKs of several regions are stored: name this host's in [certs] "
         "vlek_csp."},
    [EVENT_CHAIN_REFUSED] = {"chain-refused", "de8a6c04ecf44d2e9ff13a4e11b98b58", LOG_LEVEL_ERROR,
                             0, "", "The certificate chain of the configured files is refused.",
                             "The message says which certificate and why, and what is served "
                             "instead. Replace the files "
                             "that [certs] chain names and run `systemctl reload cocod`."},
    [EVENT_CHAIN_UNREAD] =
        {"chain-unread", "46b97b490a3d4106b6ee3c766d61a331", LOG_LEVEL_WARNING, 0, "",
         "Certificates cannot be read or judged now: memory, descriptors or a disk fail.",
         "It is tried again until it can be done. A chain that was verified for the platform as it "
         "is goes on being served meanwhile; the message says what is served. Where that lasts, "
         "look at `dmesg`, at the folders of [certs], and at the limits of cocod.service."},
    [EVENT_CHAIN_SERVED] = {"chain-served", "21c931797b13404fa05351c908a46389", LOG_LEVEL_NOTICE, 0,
                            "COCO_KEY COCO_TABLE_BYTES COCO_GENERATION",
                            "Another certificate chain is being served.",
                            "Nothing is to be done: this follows a start, an import or a firmware "
                            "update, and ends a mismatch."},
    [EVENT_EXPIRES_60_DAYS] =
        {"expires-60-days", "6426f8a7203a4e57b650bf583831158c", LOG_LEVEL_NOTICE, 0,
         "COCO_CERTIFICATE COCO_KEY COCO_NOT_AFTER COCO_DAYS",
         "A certificate that is being served expires in 60 days or less.",
         "Get its successor in time: `cococtl certs fetch` renews a VCEK; a VLEK comes from AMD by "
         "way of your account there."},
    [EVENT_EXPIRES_30_DAYS] =
        {"expires-30-days", "d7f7287c792946ffbebc8f707aa88101", LOG_LEVEL_WARNING, 0,
         "COCO_CERTIFICATE COCO_KEY COCO_NOT_AFTER COCO_DAYS",
         "A certificate that is being served expires in 30 days or less.",
         "Get its successor now: `cococtl certs fetch` renews a VCEK; a VLEK comes from AMD by way "
         "of your account there. See whether cocod-fetch.timer is enabled."},
    [EVENT_EXPIRES_7_DAYS] =
        {"expires-7-days", "9ed52d7aa72b479bab46acf28eaa214d", LOG_LEVEL_ERROR, 0,
         "COCO_CERTIFICATE COCO_KEY COCO_NOT_AFTER COCO_DAYS",
         "A certificate that is being served expires in 7 days or less.",
         "Once it has expired it is served no more, and guests get the empty table. Get its "
         "successor now: `cococtl certs fetch` renews a VCEK; a VLEK comes from AMD by way of your "
         "account there."},
    [EVENT_CRL_ALARM] =
        {"crl-alarm", "c3ef09f5314245bea3d031a71c557971", LOG_LEVEL_WARNING, 0, "",
         "The certificate revocation list is outdated or cannot be used.",
         "The chain is served all the same. `cococtl certs fetch` brings the newest list."},
    [EVENT_CLOCK_WRONG] =
        {"clock-wrong", "633a02c36e70409187a332c2512fddab", LOG_LEVEL_WARNING, 0, "",
         "The host's clock cannot be right, so the dates of certificates are not checked.",
         "Set the clock (`timedatectl`, `chronyc makestep`). Dates are checked again within a "
         "minute."},
    [EVENT_CLOCK_RIGHT] = {"clock-right", "78f31d459b7f4904a622d5ffdf871396", LOG_LEVEL_NOTICE, 0,
                           "", "The host's clock is plausible again; dates are checked.",
                           "Nothing is to be done."},
    [EVENT_CLOCK_SET] = {"clock-set", "b8a211440bc9442c80de57b9a3247782", LOG_LEVEL_NOTICE, 5, "",
                         "The host's clock was set; the dates of certificates are judged again.",
                         "After a boot nothing is to be done. A clock that is set again and again "
                         "is one that two services fight over, or somebody who moves it so that an "
                         "expired certificate counts: see `journalctl -u chrony -u "
                         "systemd-timesyncd`. Told five times a minute at most."},
    [EVENT_PLATFORM_UNKNOWN] =
        {"platform-unknown", "4938687e93c54f58bd16e92e74e67a95", LOG_LEVEL_ERROR, 0, "",
         "cocod cannot learn which TCB the firmware reports.",
         "Guests get the empty table, since no chain can be known to match. Look at `systemctl "
         "status cocod-sev.socket 'cocod-sev@*'`, at whether SNP is enabled (`dmesg | grep -i "
         "sev`), and at [certs] platform."},

    [EVENT_PLATFORM_CHANGED] =
        {"platform-changed", "8f5f1647fff144638713f4d8f2ee3d48", LOG_LEVEL_NOTICE, 0, "",
         "The firmware reports another TCB, or a VLEK came or went.",
         "After a firmware update nothing is to be done. Outside of one, somebody acted behind "
         "cocod's back: whoever can open /dev/sev can. Update with `cococtl certs rotate`."},
    [EVENT_TABLE_FILE] =
        {"table-file", "552de8ed65a94d62b286c8fa6330519c", LOG_LEVEL_ERROR, 0, "COCO_FILE",
         "The certificate table file cannot be opened, locked or written.",
         "Sessions get their certificates all the same. VMMs that read the file do not see the "
         "newest, and where it cannot be locked nothing keeps a firmware update and a guest's "
         "request apart: do not update before it is mended. The message says what fails; a full "
         "file system is the usual cause."},
    [EVENT_LEASE_BLOCKS] =
        {"lease-blocks", "5ab027238a5e4afb8a91b4262ab4e188", LOG_LEVEL_WARNING, 0,
         "COCO_VM " PEER " COCO_BYTE",
         "A lease is kept, and stands in the way of an update, or of the table file.",
         "A VMM holds the lease only from its question until the guest has its report, which takes "
         "milliseconds; one that keeps it hangs, its vCPU is stopped, or it means harm. An update "
         "waits for it; sessions do not. The VM that is named is the one in whose range of bytes "
         "the lock is, which anybody can lock: before you end a process, look whose lock it is, "
         "in /proc/PID/fdinfo, or by `cococtl certs rotate`, which does that."},
    [EVENT_LOCK_FLOOD] =
        {"lock-flood", "f3efcac73823471db935cdb8773dfe95", LOG_LEVEL_WARNING, 0,
         "COCO_FILE COCO_LOCKS",
         "Somebody keeps so many locks on the table file that each VM's lease is slowed down.",
         "`cococtl doctor`, as root, names the processes, as the kernel knows them: end those. The "
         "locks end with the process, not with its connections, so `cococtl vms disconnect` is not "
         "enough. COCO_LOCKS is how many cocod found in 2 ms; there may be more. It looks once a "
         "minute, and tells of those that were there a minute before."},
    [EVENT_UPDATE_FORCED] =
        {"update-forced", "6f95aae99d2b41849051d0bebf2344f6", LOG_LEVEL_WARNING, 0,
         "COCO_VM " PEER " COCO_REASON", "A firmware update went on although leases were held.",
         "One report of each VM that is named may not match the certificates that it got with it. "
         "If its attestation failed, ask for another one."},
    [EVENT_UPDATE_TIMEOUT] = {"update-timeout", "04b4b8f43b9e460e82a15b0baa34d152",
                              LOG_LEVEL_WARNING, 0, "COCO_REASON",
                              "A firmware update did not end in its time.",
                              "cocod serves again, what matches the platform now. See whether the "
                              "update's command ended "
                              "and what it did; begin the update again if it did not run."},

    [EVENT_BREAKER_OPEN] = {"breaker-open", "91c8657c2390407680dd2b5955ac4e57", LOG_LEVEL_ERROR, 0,
                            "COCO_QGS", "A quoting service is set aside until it answers.",
                            "The message says how it fails. cocod asks it again by itself and goes "
                            "on with the others, "
                            "where there are any. See `cococtl quotes` and `journalctl -u qgsd`."},
    [EVENT_BREAKER_CLOSED] = {"breaker-closed", "35129816d18d4f75b9813a7747002ac9",
                              LOG_LEVEL_NOTICE, 0, "COCO_QGS",
                              "A quoting service that was set aside answers again.",
                              "Nothing is to be done."},
    [EVENT_QGS_DOWN] =
        {"qgs-down", "3b056d9ff9d043aa8cbf5ba196645ac0", LOG_LEVEL_ERROR, 0, "",
         "No quoting service answers: no TDX guest of this host gets a quote.",
         "Start or restart it (`systemctl restart qgsd`), and see what its journal says "
         "(`journalctl -u qgsd`). Requests wait for it for [quotes] qgs_wait (10 s); then guests "
         "are told ENODEV, and those that ask again succeed once it answers."},
    [EVENT_QGS_UP] = {"qgs-up", "c07b67e398464adcbce58c5eb7c9d555", LOG_LEVEL_NOTICE, 0, "",
                      "A quoting service answers: TDX guests get quotes again.",
                      "Nothing is to be done."},
    [EVENT_QGS_FAILED] = {"qgs-failed", "38d693eeefba44aa881862c7a74c527f", LOG_LEVEL_WARNING, 30,
                          "COCO_QGS", "A quoting service fails.",
                          "The message says how, and what to do about it; docs/quotes.md lists the "
                          "causes. Told five times a minute at most for each service."},
    [EVENT_QGS_RESTART_ASKED] =
        {"qgs-restart-asked", "a3e567a159ee46329be4d12b4d89d207", LOG_LEVEL_WARNING, 0, "COCO_FILE",
         "cocod has asked systemd for a restart of a quoting service.",
         "It hangs, or refuses everybody. Quotes go on when it is back. See why (`cococtl "
         "doctor`): "
         "where this comes again and again, a restart is no cure. It is asked for only where "
         "[quotes] qgs_restart_file is set."},
    [EVENT_QGS_RESTART_NOT_ASKED] =
        {"qgs-restart-not-asked", "eba1e505a4ec416b90630890a4ef81f9", LOG_LEVEL_ERROR, 5,
         "COCO_FILE ERRNO", "A quoting service needs a restart, and cocod cannot ask for it.",
         "The file that [quotes] qgs_restart_file names cannot be written: a full file system, or "
         "a folder "
         "that is not cocod's. Restart the quoting service by hand (`systemctl restart qgsd`), and "
         "mend it. Told five times a minute at most."},
    [EVENT_QUOTE_FAILED] =
        {"quote-failed", "4abe584411544b8f9708af4e39fbb234", LOG_LEVEL_WARNING, 5, "",
         "A guest's request for a quote failed.",
         "The message says why. One guest's alone may be its own fault; where several fail, see "
         "`cococtl quotes` and the quoting service's journal. Told five times a minute at most."},
    [EVENT_QUOTE_NOT_BOUND] =
        {"quote-not-bound", "a9279361142d4315ba21b4f72ba8ac56", LOG_LEVEL_ERROR, 30,
         "COCO_QGS " PEER, "A quote that came back is not one about the guest's TDREPORT.",
         "The guest did not get it (EBADMSG). A quoting service that is sound never does this: "
         "another VM's quote, a false signature or broken bytes mean that it, or what lies between "
         "it and cocod, is damaged or was replaced. Take it out of service, keep its journal, and "
         "find out why before guests rely on this host again."},

    [EVENT_GUEST_FATAL] =
        {"guest-fatal", "8b97564a31a54725b4af108009a71158", LOG_LEVEL_WARNING, 300,
         "COCO_VM COCO_GUEST_EVENT COCO_GUEST_DATA " PEER,
         "A guest reported a fatal error, or asked to be terminated.",
         "The reason is the guest's own and is said in its data: for SNP the reason set and code "
         "of "
         "the GHCB's termination request, for TDX the error code of ReportFatalError. Told once a "
         "minute for each VM."},
    [EVENT_PEER_DENIED] =
        {"peer-denied", "249249ef64ed4f94a5bc2bace1710091", LOG_LEVEL_WARNING, 30,
         PEER " PEER_CID COCO_METHOD COCO_ROLE", "Somebody asked for what he may not have.",
         "A user without the role that an administrative method needs ([admin] read, import and "
         "operate in cocod.conf), or a guest that [qgs_door] vsock_allow does not name. Grant it "
         "there, or find out who it was. Told once a minute for each of them."},
    [EVENT_PEER_LIMIT] =
        {"peer-limit", "4e8467cdc7dd4532a0473348b3d67038", LOG_LEVEL_WARNING, 30,
         PEER " PEER_CID COCO_LIMIT",
         "A peer is over its limit, and was refused a connection or a quote.",
         "One VM that floods is held back so that the others are not. If it does no more than it "
         "should, raise the limit that is named, in [limits] of cocod.conf. Told once a minute for "
         "each of them."},
    [EVENT_ADMIN_AUDIT] =
        {"admin-audit", "44b0194fe9364dca9f77febe8ff18dbd", LOG_LEVEL_NOTICE, 0,
         PEER " COCO_USER COCO_METHOD COCO_ARGUMENTS COCO_RESULT",
         "An administrator called a method that changes something.",
         "A record of who did what: the user as the kernel vouches for it, the method, its "
         "arguments shortened, and how it ended."},
};

const struct event_kind *event_kind(enum event_id id)
{
    return &kinds[id];
}

/* --- catalog ---------------------------------------------------------------------------------- */

static void print_fields(FILE *out, const char *fields)
{
    for (const char *p = fields; *p; p += strspn(p, " ")) {
        int n = (int)strcspn(p, " ");
        fprintf(out, "%.*s: @%.*s@\n", n, p, n, p);
        p += n;
    }
}

int event_print_catalog(FILE *out)
{
    fputs("# SPDX-License-Identifier: MIT\n"
          "# Explanations of cocod's events, for journalctl -x. Made by `cocod --catalog`.\n",
          out);
    for (size_t i = 0; i < EVENT_IDS; i++) {
        fprintf(out, "\n-- %s\nSubject: %.*s\nDefined-By: cocod\nDocumentation: man:cocod(8)\n\n",
                kinds[i].message_id, (int)strlen(kinds[i].text) - 1, kinds[i].text);
        prose_print(out, "", kinds[i].action);
        if (kinds[i].fields[0]) {
            fputc('\n', out);
            print_fields(out, kinds[i].fields);
        }
    }
    return fflush(out) == 0 && !ferror(out) ? 0 : -EIO;
}

/* --- manual ----------------------------------------------------------------------------------- */

/* scdoc takes '_' and '*' for markup, and a backslash takes that away. */
static void print_escaped(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (strchr("_*`\\<>[]@~", *text))
            fputc('\\', out);
        fputc(*text, out);
    }
}

int event_print_reference(FILE *out)
{
    for (size_t i = 0; i < EVENT_IDS; i++) {
        fprintf(out, "*%s* (%s, %s)\n\t", kinds[i].name, log_level_name(kinds[i].level),
                kinds[i].message_id);
        print_escaped(out, kinds[i].text);
        fputc(' ', out);
        print_escaped(out, kinds[i].action);
        if (kinds[i].fields[0]) {
            fputs(" Fields: ", out);
            for (const char *p = kinds[i].fields; *p; p++)
                fputs(*p == ' ' ? ", " : *p == '_' ? "\\_" : (char[]){*p, 0}, out);
            fputc('.', out);
        }
        fputs("\n\n", out);
    }
    return fflush(out) == 0 && !ferror(out) ? 0 : -EIO;
}
