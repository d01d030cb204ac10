/* SPDX-License-Identifier: MIT */
/*
 * Leases, draining and firmware updates, for the model checker Spin. docs/rotation.md explains the
 * protocol and this model in plain words; proto/PROTOCOL.md "The lease" is what it is a model of.
 *
 *   vmm     (two, one user's) a VMM over the RPC: lease, CERTS_GET, copy, KVM_RUN, unlock; it may die
 *           anywhere
 *   reader  (another user's) a VMM that reads the table file under the kernel documentation's lock;
 *           likewise. With HOSTILE it takes a lock whenever it can get one, and holds it for as long
 *           as it likes, or for ever
 *   cocod   serves, drains, publishes; may be killed and is started again
 *   cococtl updates, again and again; may give up, may be killed; or is another tool, which does not
 *           tell cocod
 *   command what it runs: changes the firmware's TCB up to twice; may be killed
 *   killer  kills `KILLS` of the last three, at any moment
 *
 * A lock belongs to an open file description: the updater's is held while cococtl or the command has
 * a descriptor of it. TCBs are 1 to 3, going round, so that no old chain matches again by chance
 * within an update. What is atomic here is one system call, one message, or one command of the
 * firmware.
 *
 * With UNKNOWN cocod does not know the platform, and reads the operator's files where it would read
 * the platform; then the command takes them away, changes the TCB, and puts those that match there.
 *
 * A CERTS_GET may wait in cocod until the platform was read, under its asker's lease: that is the
 * time between a lease and the answer, which is as long as it likes here.
 *
 * Safety: no report is signed under another TCB than that of the chain that went with it, where the
 * chain was copied under a lease (the empty table goes with every report). While the file is current,
 * cocod answers without looking for somebody else's write lock: whoever asks under a lease excludes
 * it. Liveness, with LIVE: an update whose lease holders are not stuck finishes; and cocod always
 * comes to answering again, with HOSTILE too.
 *
 * Deliberately broken, each to be refuted: BROKEN_LEASE (given back before KVM_RUN), BROKEN_ORDER
 * (taken after CERTS_GET: an updater whom nobody announced, and who has not written yet, may have
 * the lock then, and cocod answers), BROKEN_INHERIT (the command has no descriptor of the lock),
 * BROKEN_NOTICE (cocod does not look whether the file was made empty by an updater that it does not
 * know of, or no longer), BROKEN_UPDATING (cocod publishes without waiting for somebody else's write
 * lock to end), BROKEN_EMPTY (the file keeps the old table while the command runs), BROKEN_MARK (cocod
 * selects beside a lease without marking the empty file: who comes and goes afterwards leaves no
 * trace), BROKEN_ASKED (it marks, and does not ask whether somebody has the write lock), BROKEN_LATE
 * (it reads first, and marks and asks then); and, for liveness, BROKEN_DRAIN (cocod goes on answering
 * while an updater waits for leases to end), BROKEN_WAIT (a CERTS_GET that waits is not told when
 * draining begins), BROKEN_GAVE_UP (cocod wants the lock before it serves again), and BROKEN_GATE
 * (beside a lease cocod finds that the same table is right, leaves the emptied file as it is, and the
 * gate finds it emptied).
 */
#ifndef KILLS
#define KILLS 2
#endif

#define EMPTY 0
#define NEXT(t) (1 + (t) % 3)

#define STARTING 0 /* and publishing: CERTS_GET is answered with EAGAIN */
#define SERVING  1
#define DRAINING 2

byte tcb = 1;        /* what the firmware reports, and signs under */
byte table = 1;      /* the table file's content: the TCB of its chain, or EMPTY */
bool marked = false; /* and behind EMPTY, the mark of the cocod that runs */
bool stale = false;  /* what cocod serves is not what it has written */
byte served = EMPTY; /* cocod's current generation */
byte mode = STARTING;
bool up = false;         /* cocod runs */
bool connection = false; /* cococtl's, with an update begun on it */
bool end_update = false; /* EndUpdate was called on it */

bool lease[3];
bool lock_cococtl = false; /* descriptors of the updater's open file description */
bool lock_command = false;
bool lock_cocod = false;

bool command_runs = false;
bool updating = false; /* an update is under way, from BeginUpdate to its end */
bool die_cocod = false;
bool die_cococtl = false;
bool die_command = false;

