/* SPDX-License-Identifier: MIT */
/*
 * The keys: all that can be configured. Who includes this defines KEY(section, name, type, default,
 * …) and, for a time, TIME(section, name, default, …): config.h makes fields of them, table.c rows
 * of struct config_key, whose members may follow the default.
 *
 * Ranges leave out what cannot work: a table file that others may write would let them forge leases
 * and certificates (its mode is limited to 0644), and a queue of nothing would refuse every quote.
 * The documentation of a key is whole sentences; whoever prints it adds type, range and default.
 */
#ifdef KEY

KEY(cocod, log_level, ENUM, "info", .choices = level_choices,
    .doc = "Messages less urgent than this are not logged. In normal operation cocod logs nothing "
           "at info.")

KEY(rpc, listen, SOCKET_PATH, "/run/cocod/cocod.sock", .at_start = true,
    .doc = "The Unix socket that VMMs connect to. A socket that systemd passes replaces it.")
KEY(rpc, mode, MODE, "0660", .min = 0600, .max = 0666, .at_start = true,
    .doc = "The socket's mode. Whoever may write to it may ask for certificates and quotes.")
KEY(rpc, group, GROUP, "", .at_start = true,
    .doc = "The socket's group, such as kvm or libvirt-qemu. Empty: cocod's own.")

KEY(admin, listen, SOCKET_PATH, "/run/cocod/io.cocod.Admin", .at_start = true,
    .doc = "The Unix socket that cococtl talks varlink to. A socket that systemd passes replaces "
           "it.")
KEY(admin, mode, MODE, "0600", .min = 0600, .max = 0666, .at_start = true,
    .doc = "The socket's mode. Whoever may write to it may connect, and do what read, import and "
           "operate allow.")
KEY(admin, group, GROUP, "", .at_start = true, .doc = "The socket's group. Empty: cocod's own.")
KEY(admin, read, MEMBERS, "@cocod-admin",
    .doc = "Who may read: status, certificates, chains, events. read, import and operate name "
           "users, and groups with an @ before. They say what a peer may do once it has "
           "connected; who may connect is the socket's mode and group. Root and cocod's own user "
           "may do everything.")
KEY(admin, import, MEMBERS, "cocod-fetch",
    .doc = "Who may also add certificates to the store; cocod verifies them. cocod-fetch is the "
           "user of cocod-fetch.service.")
KEY(admin, operate, MEMBERS, "",
    .doc = "Who may also do everything else: remove chains, update firmware.")

KEY(metrics, listen, SOCKET_PATH, "", .at_start = true,
    .doc = "A Unix socket that sends all metrics in Prometheus' text format to whoever connects, "
           "and then closes the connection. Empty: no such socket. A socket that systemd passes "
           "replaces it.")
KEY(metrics, mode, MODE, "0660", .min = 0600, .max = 0666, .at_start = true,
    .doc = "The socket's mode, where cocod makes the socket itself.")
KEY(metrics, group, GROUP, "", .at_start = true,
    .doc = "The socket's group, where cocod makes the socket itself. Empty: cocod's own.")

KEY(certs, chain, PATH_LIST, "",
    .doc = "The files that hold the SEV-SNP certificate chain: root (ARK), intermediate (ASK or "
           "ASVK) and the chip's or provider's certificate (VCEK or VLEK), PEM or DER, in any "
           "order, one or more certificates a file; or one file that is the certificate table "
           "(GHCB). Where the platform is known, the chain is served only while it matches the "
           "platform. Without chain and platform, cocod serves no SNP certificates.")
KEY(certs, store, PATH, "", .max = 4095 - 256,
    .doc = "The folder where cocod keeps the chains that cococtl certs import gives it, such as "
           "/var/lib/cocod/certs, which the Debian package sets. Empty: no store.")
KEY(certs, platform, PLATFORM, "none",
    .doc = "Where cocod learns which TCB the firmware reports, and so which chain matches: "
           "unix:/run/cocod/sev.sock, the socket of cocod-sev. None: the chain of the files is "
           "served whatever the firmware reports. Fixed: as the fixed_ keys say, for development.")
