/* SPDX-License-Identifier: MIT */
/*
 * Every verb against a daemon in an enemy's hands: what it says acts on no terminal, breaks no
 * JSON and crashes nothing. cococtl is root's, so this is what
 * stands between a cocod that was taken over and the administrator who looks after it. What takes
 * memory or time is in test_endless.c.
 *
 * A reply is a good one in which strings, one at a time and all at once, or numbers are the
 * enemy's.
 */
#include "ctl_rig.h"
#include "support.h"
#include "verbs/verbs.h"

/* ESC and CSI, C1's CSI (U+009B), a title with BEL, CR and LF, DEL, a reversed reading direction, a
 * line separator, a zero-width space. */
#define ACTS                                                                                \
    "evil\x1b[2J\x1b[31;1m\xc2\x9b"                                                         \
    "8m\x1b]0;title\x07\r\nsecond line\x7f\xe2\x80\xae\xe2\x80\xa8\xe2\x80\x8b\xe2\x81\xa6" \
    "end"
/* And what is no UTF-8: a lone continuation, CSI as one byte, half a character, a surrogate. */
#define NO_UTF8 ACTS "\x80\x9b\xc3\x28\xed\xa0\x80\xff"

/* --- good replies ----------------------------------------------------------------------------- */

#define OF_VM                                                                                    \
    "{'vm':'db-7','uuid':'6c1f','pid':4711,'uid':64055,'cid':null,'connections':2,'inFlight':1," \
    "'leases':1,'certs':5,'certsEmpty':1,'certsFailed':2,'quotes':5,'quotesFailed':3,"           \
    "'lastRequestMs':65000}"
#define OF_QGS                                                                                \
    "{'address':'unix:/run/qgs','slots':4,'slotsOpen':2,'slotsBusy':1,'slotsSuspect':1,"      \
    "'abandoned':1,'breaker':'open','awayMs':3120,'serviceUs':4612,'answered':12,'failed':1," \
    "'problem':'nobody listens'}"
#define OF_CERTIFICATE                                                                    \
    "{'kind':'ARK','subject':'ARK-Milan','issuer':'ARK-Milan','serial':'01',"             \
    "'notBefore':'2031-05-01T00:00:00Z','notAfter':'2032-05-01T00:00:00Z','sha256':'00'," \
    "'file':'/a/b'}"
#define OF_EVENT                                                                  \
    "{'number':1,'time':'2026-11-21T04:57:02Z','event':'ready','messageId':'00'," \
    "'priority':'error','text':'it is ready','fields':{'COCO_VM':'db-7'}}"