#define NO_LEASE      (!lease[0] && !lease[1] && !lease[2])
#define NO_WRITE_LOCK (!lock_cococtl && !lock_command && !lock_cocod)
#if defined(BROKEN_NOTICE)
#define EMPTIED false
#elif defined(BROKEN_MARK)
#define EMPTIED (served != EMPTY && table == EMPTY && !stale)
#else
#define EMPTIED (served != EMPTY && table == EMPTY && !marked)
#endif
#ifdef BROKEN_ASKED
#define TAKEN false
#else
#define TAKEN (stale && !NO_WRITE_LOCK)
#endif
/* Looked at while the asker holds a lease: nobody can change the file meanwhile. */
#define ANSWERS (up && mode == SERVING && !EMPTIED && !TAKEN)

#ifdef UNKNOWN
byte files = 1; /* the TCB of the operator's chain, or EMPTY */
#define TRUTH files
#else
#define TRUTH tcb
#endif

/* --- VMMs ------------------------------------------------------------------------------------ */

proctype vmm(byte v)
{
    byte got;

again:
    got = EMPTY;
#ifdef BROKEN_ORDER
    atomic { ANSWERS -> got = served }
    atomic { NO_WRITE_LOCK -> lease[v] = true }
#else
    /* The lease; refused while somebody has the write lock. */
    atomic { NO_WRITE_LOCK -> lease[v] = true }
    if
    :: atomic { ANSWERS -> got = served }
#ifdef BROKEN_DRAIN
    :: atomic { up && mode == DRAINING -> got = served }
#endif
#ifdef BROKEN_WAIT
    :: up && mode == SERVING ->
       atomic { ANSWERS -> got = served }
#endif
    :: atomic {
           /* Busy, or away: give the lease back before waiting, for as long as cocod does not serve.
            * A real VMM asks again after pauses that are longer than the updater's. */
           !ANSWERS ->
           lease[v] = false
       }
       ANSWERS;
       goto again
    :: lease[v] = false; /* dies; the kernel unlocks, and whoever starts it again takes a while */
       ANSWERS;
       goto again
    fi;
#endif
#ifdef BROKEN_LEASE
    lease[v] = false;
#endif
    if
    :: assert(got == EMPTY || got == tcb) /* KVM_RUN: the report is signed */
    :: skip /* dies before */
    fi;
    atomic { lease[v] = false; got = EMPTY }
    goto again
}

proctype reader(byte v)
{
    byte got = EMPTY;
#ifdef HOSTILE
hostile:
    atomic { NO_WRITE_LOCK -> lease[v] = true }
    if
    :: lease[v] = false; goto hostile
    :: skip; false /* for ever */
    fi;
#endif
#ifdef LIVE
    byte rounds = 2; /* nothing tells a reader that somebody waits: its requests must not be endless */
#endif

again:
#ifdef LIVE
    rounds > 0;
    rounds--;
#endif
    atomic { NO_WRITE_LOCK -> lease[v] = true }
    got = table;
    if
    :: assert(got == EMPTY || got == tcb)
    :: skip
    fi;
    atomic { lease[v] = false; got = EMPTY }
    goto again
}

/* --- cocod ----------------------------------------------------------------------------------- */