KEY(certs, signer, ENUM, "auto", .choices = signer_choices,
    .doc = "Whose certificates are served where the platform is known. A table holds one signer.")
KEY(certs, vlek_csp, TEXT, "",
    .doc = "The CSP_ID of this host's VLEK, as its certificate has it (CN=csp.example); cococtl "
           "certs list shows those that are stored. Empty: the only one that is stored for the "
           "reported TCB. Where there are several, the empty table is served and an alarm names "
           "them, since the firmware does not tell which one it has loaded.")
KEY(certs, serve_crl, BOOL, "no",
    .doc = "Adds the stored CRL to the table. Some tools of guests (snpguest certificates) fail "
           "on such a table.")
KEY(certs, fixed_product, ENUM, "Milan", .choices = product_choices,
    .doc = "With platform = fixed: the product.")
KEY(certs, fixed_chip_id, TEXT, "",
    .doc = "With platform = fixed: the chip's id, lower-case hexadecimal: 128 digits, from Turin "
           "on 16.")
KEY(certs, fixed_tcb, TEXT, "",
    .doc = "With platform = fixed: the reported TCB: of BOOTLOADER.TEE.SNP.MICROCODE.FMC the "
           "parts that the product has, in decimal. Milan and Genoa have no FMC, Venice has no "
           "bootloader and no microcode.")
KEY(certs, fixed_vlek, BOOL, "no", .doc = "With platform = fixed: whether a VLEK is loaded.")
KEY(certs, root, PATH_LIST, "",
    .doc = "Files of root certificates that are trusted besides AMD's own, for test PKIs. Leave "
           "it empty in production: AMD's roots of the products above are known. The root of "
           "another product is named in cococtl status and serves nothing.")
KEY(certs, table_file, PATH, "/run/cocod/certs.table", .at_start = true,
    .doc = "The file that holds the current certificate table, for VMMs that read it, and that "
           "carries the leases of all. It belongs on a tmpfs: its content is of this boot.")
KEY(certs, table_mode, MODE, "0640", .min = 0600, .max = 0644, .at_start = true,
    .doc = "The table file's mode. Nobody but cocod may write it.")
KEY(certs, table_group, GROUP, "", .at_start = true,
    .doc = "The table file's group. Empty: cocod's own.")
KEY(certs, missing_chain, ENUM, "empty", .choices = missing_chain_choices,
    .doc = "What a guest is told while no chain can be served.")
TIME(certs, drain_timeout, "5s", .min = 100, .max = 1 * MINUTES,
     .doc = "How long a lease may be held before cocod reports it: leases last milliseconds. A "
            "held lease delays a firmware update and, after a change of the chain, the table "
            "file; sessions get the new chain at once.")

KEY(quotes, qgs, QGS_LIST, "none",
    .doc = "Where the TDX quoting service (QGS) listens: unix:/var/run/tdx-qgs/qgs.socket, or "
           "vsock:1:4050 for one on this host that listens on vsock port 4050. Several, a line "
           "each, share the work and stand in for each other; slots=N behind one is for it alone. "
           "None: no quotes are served. cocod should be its only client.")
KEY(quotes, slots, U32, "4", .min = 1, .max = 64, .unit = "exchanges",
    .doc = "How many quotes each QGS is asked for at a time: the number_threads of /etc/qgs.conf, "
           "never more.")
KEY(quotes, queue, U32, "1024", .min = 1, .max = 65536, .unit = "requests",
    .doc = "How many requests may wait for a slot, in all. Beyond that, clients are told to ask "
           "again.")
KEY(quotes, queue_memory, BYTES, "4MiB", .min = 16ull << 10, .max = 1ull << 30,
    .doc = "How much memory requests that wait or are at QGS may take, in all: about 1.3 KiB "
           "each.")
KEY(quotes, vmm_users, USERS, "root qemu libvirt-qemu",
    .doc = "Users whose processes are VMMs, one VM each: their VMs take that user's turns one by "
           "one. All processes of any other user count as one VM together. Users that do not "
           "exist here are passed over.")