/* json-c's reader takes ' for ". */
static const struct {
    const char *method;
    const char *parameters;
} good[] = {
    {"GetStatus",
     "{'version':'0.2.0','instance':'00112233445566aa','pid':4321,'uptimeMs':93784000,"
     "'state':'serving','drained':true,'degraded':true,'reasons':['it is drained'],'peers':4,"
     "'requestsInFlight':2,'counters':{'certs_ok':7,'quotes_failed':3},"
     "'certificates':{'generation':'00ff','tableBytes':4742,'tableEntries':[{'kind':'ARK',"
     "'offset':96,'length':1600}],'source':'/var/lib/cocod/store',"
     "'notAfter':'2033-10-22T00:00:00Z','platform':{'product':'Milan','chipId':'c1',"
     "'tcb':'3.0.8.115','vlek':false},'problem':'it expires'},"
     "'quotes':{'backend':'unix:/run/qgs','slots':4,'slotsBusy':1,'queued':2,'waiting':2,"
     "'hedged':1,'running':1,'abandoned':0,'answered':12,'failed':3,'lastError':'EIO',"
     "'lastErrorText':'it failed','kept':0,'backends':[" OF_QGS "]}}"},
    {"ListVms", "{'vms':[" OF_VM "],'next':null}"},
    {"Disconnect", "{'vm':" OF_VM ",'disconnected':2}"},
    {"Explain",
     "{'vm':" OF_VM
     ",'requests':[{'time':'2026-11-21T04:57:02Z','agoMs':5,'kind':'certs','status':'OK',"
     "'why':'it waited','tookUs':12,'bytes':4742,'generation':'00ff',"
     "'chain':'Milan/VCEK/c1/3.0.8.115','tcb':'3.0.8.115','backend':null,'qgsUs':null,"
     "'qgsCode':null,'leaseMs':1234},{'time':'2026-11-21T04:57:03Z','agoMs':5,'kind':'quote',"
     "'status':'EIO','why':'QGS refused it','tookUs':30000000,'bytes':0,'generation':null,"
     "'chain':null,'tcb':null,'backend':'unix:/run/qgs','qgsUs':4600,'qgsCode':73729,"
     "'leaseMs':null}]}"},
    {"ListJobs",
     "{'jobs':[{'state':'running','kind':'quote','vm':'db-7','uuid':'6c1f','pid':7,'uid':0,"
     "'cid':null,'waiters':1,'ageMs':12,'leftMs':23988,'backend':'unix:/run/qgs','tries':2,"
     "'hedge':true}],'leftOut':5,'kept':[{'vm':'x','uuid':'6c1f','pid':8,'uid':0,'cid':null,"
     "'bytes':5006,'leftMs':60000}]}"},
    {"Diagnose", "{'checks':[{'name':'TCB','verdict':'bad','text':'no chain','fix':'fetch one'}],"
                 "'storePath':'/var/lib/cocod/store','tableFile':'/run/t','quoteAt':5}"},
    {"GetLogLevel", "{'level':'info'}"},
    {"SetLogLevel", "{'level':'info','before':'debug'}"},
    {"Drain", "{'changed':true,'requestsInFlight':2}"},
    {"Resume", "{'changed':true,'requestsInFlight':2}"},
    {"GetMetrics", "{'text':'# HELP cocod_x x\\n# TYPE cocod_x gauge\\ncocod_x 1\\n'}"},
    {"GetConfig",
     "{'source':'before','problem':'line 7','hash':'00ff','files':['/etc/x'],"
     "'values':[{'section':'certs','key':'store','value':'/x','file':'/etc/x','line':3,"
     "'restart':true}]}"},
    {"ListCertificates", "{'generation':'00ff','certificates':[" OF_CERTIFICATE "]}"},
    {"Import", "{'results':[{'name':'@FILE@','kind':'ARK','key':'Milan','action':'added',"
               "'reason':'it is newer'}]}"},
    {"Verify", "{'results':[{'name':'@FILE@','kind':'ARK','key':'Milan','action':'refused',"
               "'reason':'it is old'}]}"},
    {"ListChains",
     "{'chains':[{'key':'Milan/VCEK/c1/3.0.8.115','product':'Milan','signer':'VCEK',"
     "'chipId':'c1','cspId':'csp','tcb':'3.0.8.115','notAfter':'2033','served':true,"
     "'problem':'it expires'}],'leftOut':3,'crls':[{'product':'Milan','number':'01',"
     "'thisUpdate':'2031','nextUpdate':'2032','revoked':['05'],'problem':'outdated'}]}"},
    {"GetChain",
     "{'key':'Milan/VCEK/c1/3.0.8.115','table':'@TABLE@','certificates':[" OF_CERTIFICATE "]}"},
    {"RemoveChain", "{}"},
    {"Preflight", "{'ready':false,'key':'Milan/VCEK','reason':'there is none'}"},
    {"BeginUpdate", "{'tableFile':'@TABLE_FILE@','generation':'00ff'}"},
    {"LeaseHolders",
     "{'holders':[{'vm':'db-7','uuid':'6c1f','pid':4711,'uid':64055,'vcpu':3,'start':1048576,"
     "'length':1,'sinceMs':1234}]}"},
    {"EndUpdate", "{'state':'serving','key':'Milan/VCEK','tableBytes':4772}"},
    {"GetEvents", "{'events':[" OF_EVENT "]}"},
    {"Monitor", "{'event':" OF_EVENT ",'lost':2}"},
};