proctype cocod()
{
    byte match = EMPTY;

start:
    {
        atomic { up = true; mode = STARTING; served = EMPTY; marked = false; stale = false }
publish:
        /* For as long as somebody else has the write lock this is the state UPDATING. */
        if
#ifdef BROKEN_UPDATING
        :: atomic { NO_LEASE -> lock_cocod = true }
#else
        :: atomic { NO_WRITE_LOCK && NO_LEASE -> lock_cocod = true }
#endif
#ifndef BROKEN_GAVE_UP
        :: atomic { NO_WRITE_LOCK && !NO_LEASE -> skip }; /* the lock is refused, for a lease */
           goto beside
#endif
        fi;
locked:
        atomic { table = EMPTY; marked = false }
        if
        :: match = TRUTH /* the platform is read, and its chain is in the store */
        :: match = EMPTY /* it is not, or the platform says nothing */
        fi;
        table = match;
        atomic {
            served = match;
            match = EMPTY;
            lock_cocod = false;
            stale = false;
            connection = connection && !end_update;
            end_update = false;
            mode = SERVING
        };
        goto serving;
beside:
#ifdef BROKEN_LATE
        match = TRUTH;
#endif
#if !defined(BROKEN_GATE) && !defined(BROKEN_MARK)
        atomic { if :: table == EMPTY -> marked = true :: else fi };
#endif
#ifndef BROKEN_ASKED
        if
        :: NO_WRITE_LOCK
        :: atomic { !NO_WRITE_LOCK -> match = EMPTY }; goto publish
        fi;
#endif
#ifndef BROKEN_LATE
        if
        :: match = TRUTH
        :: match = EMPTY
        fi;
#endif
        atomic {
            served = match;
            match = EMPTY;
#ifndef BROKEN_GATE
            stale = true;
#endif
            connection = connection && !end_update;
            end_update = false;
            mode = SERVING
        };
serving:
        if
        :: atomic { mode == DRAINING && end_update -> mode = STARTING }
        /* The updater went without a word. The file tells whether its command may have begun; where
         * not, nothing has changed, and the lock is not needed to serve on. */
#ifdef BROKEN_GAVE_UP
        :: atomic { mode == DRAINING && !connection -> mode = STARTING }
#else
        :: atomic {
               mode == DRAINING && !connection && (EMPTIED || (served == EMPTY && NO_LEASE)) ->
               mode = STARTING
           }
        :: atomic { mode == DRAINING && !connection && !EMPTIED -> mode = SERVING };
           goto serving
#endif
        :: atomic { mode == SERVING && (EMPTIED || TAKEN) -> mode = STARTING }
        /* The file follows. */
        :: atomic { mode == SERVING && stale && NO_WRITE_LOCK && NO_LEASE -> lock_cocod = true };
           if
           :: atomic { EMPTIED && mode == SERVING -> mode = STARTING }; goto locked
           :: atomic { EMPTIED && mode != SERVING -> lock_cocod = false }; goto serving
           :: atomic { !EMPTIED -> table = served; marked = false }
           fi;
           atomic { lock_cocod = false; stale = false };
           goto serving
#ifndef LIVE
        :: atomic {
               /* The update's time is up, and nobody has the lock: as if the updater had gone. */
               mode == DRAINING && connection && NO_WRITE_LOCK ->
               connection = false;
               end_update = false
           };
           goto serving
#endif
        fi;
        goto publish
    }
    unless {
        atomic {
            die_cocod ->
            die_cocod = false;
            up = false;
            connection = false;
            end_update = false;
            lock_cocod = false;
            match = EMPTY;
            mode = STARTING;
            served = EMPTY;
            marked = false;
            stale = false
        }
    };
    goto start
}

/* --- the updater ----------------------------------------------------------------------------- */

proctype command()
{
again:
    command_runs;
    {
#ifdef UNKNOWN
        files = EMPTY;
#endif
        if
        :: tcb = NEXT(tcb)
        :: skip /* refused by the firmware */
        fi;
        if
        :: tcb = NEXT(tcb)
        :: skip
        fi
#ifdef UNKNOWN
        ; files = tcb
#endif
    }
    unless {
        die_command
    };
    atomic { die_command = false; lock_command = false; command_runs = false }
    goto again
}

proctype cococtl()
{
    bool told = false;

again:
    {
        if
        :: atomic {
               /* BeginUpdate. */
               up && mode == SERVING && !command_runs ->
               connection = true;
               told = true;
               mode = DRAINING;
               updating = true
           }
#ifndef LIVE
        :: atomic { !command_runs -> told = false; updating = true }
#endif
        fi;
        if
        :: atomic { NO_WRITE_LOCK && NO_LEASE -> lock_cococtl = true }
#if !defined(LIVE) || defined(HOSTILE)
        :: goto stop /* gives up: nothing has changed */
#endif
        :: told && !connection -> goto stop
        fi;
#ifndef BROKEN_EMPTY
        atomic { table = EMPTY; marked = false }
#endif
        atomic {
#ifndef BROKEN_INHERIT
            lock_command = true;
#endif
            command_runs = true
        }
        !command_runs;
        lock_cococtl = false;
        atomic { if :: connection -> end_update = true :: else fi }
        !connection /* EndUpdate is answered, or cocod has died */
    }
    unless {
        die_cococtl
    };
stop:
    atomic { die_cococtl = false; lock_cococtl = false; connection = false; updating = false; told = false }
    goto again
}

proctype killer()
{
    byte left = KILLS;

    do
    :: atomic { left > 0 && up -> left--; die_cocod = true }
    :: atomic { left > 0 && updating -> left--; die_cococtl = true }
    :: atomic { left > 0 && command_runs -> left--; die_command = true }
    :: left == 0 -> break
    od
}

init {
    atomic {
        run vmm(0);
        run vmm(1);
        run reader(2);
        run cocod();
        run cococtl();
        run command();
        run killer()
    }
}

#ifdef LIVE
ltl finishes { [] (updating -> <> !updating) }
ltl serves { [] <> ANSWERS }
#endif