KEY(quotes, verify_quote_signature, BOOL, "yes",
    .doc = "Whether a quote's own signature, and its quoting enclave's word for the key, are "
           "checked before a guest gets it. Its body is compared with the TDREPORT in any case.")
KEY(quotes, reuse, BOOL, "yes",
    .doc = "Whether a VM that asks again for the same TDREPORT shares the quote that is being "
           "made, or gets the one that was made after it had left. Without it, work is done twice "
           "under overload.")
TIME(quotes, keep, "1min", .min = 0, .max = 10 * MINUTES,
     .doc = "How long cocod keeps a quote whose requester left before it was made.")
KEY(quotes, keep_quotes, U32, "64", .min = 0, .max = 65536, .unit = "quotes",
    .doc = "How many of them, at most. Then the oldest is dropped; a user who has half of them "
           "loses its own oldest.")
KEY(quotes, keep_memory, BYTES, "4MiB", .min = 0, .max = 1ull << 30,
    .doc = "How much memory they may take, at most.")
TIME(quotes, timeout, "25s", .min = 1 * SECONDS, .max = 5 * MINUTES,
     .doc = "How long a request may take where the client names no time. Linux guests wait 30 "
            "seconds.")
TIME(quotes, max_timeout, "60s", .min = 1 * SECONDS, .max = 10 * MINUTES,
     .doc = "The longest time that a client may name; longer ones are cut to it.")
TIME(quotes, qgs_timer, "30s", .min = 1 * SECONDS, .max = 10 * MINUTES,
     .doc = "How long QGS itself keeps a connection whose quote is not ready; its thread works on "
            "after that. The time is built into QGS: change this only for a QGS that was built "
            "with another.")
TIME(quotes, qgs_wait, "10s", .min = 0, .max = 5 * MINUTES,
     .doc = "How long requests wait while no QGS can be reached, as when it is restarted; where "
            "that would be too late for a request, it ends sooner. Once QGS has been away that "
            "long, clients are told so at once. qgsd.service starts a QGS that crashed 15 seconds "
            "later: see its RestartSec=.")
KEY(quotes, qgs_restart_file, PATH, "",
    .doc = "A file that cocod writes when QGS hangs or refuses everybody, at most once in 21 "
           "minutes, to ask for its restart: /run/cocod/restart-qgs where cocod-qgs-restart.path "
           "is enabled. Empty: cocod only reports it.")

KEY(qgs_door, listen, LISTENERS, "", .at_start = true,
    .doc = "Where clients of QGS find cocod instead: unix:/run/cocod/qgs.sock for VMMs, "
           "vsock::4050 for guests themselves. A socket that systemd passes replaces those of its "
           "kind. Without any, there is no front door.")
KEY(qgs_door, mode, MODE, "0660", .min = 0600, .max = 0666, .at_start = true,
    .doc = "The Unix sockets' mode. Whoever may write to them may ask for quotes.")
KEY(qgs_door, group, GROUP, "", .at_start = true,
    .doc = "The Unix sockets' group, such as kvm or libvirt-qemu. Empty: cocod's own.")
KEY(qgs_door, vsock_allow, CIDS, "",
    .doc = "The guests that may connect over vsock, by CID. Without any, all may.")
TIME(qgs_door, request_timeout, "5s", .min = 100, .max = 30 * SECONDS,
     .doc = "How long a client may take from connecting to the last byte of its request.")
TIME(qgs_door, timeout, "28s", .min = 1 * SECONDS, .max = 5 * MINUTES,
     .doc = "How long after connecting a client has its answer at the latest. QGS's own timer, "
            "and that of QEMU and Linux guests, is 30 seconds.")
KEY(qgs_door, allow_collateral, BOOL, "no",
    .doc = "Whether clients may ask QGS for verification collateral, one at a time. No: they get "
           "error 0x12001.")
KEY(qgs_door, allow_platform_info, BOOL, "no",
    .doc = "Whether clients may ask QGS which platform this is, one at a time. No: they get error "
           "0x12001.")