/* --- the enemy's ------------------------------------------------------------------------------ */

enum evil {
    EVIL_STRINGS, /* all of them, or one */
    EVIL_NUMBERS,
    EVIL_ERROR,
};

static enum evil evil;
static const char *evil_text;
static int64_t evil_number;
static int evil_only; /* this string of the replies alone; -1: all */
static int n_strings; /* that were met since it was set to 0 */
static const char *evil_error;

static struct json_object *altered(struct json_object *value);

static struct json_object *altered_string(const char *text)
{
    int at = n_strings++;

    if (evil != EVIL_STRINGS || (evil_only >= 0 && evil_only != at))
        return json_object_new_string(text);
    return json_object_new_string(evil_text);
}

static struct json_object *altered_object(struct json_object *object)
{
    struct json_object *copy = json_object_new_object();

    json_object_object_foreach(object, name, member)
    {
        json_object_object_add(copy, name, altered(member));
        /* Names are foreign, too: of counters, of fields, and those that nobody knows. */
        if (evil == EVIL_STRINGS && evil_only < 0 && json_object_is_type(member, json_type_int))
            json_object_object_add(copy, evil_text, json_object_get(member));
    }
    return copy;
}

/* NOLINTNEXTLINE(misc-no-recursion): of a template above */
static struct json_object *altered(struct json_object *value)
{
    if (json_object_is_type(value, json_type_string))
        return altered_string(json_object_get_string(value));
    if (json_object_is_type(value, json_type_int) && evil == EVIL_NUMBERS)
        return json_object_new_int64(evil_number);
    if (json_object_is_type(value, json_type_object))
        return altered_object(value);
    if (!json_object_is_type(value, json_type_array))
        return json_object_get(value);
    struct json_object *copy = json_object_new_array();
    for (size_t i = 0; i < json_object_array_length(value); i++)
        json_object_array_add(copy, altered(json_object_array_get_idx(value, i)));
    return copy;
}

static struct json_object *member(struct json_object *object, const char *name)
{
    struct json_object *value = NULL;

    json_object_object_get_ex(object, name, &value);
    return value;
}

/* What has to be right for the rest to be looked at. */
static void fill_in(const char *method, struct json_object *call, struct json_object *reply)
{
    static const char table[] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"; /* 24 zero bytes */

    if (strcmp(method, "Import") == 0 || strcmp(method, "Verify") == 0) {
        struct json_object *file = json_object_array_get_idx(member(call, "files"), 0);
        json_object_object_add(json_object_array_get_idx(member(reply, "results"), 0), "name",
                               json_object_get(member(file, "name")));
    } else if (strcmp(method, "GetChain") == 0) {
        json_object_object_add(reply, "table", json_object_new_string(table));
    } else if (strcmp(method, "BeginUpdate") == 0) {
        json_object_object_add(reply, "tableFile", json_object_new_string(rig_path("table")));
    }
}

static char *answer(const char *method, struct json_object *call)
{
    struct json_object *whole = json_object_new_object();
    const char *text = NULL;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (strcmp(good[i].method, method) == 0)
            text = good[i].parameters;
    if (!text) {
        (void)fprintf(stderr, "there is no reply to %s here\n", method);
        abort();
    }
    if (evil == EVIL_ERROR) {
        static const char *const names[] = {"reason", "vm", "key", "role"};
        struct json_object *parameters = json_object_new_object();
        struct json_object *candidates = json_object_new_array();
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
            json_object_object_add(parameters, names[i], json_object_new_string(evil_text));
        json_object_array_add(candidates, json_object_new_string(evil_text));
        json_object_object_add(parameters, "candidates", candidates);
        json_object_object_add(whole, "error", json_object_new_string(evil_error));
        json_object_object_add(whole, "parameters", parameters);
    } else {
        struct json_object *plain = json_tokener_parse(text);
        ck_assert_ptr_nonnull(plain);
        struct json_object *parameters = altered(plain);
        json_object_put(plain);
        if (evil_only < 0 || strcmp(method, "Import") == 0 || strcmp(method, "Verify") == 0)
            fill_in(method, call, parameters);
        json_object_object_add(whole, "parameters", parameters);
    }
    /* (A line break ends a message of the rig's.) */
    char *reply = strdup(json_object_to_json_string_ext(whole, JSON_C_TO_STRING_PLAIN));
    json_object_put(whole);
    return reply;
}