KEY(limits, peers, U32, "20000", .min = 1, .max = 1000000, .unit = "connections",
    .doc = "Connections in all. Each takes a file descriptor, so the unit's LimitNOFILE= must be "
           "larger. The last eighth is for users who have few of them (a 256th), so one user may "
           "have seven eighths while nobody else asks; 64 more are kept for administrators.")
KEY(limits, peers_per_account, U32, "256", .min = 1, .max = 1000000, .unit = "connections",
    .doc = "Connections of one account: one process of one user, as the kernel names them. As "
           "many of its certificate tables may wait for the platform to be read at a time.")
KEY(limits, memory, BYTES, "256MiB", .min = 16ull << 20, .max = 64ull << 30,
    .doc = "What replies that are not read and messages that are not whole may take, in all, as "
           "the allocator counts it. The last eighth is for users who hold a 256th at most. "
           "Beyond that, cocod reads nothing from a peer that does not read, and calls are told "
           "to try again.")
KEY(limits, memory_per_account, BYTES, "8MiB", .min = 256ull << 10, .max = 1ull << 30,
    .doc = "The same for one account.")
KEY(limits, descriptors, U32, "4096", .min = 1, .max = 1000000, .unit = "descriptors",
    .doc = "Lease descriptors that were passed to a peer which has not received them yet, in all. "
           "The kernel counts them against cocod's user, and fails at LimitNOFILE=, for "
           "everybody. The last eighth is for users who hold a 256th at most. Beyond that, HELLO "
           "is told to ask again.")
KEY(limits, descriptors_per_account, U32, "64", .min = 1, .max = 1000000, .unit = "descriptors",
    .doc = "The same for one account.")
KEY(limits, in_flight, U32, "16384", .min = 1, .max = 1000000, .unit = "requests",
    .doc = "Requests that wait for anything, quotes and certificate tables and administrators' "
           "calls, in all. The last eighth is for users who have a 256th at most. Beyond that, "
           "clients are told to ask again.")
KEY(limits, in_flight_per_account, U32, "1024", .min = 1, .max = 1000000, .unit = "requests",
    .doc = "The same for one account.")
KEY(limits, store_jobs, U32, "64", .min = 1, .max = 4096, .unit = "calls",
    .doc = "Administrators' calls on the store that wait or run, in all; of root and of cocod's "
           "own user beyond it. The last eighth is for users who have a 256th at most. Beyond "
           "that, they are told to try again.")
KEY(limits, store_jobs_per_account, U32, "4", .min = 1, .max = 4096, .unit = "calls",
    .doc = "The same for one account.")
KEY(limits, requests_per_account, U32, "16", .min = 1, .max = 65536, .unit = "quotes",
    .doc = "Quotes that one VM, or one user who is not a VMM user, may wait for at a time. Beyond "
           "that, clients are told to ask again.")
KEY(limits, requests_per_user, U32, "1024", .min = 1, .max = 65536, .unit = "quotes",
    .doc = "Quotes that all VMs of one user may wait for at a time.")
TIME(limits, hello_timeout, "10s", .min = 100, .max = 10 * MINUTES,
     .doc = "How long a new connection may take to introduce itself.")
TIME(limits, frame_timeout, "10s", .min = 100, .max = 10 * MINUTES,
     .doc = "How long a request may take from its first byte to its last.")
TIME(limits, send_timeout, "30s", .min = 100, .max = 10 * MINUTES,
     .doc = "How long a peer may leave replies unread before it is disconnected.")
KEY(limits, unsent, BYTES, "1MiB", .min = 64ull << 10, .max = 64ull << 20,
    .doc = "While a peer leaves more than this of its replies unread, cocod reads nothing from "
           "it.")
TIME(limits, account_linger, "1min", .min = 1 * SECONDS, .max = 60 * MINUTES,
     .doc = "How long an account is remembered after its last connection closed, so that "
            "connecting again resets no limit.")
KEY(limits, events_per_peer_per_minute, U32, "10", .min = 1, .max = 10000, .unit = "lines",
    .doc = "Lines that the fatal events of one account's guests may cause in the log in a minute; "
           "of each guest there is one at most. Those left out are counted, and the number is "
           "said in the next one.")

#endif