/* --- the verbs -------------------------------------------------------------------------------- */

#define WORDS_MAX 12u

/* What stands behind a verb's words here. */
static const struct {
    const char *verb;
    const char *words[6];
} more[] = {
    {"explain", {"db-7"}},
    {"vms disconnect", {"db-7"}},
    {"doctor", {"--journal", "/dev/null", "--socket", "/nothing/here"}},
    {"top", {"--interval", "0.05"}},
    {"log-level", {"info"}},
    {"certs show", {"Milan/VCEK"}},
    {"certs import", {"@FILE@"}},
    {"certs verify", {"@FILE@"}},
    {"certs remove", {"Milan/VCEK"}},
    {"certs export", {"--out", "@OUT@"}},
    {"certs preflight", {"--tcb", "1.2.3.4"}},
    {"certs fetch", {"--url", "http://127.0.0.1:1", "--gap", "0", "--timeout", "1"}},
};

static bool asks_the_daemon(const struct verb *verb)
{
    return verb_is_one_of(verb->options, "admin");
}

/* The command line of a verb; `json` where it has that. */
static void words_of(const struct verb *verb, bool json, const char *words[WORDS_MAX])
{
    static char name[64];
    size_t n = 0;

    (void)snprintf(name, sizeof(name), "%s", verb->name);
    words[n++] = strtok(name, " ");
    if (strchr(verb->name, ' '))
        words[n++] = strtok(NULL, " ");
    for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
        for (size_t k = 0; k < 6 && more[i].words[k] && strcmp(more[i].verb, verb->name) == 0; k++)
            words[n++] = strcmp(more[i].words[k], "@FILE@") == 0  ? rig_path("ark.pem")
                         : strcmp(more[i].words[k], "@OUT@") == 0 ? rig_path("exported")
                                                                  : more[i].words[k];
    if (json && verb_is_one_of(verb->options, "json"))
        words[n++] = "--json";
    ck_assert_uint_lt(n, WORDS_MAX);
    words[n] = NULL;
}

/* Each line is an object, or all of it is. */
static void is_json(const char *of, const char *text)
{
    struct json_tokener *tokener = json_tokener_new();
    size_t size = strlen(text), at = 0;

    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
    while (at < size && text[at] != 0) {
        struct json_object *object =
            json_tokener_parse_ex(tokener, text + at, (int)(size - at + 1));
        ck_assert_msg(object != NULL, "the JSON of %s: %s in: %s", of,
                      json_tokener_error_desc(json_tokener_get_error(tokener)), text + at);
        json_object_put(object);
        at += json_tokener_get_parse_end(tokener);
        at += strspn(text + at, "\n");
    }
    json_tokener_free(tokener);
}

static int run_verb(const struct verb *verb, bool json)
{
    const char *words[WORDS_MAX];

    words_of(verb, json, words);
    int code = rig_run(words);
    ck_assert_msg(code <= 77, "%s: exit status %d: %s", verb->name, code, rig_err);
    rig_is_clean("stdout", verb->name, rig_out, false);
    rig_is_clean("stderr", verb->name, rig_err, false);
    if (json && verb_is_one_of(verb->options, "json"))
        is_json(verb->name, rig_out);
    return code;
}

static void setup(void)
{
    static const char pem[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    evil = EVIL_STRINGS;
    evil_only = -1;
    evil_text = ACTS;
    rig_open(answer);
    test_write_file(rig_path("ark.pem"), pem, sizeof(pem) - 1);
    test_write_file(rig_path("table"), "", 0);
}

FIXTURE(.setup = setup, .teardown = rig_close, .timeout_s = 300);

/* --- tests ------------------------------------------------------------------------------------ */

TEST_LOOP(all_strings_at_once, 0, (int)ctl_n_verbs)
{
    const struct verb *verb = &ctl_verbs[_i];

    if (!asks_the_daemon(verb))
        return;
    (void)run_verb(verb, false);
    evil_text = NO_UTF8;
    (void)run_verb(verb, true);
}

/* So that the enemy's string comes where the rest is as a verb wants it. */
TEST_LOOP(each_string_alone, 0, (int)ctl_n_verbs)
{
    const struct verb *verb = &ctl_verbs[_i];
    int n;

    if (!asks_the_daemon(verb) || strcmp(verb->name, "top") == 0)
        return;
    evil_text = ACTS;
    evil_only = 1000000;
    n_strings = 0;
    (void)run_verb(verb, false);
    n = n_strings;
    for (evil_only = 0; evil_only < n; evil_only++) {
        n_strings = 0;
        (void)run_verb(verb, false);
    }
}

TEST_LOOP(on_a_terminal, 0, (int)ctl_n_verbs)
{
    const struct verb *verb = &ctl_verbs[_i];
    const char *words[WORDS_MAX], *all[WORDS_MAX + 5] = {"--admin", rig_path("admin")};
    size_t n = 2;

    if (!asks_the_daemon(verb))
        return;
    words_of(verb, false, words);
    for (size_t i = 0; words[i]; i++)
        all[n++] = words[i];
    if (strcmp(verb->name, "top") == 0) {
        all[n++] = "--count";
        all[n++] = "2";
    }
    int code = rig_run_on_terminal(80, all);
    ck_assert_msg(code <= 77, "%s: exit status %d", verb->name, code);
    rig_is_clean("the terminal", verb->name, rig_out, true);
}

/* What was seen: escape sequences in the daemon's state, which top printed as they were. */
TEST(top_shows_a_state_that_is_no_state)
{
    evil_text = "serving\x1b]0;owned\x07";
    ck_assert_int_eq(RIG_RUN("top", "--interval", "0.05"), 0);
    rig_has(rig_out, "serving\\x1b]0;owned\\x07");
    rig_is_clean("stdout", "top", rig_out, false);
}

TEST_LOOP(errors_are_shown_with_care, 0, (int)ctl_n_verbs)
{
    static const char acts[] = ACTS, foreign[] = "org.varlink.service." ACTS;
    static const char *const names[] = {"io.cocod.Admin.TryAgain",
                                        "io.cocod.Admin.Busy",
                                        "io.cocod.Admin.NoSuchVm",
                                        "io.cocod.Admin.AmbiguousVm",
                                        "io.cocod.Admin.NoSuchChain",
                                        "io.cocod.Admin.NoStore",
                                        "io.cocod.Admin.NotAllowed",
                                        "io.cocod.Admin.NotUpdating",
                                        acts,
                                        foreign};
    const struct verb *verb = &ctl_verbs[_i];

    if (!asks_the_daemon(verb))
        return;
    evil = EVIL_ERROR;
    /* They are all told in one place. */
    for (size_t i = verb->run == verb_vms ? 0 : sizeof(names) / sizeof(names[0]) - 1;
         i < sizeof(names) / sizeof(names[0]); i++) {
        evil_error = names[i];
        int code = run_verb(verb, false);
        ck_assert_msg(code != 0 || strncmp(verb->name, "certs ", 6) == 0, "%s: 0", verb->name);
    }
}

TEST_LOOP(numbers_that_nothing_counts_to, 0, (int)ctl_n_verbs)
{
    static const int64_t numbers[] = {INT64_MAX, INT64_MIN, -1};
    const struct verb *verb = &ctl_verbs[_i];

    if (!asks_the_daemon(verb))
        return;
    evil = EVIL_NUMBERS;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        evil_number = numbers[i];
        (void)run_verb(verb, i == 1);
    }
}
